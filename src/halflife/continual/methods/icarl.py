"""iCaRL: incremental classifier and representation learning (Rebuffi et al. 2017, arXiv 1611.07725)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halflife.continual.buffer import Buffer
from halflife.continual.method import Batch, Method, frozen
from halflife.continual.prototypes import class_means, nearest_mean_logits
from halflife.continual.scenario import Experience


@dataclass(eq=False, kw_only=True)
class ICaRL(Method):
    """Sigmoid outputs, distilled for old classes; exemplars chosen by herding; the nearest mean of exemplars decides.

    Parameters
    ----------
    capacity: exemplars in all, shared evenly by the classes seen. minibatch: of them in a step; None: as many as the
        batch has.
    """

    capacity: int = 200
    minibatch: int | None = None

    needs_boundaries: ClassVar[bool] = True

    def start(self) -> None:
        """No exemplars and no teacher in the first task."""
        self.buffer = Buffer(self.capacity, "herding", self.rng)
        self.teacher: nn.Module | None = None
        self.means: Tensor | None = None
        self.old: list[int] = []
        self.seen: list[int] = []

    def before_task(self, task: Experience) -> None:
        """The outputs of the new classes come into use."""
        self.seen = list(task.seen)

    def observe(self, batch: Batch) -> dict[str, float]:
        """See `Learner`."""
        x, y = batch.x, batch.y
        if len(self.buffer):
            exemplars = self.buffer.sample(self.minibatch or len(batch))
            x, y = torch.cat([x, self.augment(exemplars.x)]), torch.cat([y, exemplars.y])
        logits = self.model(x)
        target = F.one_hot(y, logits.shape[1]).to(logits)
        if self.teacher is not None:
            with torch.no_grad():
                target[:, self.old] = self.teacher(x)[:, self.old].sigmoid()
        loss = F.binary_cross_entropy_with_logits(logits[:, self.seen], target[:, self.seen], reduction="none")
        return self.step(loss.sum(1).mean())

    def after_task(self, task: Experience) -> None:
        """Choose exemplars of the new classes, and keep the network as the teacher."""
        with torch.no_grad():
            self.model.eval()
            for c in task.classes:
                x, y = task.train.of([c]).all()
                z = torch.cat([self.model.features(part) for part in x.split(512)])  # type: ignore[operator]
                self.buffer.add(x=x, y=y, features=z)
            self.model.train()
        self.teacher = frozen(self.model)
        self.old = list(task.seen)

    def before_evaluation(self) -> None:
        """The mean of the exemplars of each class, by the network as it is now."""
        kept = self.buffer.all()
        pairs = zip(kept.x.split(512), kept.y.split(512), strict=True)
        self.means = class_means(self.model, pairs, self.context.n_classes, normalise=True)

    def logits(self, x: Tensor) -> Tensor:
        """Minus the distance to the mean of each class; before the first exemplars, the network's own outputs."""
        if self.means is None:
            return super().logits(x)
        return nearest_mean_logits(self.model.features(x), self.means)  # type: ignore[operator]
