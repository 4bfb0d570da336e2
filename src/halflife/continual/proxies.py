"""Losses over proxies, the rows of a cosine head (PCR and HPCR, arXiv 2304.04408 and 2309.15038)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from halflife.errors import InvalidInput

Pairs: TypeAlias = Literal["off", "on", "auto"]
MANY = 50  # replayed examples from which `auto` compares samples with samples


@dataclass(frozen=True)
class ProxyContrastiveLoss:
    """Every sample chooses among the proxies of the classes of its batch, and of no other class (PCR).

    With `s_c = cos(z, w_c) / tau` and `n_c` samples of class c in the batch, the mean over samples of
    `-log(n_y exp(s_y) / sum_c n_c exp(s_c))`. The paper's numerator lacks `n_y`, which is constant: the gradients are
    the same, and so written the loss is 0 where there is nothing to choose. Classes that are absent from the batch
    take no part, so new samples do not push down the proxies of old classes.

    With sample pairs the other samples of the batch are compared too: those of the same class join the numerator, as
    a mean of logarithms over `n_y` proxies and `n_y - 1` samples, and all join the denominator (HPCR's contrastive
    component; the code's SupCon loss with samples as anchors).

    Parameters
    ----------
    tau: temperature. sample_pairs: `auto` turns them on from 50 replayed samples on. The paper makes them depend on
        the size of the training batch; its condition was not to be had, so 50 is this project's.

    >>> loss = ProxyContrastiveLoss()
    >>> z, proxies = torch.rand(3, 4), torch.rand(5, 4)
    >>> float(loss(z, proxies, torch.tensor([2, 2, 2])))
    0.0
    """

    tau: float = 0.09
    sample_pairs: Pairs = "off"

    def __post_init__(self) -> None:
        if not (self.tau > 0 and math.isfinite(self.tau)):
            raise InvalidInput(f"The temperature is {self.tau}.", "Use a number above 0.")
        if self.sample_pairs not in get_args(Pairs):
            raise InvalidInput(f"sample_pairs is {self.sample_pairs!r}.", f"Use one of {', '.join(get_args(Pairs))}.")

    def __call__(self, z: Tensor, proxies: Tensor, y: Tensor, replayed: int = 0) -> Tensor:
        """The loss of features [N, d] against proxies [C, d] with labels int64 [N]; `replayed` of them are old."""
        z, proxies = _unit(z), _unit(proxies)
        cosines = z @ proxies.T / self.tau
        counts = torch.bincount(y, minlength=len(proxies)).to(z)
        prior = cosines + counts.log()  # minus infinity where a class is absent
        if self.sample_pairs == "off" or (self.sample_pairs == "auto" and replayed < MANY):
            return F.cross_entropy(prior, y)
        itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
        pairs = z @ z.T / self.tau
        total = torch.cat([prior, pairs.masked_fill(itself, -torch.inf)], 1).logsumexp(1)
        mine = counts[y]
        same = (y[:, None] == y) & ~itself
        own = mine * cosines.gather(1, y[:, None])[:, 0] + torch.where(same, pairs, 0.0).sum(1)
        return (total - own / (2 * mine - 1)).mean()


@dataclass(frozen=True)
class CyclicGradientTemperature:
    """A scale of the loss that goes up and down: `k = tau_p / tau_g`, a temperature of its own for gradients (HPCR).

    `k(t) = k_min + (k_max - k_min) (1 - cos(2 pi t / period)) / 2`, from `tau_p / tau_hi` to `tau_p / tau_lo`. The
    softmax keeps `tau_p`.

    Parameters
    ----------
    tau_p: temperature of the softmax. tau_lo, tau_hi: between these is that of the gradient. period: steps.

    >>> scale = CyclicGradientTemperature(0.09, 0.05, 0.16, period=500)
    >>> scale(0), round(scale(250), 6), scale(500)
    (0.5625, 1.8, 0.5625)
    """

    tau_p: float = 0.09
    tau_lo: float = 0.05
    tau_hi: float = 0.16
    period: int = 500

    def __post_init__(self) -> None:
        if not (self.tau_p > 0 and 0 < self.tau_lo <= self.tau_hi < math.inf) or self.period < 1:
            raise InvalidInput(
                f"Temperatures {self.tau_p}, {self.tau_lo} to {self.tau_hi} make no cycle of {self.period} steps.",
                "Use 0 < tau_lo <= tau_hi, tau_p > 0 and at least one step.",
            )

    def __call__(self, step: int) -> float:
        """The scale at a step, counted from 0 within the task."""
        low, high = self.tau_p / self.tau_hi, self.tau_p / self.tau_lo
        return low + (high - low) * (1 - math.cos(2 * math.pi * step / self.period)) / 2


def pcd_loss(logits: Tensor, stored: Tensor, y: Tensor) -> Tensor:
    """Squared distance of logits to stored ones, the mean over rows and labels of the batch (HPCR, PCD).

    Parameters
    ----------
    logits: of the replayed samples now, [R, C]. stored: when they were stored, [R, C'], C' <= C; NaN, and columns that
        are missing, are classes that were not there then: they are left out.
    y: the labels of the whole batch, int64 [N]; a class that comes n times counts n times.

    >>> float(pcd_loss(torch.tensor([[1.0, 5.0]]), torch.tensor([[3.0]]), torch.tensor([0, 1, 1])))
    4.0
    """
    y = y[y < stored.shape[1]]
    target = stored.detach()[:, y]
    known = ~target.isnan()
    gaps = torch.where(known, logits[:, y] - target.nan_to_num(), 0.0)
    return gaps.square().sum() / known.sum().clamp(min=1)


def scd_loss(z: Tensor, stored: Tensor, tau: float = 0.09) -> Tensor:
    """How far relations among samples are from stored ones: cross-entropy of softmaxes over the others (HPCR, SCD).

    Every sample is compared by cosine over `tau` with each other one. Turning all features alike changes nothing.

    Parameters
    ----------
    z: features of the replayed samples now, [R, d]. stored: when they were stored, [R, d'].

    Raises
    ------
    InvalidInput: there are fewer than two samples.

    >>> z = torch.eye(3)
    >>> bool(scd_loss(z, z) < scd_loss(torch.tensor([[1.0, 0], [1.0, 0], [0, 1.0]]), z))
    True
    """
    if len(z) < 2:
        raise InvalidInput("One sample has no relation to others.", "Replay two or more.")
    return -(_relations(stored.detach(), tau).exp() * _relations(z, tau)).sum(1).mean()


def _relations(z: Tensor, tau: float) -> Tensor:
    """Log-softmax of every sample over the others, [R, R - 1]."""
    z = _unit(z)
    others = ~torch.eye(len(z), dtype=torch.bool, device=z.device)
    return (z @ z.T / tau)[others].view(len(z), -1).log_softmax(1)


def _unit(z: Tensor) -> Tensor:
    return F.normalize(z, dim=1, eps=1e-6)
