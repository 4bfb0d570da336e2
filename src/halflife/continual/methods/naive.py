"""The two bounds: training on what comes, and training on everything so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F

from halflife.continual.method import Batch, Method


@dataclass(eq=False, kw_only=True)
class Naive(Method):
    """Cross-entropy on each batch as it comes, and nothing against forgetting: the lower bound.

    >>> from halflife.continual import class_incremental, load, run
    >>> results = run(class_incremental(load("digits")), Naive(lr=0.1), epochs=3, batch_size=16)
    >>> results["accuracy"][0] < 0.3  # only the last task is left
    True
    """

    def observe(self, batch: Batch) -> dict[str, float]:
        """See `Learner`."""
        return self.step(F.cross_entropy(self.model(batch.x), batch.y))


@dataclass(eq=False, kw_only=True)
class Joint(Naive):
    """Training on the examples of all tasks so far: the upper bound, at a cost that grows with every task."""

    trains_on: ClassVar[Literal["task", "seen"]] = "seen"
