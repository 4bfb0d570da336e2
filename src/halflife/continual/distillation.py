"""Keeping a model's answers near those of an older one: the one home of distillation losses."""

from __future__ import annotations

import warnings
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from halflife.errors import InvalidInput


def soft_targets(student: Tensor, teacher: Tensor, temperature: float = 2.0) -> Tensor:
    """Cross-entropy between softened predictions, the mean over the batch (Hinton et al. 2015; Li & Hoiem 2016).

    Parameters
    ----------
    student, teacher: logits [B, C]; no gradient goes to the teacher.

    Its gradient vanishes where the two agree; it is the KL divergence plus the teacher's entropy.
    """
    target = (teacher.detach() / temperature).softmax(1)
    return -(target * (student / temperature).log_softmax(1)).sum(1).mean()


def sigmoid_targets(student: Tensor, teacher: Tensor) -> Tensor:
    """Binary cross-entropy with the teacher's sigmoids as targets, the mean over batch and classes (iCaRL; LwF.MC)."""
    return F.binary_cross_entropy_with_logits(student, teacher.detach().sigmoid())


def feature_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance between features [B, d], summed over them, the mean over the batch."""
    return (student - teacher.detach()).square().sum(1).mean()


def masked(logits: Tensor, classes: Tensor | list[int] | tuple[int, ...]) -> Tensor:
    """The logits with all other classes at minus infinity; a copy.

    >>> masked(torch.zeros(1, 3), [0, 2]).tolist()
    [[0.0, -inf, 0.0]]
    """
    kept = torch.as_tensor(classes, device=logits.device)
    mask = torch.full((logits.shape[1],), -torch.inf, device=logits.device, dtype=logits.dtype)
    mask[kept] = 0.0
    return logits + mask


def relation_distillation(
    h_new: Tensor, W_new: Tensor, h_old: Tensor, W_old: Tensor, tau: float = 0.1,
    axis: Literal["samples", "classes"] = "samples",
) -> Tensor:  # fmt: skip
    """How far the similarities of samples to old prototypes have moved (PRD, arXiv 2303.14771, L_D).

    `samples`, as in the paper: for every prototype a softmax over the batch of `cos(p, h_i) / tau`; the sum over
    prototypes of KL(old || new). It depends on the size of the batch. `classes`, as in its authors' code: for every
    sample a softmax over the prototypes of `h.p / |p| / tau`; the mean over samples of KL(old || new). Call it once
    for each old task then.

    Parameters
    ----------
    h_new, h_old: features [n, d] of the same samples by the network now and by the old one.
    W_new, W_old: the same prototypes [C, d] now and then. tau: temperature.
    No gradient goes to `h_old` and `W_old`.

    Raises
    ------
    InvalidInput: `samples` with fewer than two. It warns where `classes` has but one, which is always likely.

    >>> h, W = torch.eye(3), torch.ones(2, 3)
    >>> float(relation_distillation(h, W, h, W)), bool(relation_distillation(h * torch.arange(3), W, h, W) > 0)
    (0.0, True)
    """
    h_old, W_old = h_old.detach(), W_old.detach()
    if axis == "samples":
        if len(h_new) < 2:
            raise InvalidInput("One sample has no relation to others.", "Use batches of two or more.")
        new, old = (F.normalize(W, dim=1) @ F.normalize(h, dim=1).T for W, h in ((W_new, h_new), (W_old, h_old)))
    elif axis == "classes":
        if len(W_new) < 2:
            warnings.warn(
                "A softmax over one class is constant: nothing is distilled. Use axis='samples'.", stacklevel=2
            )
        new, old = (h @ F.normalize(W, dim=1).T for W, h in ((W_new, h_new), (W_old, h_old)))
    else:
        raise InvalidInput(f"There is no axis {axis!r}.", "Use samples or classes.")
    each = F.kl_div((new / tau).log_softmax(1), (old / tau).log_softmax(1), reduction="none", log_target=True).sum(1)
    return each.sum() if axis == "samples" else each.mean()
