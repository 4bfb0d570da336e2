"""Group masking (SCoLe, arXiv 2207.04543): plain training in which absent classes are left alone."""

from __future__ import annotations

from dataclasses import dataclass

from halflife.continual.method import Batch, Method
from halflife.continual.scenario import Experience
from halflife.continual.scole import group_mask_ce


@dataclass(eq=False, kw_only=True)
class GroupMasking(Method):
    """Cross-entropy among the classes of the batch alone. Tests are not masked.

    The paper's runs have `momentum=0`, since it carries the direction of one task into the next, and `clip=10`.

    Parameters
    ----------
    fresh_optimizer: whether the optimiser is made anew with every task (where tasks are told).

    >>> from halflife.continual import load, run
    >>> from halflife.continual.scole import scole
    >>> long = scole(load("digits"), tasks=80)
    >>> run(long, GroupMasking(lr=0.05), model="mlp:32", batch_size=32, evaluate_tasks_every=80)["accuracy"][0] > 0.3
    True
    """

    clip: float | None = 10.0
    fresh_optimizer: bool = False

    def before_task(self, task: Experience) -> None:
        """See `Learner`."""
        if self.fresh_optimizer:
            self.optim = self.make_optimizer()

    def observe(self, batch: Batch) -> dict[str, float]:
        """See `Learner`."""
        return self.step(group_mask_ce(self.model(batch.x), batch.y))
