"""L2: every parameter is held near its value at the end of the last task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F

from halflife.continual.importance import ByName, penalty, snapshot
from halflife.continual.method import Batch, Method
from halflife.continual.methods.regularised import EXPECTED
from halflife.continual.scenario import Experience


@dataclass(eq=False, kw_only=True)
class L2(Method):
    """`CE + lam * ||theta - theta_{t-1}||^2`.

    Parameters
    ----------
    lam: the weight of the penalty, 0.01 to 1.
    """

    lam: float = 0.1

    needs_boundaries: ClassVar[bool] = True
    expected = EXPECTED

    def start(self) -> None:
        """No anchor before the first task has ended."""
        self.anchor: ByName = {}

    def observe(self, batch: Batch) -> dict[str, float]:
        """See `Learner`."""
        loss = F.cross_entropy(self.model(batch.x), batch.y)
        if self.anchor:
            loss = loss + self.lam * penalty(self.model, self.anchor)
        return self.step(loss)

    def after_task(self, task: Experience) -> None:
        """The parameters become the anchor."""
        self.anchor = snapshot(self.model)
