"""EWC: overcoming catastrophic forgetting in neural networks (Kirkpatrick et al. 2017, arXiv 1612.00796)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F

from halflife.continual.importance import ByName, importance, penalty, snapshot
from halflife.continual.method import Batch, Method, fork
from halflife.continual.methods.regularised import EXPECTED
from halflife.continual.scenario import Experience
from halflife.errors import InvalidInput


@dataclass(eq=False, kw_only=True)
class EWC(Method):
    """`CE + lam/2 * sum_i F_i (theta_i - theta*_i)^2`, F the diagonal of the Fisher matrix.

    Parameters
    ----------
    lam: the weight of the penalty; it spans orders of magnitude, so choose it on a validation stream.
    mode: `separate` keeps an anchor and a Fisher for every task (the paper); `online` one anchor, and
        `F <- gamma * F + F_new` (Schwarz et al. 2018).
    gamma: of the online form. samples: examples for the Fisher at the end of a task; None takes all.
    labels: `true`, or `sampled` from the model's predictions.
    """

    lam: float = 10.0
    mode: Literal["separate", "online"] = "separate"
    gamma: float = 1.0
    samples: int | None = 1000
    labels: Literal["true", "sampled"] = "true"

    needs_boundaries: ClassVar[bool] = True
    expected = EXPECTED

    def start(self) -> None:
        """Nothing is held before the first task has ended."""
        if self.mode not in ("separate", "online"):
            raise InvalidInput(f"There is no mode {self.mode!r} of EWC.", "Use separate or online.")
        self.held: list[tuple[ByName, ByName]] = []  # an anchor and a Fisher each
        self.draws = fork(self, "fisher")

    def observe(self, batch: Batch) -> dict[str, float]:
        """See `Learner`."""
        loss = F.cross_entropy(self.model(batch.x), batch.y)
        for anchor, fisher in self.held:
            loss = loss + 0.5 * self.lam * penalty(self.model, anchor, fisher)
        return self.step(loss)

    def after_task(self, task: Experience) -> None:
        """Estimate how much each parameter matters for the task."""
        examples = task.train.shuffled(self.draws, self.samples)
        fisher = importance(
            self.model, examples.batches(64), per_sample=True, labels=self.labels, generator=self.draws
        )  # fmt: skip
        if self.mode == "online" and self.held:
            old = self.held[0][1]
            fisher = {name: f + self.gamma * old[name] if name in old else f for name, f in fisher.items()}
        if self.mode == "online":
            self.held = []
        self.held.append((snapshot(self.model), fisher))
