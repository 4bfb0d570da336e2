"""What the reproduction of refresh learning is measured with: controls, equivalence of presets, and sharpness."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halflife.continual import Dataset, LinearHead, Network, class_incremental, run
from halflife.continual.bregman import Given, UnifiedObjective
from halflife.continual.distillation import soft_targets
from halflife.continual.examples import Examples
from halflife.continual.importance import snapshot, trainable
from halflife.continual.method import Batch, Learner, Wrapper
from halflife.continual.methods import DER, ER, EWC, L2, MAS, SI, DERpp, LwF
from halflife.continual.methods.refresh import Refresh

# -- controls ---------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Noise(Refresh):
    """A step of the same length as that of `Refresh`, in a random direction."""

    def gradient(self, batch: Batch) -> tuple[Tensor, ...]:
        """A direction for each parameter, drawn; its length is set by `move`."""
        names = trainable(self.model).values()
        return tuple(torch.randn(p.shape, generator=self.draws, device=p.device, dtype=p.dtype) for p in names)


@dataclass(eq=False)
class SharpnessAware(Refresh):
    """The step of the method is computed at the point above, and made from the old one (after Foret et al. 2021)."""

    def observe(self, batch: Batch) -> dict[str, float]:
        """See `Learner`."""
        below = snapshot(self.model)
        self.unlearn(batch)

        @torch.no_grad()
        def back(*_: Any) -> None:
            for name, p in trainable(self.model).items():
                p.copy_(below[name])

        hook = self.inner.optim.register_step_pre_hook(back)
        try:
            return self.method.observe(batch)
        finally:
            hook.remove()


@dataclass(eq=False)
class Unprotected(Refresh):
    """`Refresh` whose ascent counts the batch in the running statistics, a second time."""

    def unlearn(self, batch: Batch) -> None:
        """The step, and a forward pass for the statistics."""
        super().unlearn(batch)
        with torch.no_grad():
            self.model(batch.x)


# -- presets against methods ------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Ledger:
    """A list that copies of a learner share."""

    values: list[Any] = field(default_factory=list)

    def __deepcopy__(self, memo: dict[int, Any]) -> Ledger:
        return self

    def __repr__(self) -> str:
        return "Ledger"


Unified = Callable[[Any, Batch], tuple[UnifiedObjective, tuple[Given, ...], float]]
"""(method, batch) -> the objective that stands for its step, what it is given, and a constant that it leaves out."""


@dataclass(eq=False)
class Compared(Wrapper):
    """Before each step, the unified objective on the same draws; the relative difference of the two losses is kept."""

    unified: Unified
    ledger: Ledger

    def observe(self, batch: Batch) -> dict[str, float]:
        """See `Learner`."""
        state = self.rng.get_state()
        with torch.no_grad():
            objective, given, constant = self.unified(self.inner, batch)
            ours = float(objective(self.model, batch.x, batch.y, *given)) + constant
        self.rng.set_state(state)  # the method draws the same
        logged = self.method.observe(batch)
        self.ledger.values.append(abs(logged["loss"] - ours) / max(abs(ours), 1e-12))
        return logged


def _er(method: ER, batch: Batch) -> tuple[UnifiedObjective, tuple[Given, ...], float]:
    if not len(method.buffer):
        return UnifiedObjective(), (), 0.0
    old = method.buffer.sample(len(batch))
    return UnifiedObjective.er(len(old) / (len(old) + len(batch))), ((old.x, old.y),), 0.0


def _der(method: DER | DERpp, batch: Batch) -> tuple[UnifiedObjective, tuple[Given, ...], float]:
    if not len(method.buffer):
        return UnifiedObjective(), (), 0.0
    old = method.buffer.sample(len(batch))
    if isinstance(method, DER):
        return UnifiedObjective.der(method.alpha), ((old.x, old.logits),), 0.0
    other = method.buffer.sample(len(batch))
    return UnifiedObjective.derpp(method.alpha, method.beta), ((old.x, old.logits), (other.x, other.y)), 0.0


def _lwf(method: LwF, batch: Batch) -> tuple[UnifiedObjective, tuple[Given, ...], float]:
    if method.teacher is None:
        return UnifiedObjective(), (), 0.0
    z = method.teacher(batch.x)
    entropy = float(soft_targets(z[:, method.old], z[:, method.old], method.temperature))
    objective = UnifiedObjective.lwf(method.alpha, method.temperature, method.old)
    return objective, ((None, z),), method.alpha * entropy


HOSTS: Mapping[str, tuple[Learner, Unified]] = {
    "ER": (ER(capacity=50), _er),
    "DER": (DER(capacity=50), _der),
    "DER++": (DERpp(capacity=50), _der),
    "LwF": (LwF(), _lwf),
    "L2": (L2(lam=0.1), lambda m, _: (UnifiedObjective.l2(m.lam, m.anchor), (), 0.0)),
    "EWC": (EWC(lam=10.0), lambda m, _: (UnifiedObjective.ewc(m.lam, m.held), (), 0.0)),
    "EWC, online": (EWC(lam=10.0, mode="online"), lambda m, _: (UnifiedObjective.ewc(m.lam, m.held), (), 0.0)),
    "SI": (SI(c=1.0), lambda m, _: (UnifiedObjective.si(m.c, m.anchor if m.held else {}, m.held), (), 0.0)),
    "MAS": (MAS(lam=0.01), lambda m, _: (UnifiedObjective.mas(m.lam, m.anchor, m.held), (), 0.0)),
}


class _Double(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        """In double precision, so that what differs is not rounding."""
        return x.double()


def _network(shape: tuple[int, ...], n_classes: int) -> nn.Module:
    width = int(torch.tensor(shape).prod())
    body = nn.Sequential(_Double(), nn.Flatten(), nn.Linear(width, 32), nn.ReLU())
    return Network(body, LinearHead(32, n_classes)).double()


def equivalence(digits: Dataset, seed: int) -> dict[str, tuple[int, float]]:
    """Steps compared and the largest relative difference of the losses, while each method learns the digits."""
    found = {}
    for name, (method, unified) in HOSTS.items():
        ledger = Ledger()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that holding parameters does not help here
            run(class_incremental(digits), Compared(method, unified, ledger), [seed], model=_network, batch_size=16)
        found[name] = (len(ledger.values), max(ledger.values))
    return found


# -- sharpness --------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Shelved(Wrapper):
    """Puts a copy of the trained network on a shelf."""

    shelf: Ledger

    def finish(self) -> None:
        """See `Learner`."""
        self.method.finish()
        self.shelf.values.append(copy.deepcopy(self.model).eval())


def sharpness(model: nn.Module, x: Tensor, y: Tensor, radius: float = 0.05, steps: int = 5) -> float:
    """How far the loss rises within `radius` times the norm of each parameter tensor, by ascent on all examples.

    Parameters
    ----------
    model: in evaluation mode; it is left as it was. x, y: inputs [N, ...], labels [N]. steps: of the ascent.

    Returns
    -------
    The highest loss found minus that of the model, in nats.
    """
    parameters = list(trainable(model).values())
    old = [p.detach().clone() for p in parameters]
    losses = []
    for _ in range(steps + 1):
        loss = F.cross_entropy(model(x), y)
        losses.append(float(loss.detach()))
        gradient = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for p, before, g in zip(parameters, old, gradient, strict=True):
                limit = radius * before.norm()
                away = p - before + 2 * limit / steps * g / (g.norm() + 1e-20)
                p.copy_(before + away * (limit / (away.norm() + 1e-20)).clamp(max=1.0))
    with torch.no_grad():
        for p, before in zip(parameters, old, strict=True):
            p.copy_(before)
    return max(losses) - losses[0]


def halved(data: Dataset) -> Dataset:
    """The pictures at half their height and width."""

    def smaller(part: Examples) -> Examples:
        return replace(part, x=F.avg_pool2d(part.x.float() / 255, 2))

    return replace(data, train=smaller(data.train), test=smaller(data.test))
