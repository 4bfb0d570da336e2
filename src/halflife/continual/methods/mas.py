"""MAS: memory aware synapses (Aljundi et al. 2018, arXiv 1711.09601)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F

from halflife.continual.importance import ByName, output_sensitivity, penalty, snapshot
from halflife.continual.method import Batch, Method, fork
from halflife.continual.methods.regularised import EXPECTED
from halflife.continual.scenario import Experience


@dataclass(eq=False, kw_only=True)
class MAS(Method):
    """`CE + lam * sum_i Omega_i (theta_i - theta*_i)^2`: Omega is how much the output moves with each parameter.

    Parameters
    ----------
    lam: the weight of the penalty. alpha: share of the old estimate in `Omega <- alpha * Omega + (1 - alpha) * new`.
    samples: examples for the estimate at the end of a task; None takes all. No label is used.
    """

    lam: float = 0.01
    alpha: float = 0.5
    samples: int | None = 1000

    needs_boundaries: ClassVar[bool] = True
    expected = EXPECTED

    def start(self) -> None:
        """Nothing is held before the first task has ended."""
        self.anchor: ByName = {}
        self.held: ByName = {}
        self.draws = fork(self, "sensitivity")

    def observe(self, batch: Batch) -> dict[str, float]:
        """See `Learner`."""
        loss = F.cross_entropy(self.model(batch.x), batch.y)
        if self.anchor:
            loss = loss + self.lam * penalty(self.model, self.anchor, self.held)
        return self.step(loss)

    def after_task(self, task: Experience) -> None:
        """Estimate how much each parameter matters for the outputs."""
        new = output_sensitivity(self.model, task.train.shuffled(self.draws, self.samples).batches(64))
        old, mix = self.held, self.alpha
        self.held = {name: mix * old[name] + (1 - mix) * w if name in old else w for name, w in new.items()}
        self.anchor = snapshot(self.model)
