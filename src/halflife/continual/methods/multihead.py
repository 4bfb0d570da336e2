"""Finetuning with a head for each task: cross-entropy only among the classes of the task; with distillation it is LwF
in its first form (Li & Hoiem 2016, arXiv 1606.09282), which never pushes old classes down."""

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
class MultiHead(Method):
    """`CE among the task's classes + alpha * sum over old tasks of KD_T among theirs`.

    Parameters
    ----------
    alpha: the weight of the distillation; with 0 nothing is held. temperature: T, which softens both sides.

    >>> from halflife.continual import class_incremental, load, run
    >>> results = run(class_incremental(load("digits")), MultiHead(alpha=1.0, lr=0.1), epochs=4, batch_size=16)
    >>> results["task_accuracy"][0] > 0.8
    True
    """

    alpha: float = 0.0
    temperature: float = 2.0

    needs_boundaries: ClassVar[bool] = True
    expected = EXPECTED

    def start(self) -> None:
        """There is no teacher in the first task."""
        self.teacher: nn.Module | None = None
        self.heads: list[list[int]] = []

    def before_task(self, task: Experience) -> None:
        """The last head is that of the task."""
        self.heads.append(list(task.classes))

    def observe(self, batch: Batch) -> dict[str, float]:
        """See `Learner`."""
        logits = self.model(batch.x)
        *old, now = self.heads
        place = (batch.y[:, None] == torch.tensor(now, device=batch.y.device)).int().argmax(1)
        loss = F.cross_entropy(logits[:, now], place)
        if self.teacher is not None and self.alpha:
            with torch.no_grad():
                before = self.teacher(batch.x)
            for head in old:
                loss = loss + self.alpha * soft_targets(logits[:, head], before[:, head], self.temperature)
        return self.step(loss)

    def after_task(self, task: Experience) -> None:
        """The network becomes its own teacher."""
        self.teacher = frozen(self.model)
