"""LwF: learning without forgetting (Li & Hoiem 2016, arXiv 1606.09282)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from halflife.continual.distillation import soft_targets
from halflife.continual.method import Batch, Method, frozen
from halflife.continual.methods.regularised import EXPECTED
from halflife.continual.scenario import Experience


@dataclass(eq=False, kw_only=True)
class LwF(Method):
    """`CE + alpha * KD_T`: on new inputs the outputs of old classes stay as the network gave them before the task.

    Parameters
    ----------
    alpha: the weight of the distillation. temperature: T, which softens both sides.
    """

    alpha: float = 1.0
    temperature: float = 2.0

    needs_boundaries: ClassVar[bool] = True
    expected = EXPECTED

    def start(self) -> None:
        """There is no teacher in the first task."""
        self.teacher: nn.Module | None = None
        self.old: list[int] = []

    def observe(self, batch: Batch) -> dict[str, float]:
        """See `Learner`."""
        logits = self.model(batch.x)
        loss = F.cross_entropy(logits, batch.y)
        if self.teacher is not None:
            with torch.no_grad():
                before = self.teacher(batch.x)
            loss = loss + self.alpha * soft_targets(logits[:, self.old], before[:, self.old], self.temperature)
        return self.step(loss)

    def after_task(self, task: Experience) -> None:
        """The network becomes its own teacher."""
        self.teacher = frozen(self.model)
        self.old = list(task.seen)
