"""SI: continual learning through synaptic intelligence (Zenke et al. 2017, arXiv 1703.04200)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from halflife.continual.importance import ByName, penalty, snapshot, trainable
from halflife.continual.method import Batch, Method
from halflife.continual.methods.regularised import EXPECTED
from halflife.continual.scenario import Experience


@dataclass(eq=False, kw_only=True)
class SI(Method):
    """`CE + c * sum_i Omega_i (theta_i - theta*_i)^2`: Omega is what each parameter did for the loss along its way.

    Per update `omega_i += -g_i * d theta_i` (g of the cross-entropy alone), per task
    `Omega_i += omega_i / ((theta_i - theta_i at its start)^2 + xi)`.

    Parameters
    ----------
    c: the weight of the penalty. xi: keeps the quotient finite.
    """

    c: float = 1.0
    xi: float = 0.9

    needs_boundaries: ClassVar[bool] = True
    expected = EXPECTED

    def start(self) -> None:
        """Nothing is held before the first task has ended."""
        self.anchor: ByName = snapshot(self.model)
        self.omega = {name: torch.zeros_like(p) for name, p in self.anchor.items()}
        self.held: ByName = {}

    def observe(self, batch: Batch) -> dict[str, float]:
        """See `Learner`."""
        own = F.cross_entropy(self.model(batch.x), batch.y)
        names = trainable(self.model)
        grads = torch.autograd.grad(own, list(names.values()), retain_graph=True)
        before = snapshot(self.model)
        logged = self.step(own + self.c * penalty(self.model, self.anchor, self.held) if self.held else own)
        for (name, p), g in zip(names.items(), grads, strict=True):
            self.omega[name] -= g * (p.detach() - before[name])
        return logged

    def after_task(self, task: Experience) -> None:
        """What the parameters did in the task is added to what holds them."""
        now = snapshot(self.model)
        for name, p in now.items():
            gained = self.omega[name] / ((p - self.anchor[name]).square() + self.xi)
            self.held[name] = self.held.get(name, torch.zeros_like(p)) + gained.clamp(min=0)
            self.omega[name].zero_()
        self.anchor = now
