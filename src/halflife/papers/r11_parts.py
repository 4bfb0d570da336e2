"""Parts of the reproduction of the view-batch model: data, augmentations, arms, and a probe of what is forgotten."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from halflife.continual.data import Dataset
from halflife.continual.method import Batch, Wrapper
from halflife.continual.scenario import Experience
from halflife.continual.transforms import Affine, Augment, Brightness, Compose, Cutout, Flip, Shift


@dataclass(frozen=True)
class Halves:
    """The weak augmentation for all pictures, the strong one on top for every second.

    >>> both = Halves(Shift(0), lambda x, rng: x + 1)
    >>> both(torch.zeros(4, 1, 1, 1), torch.Generator()).flatten().tolist()
    [0.0, 1.0, 0.0, 1.0]
    """

    weak: Augment
    strong: Augment

    def __call__(self, x: Tensor, rng: torch.Generator) -> Tensor:
        x = self.weak(x, rng).clone()
        x[1::2] = self.strong(x[1::2], rng)
        return x


def augmentations(side: int, flip: bool) -> tuple[Augment, Augment]:
    """The weak and the strong augmentation for pictures of so many pixels a side.

    Weak: moved by up to an eighth of the side, and mirrored if `flip`. Strong, on top: turned by up to 15 degrees,
    scaled by 0.9 to 1.1, moved by up to a tenth of the side, a square of two sevenths blackened, brightness +-30 %.
    """
    weak: list[Augment] = [Shift(max(1, side // 8)), *([Flip()] if flip else [])]
    return Compose(weak), Compose([Affine(15.0, (0.9, 1.1), side * 3 / 28), Cutout(side * 2 // 7), Brightness(0.3)])


def halved(data: Dataset) -> Dataset:
    """The same pictures at half their height and width, each pixel the mean of four.

    >>> from halflife.continual import load
    >>> halved(load("digits").take(2, 1)).shape
    (1, 4, 4)
    """

    def half(x: Tensor, index: Tensor) -> Tensor:
        chosen = x[index].float() / (1.0 if x.is_floating_point() else 255.0)
        return F.avg_pool2d(chosen, 2)

    parts = [
        replace(part, x=half(part.x, part.index), y=part.labels, index=torch.arange(len(part)))
        for part in (data.train, data.test)
    ]
    return Dataset(f"{data.name}-half", parts[0], parts[1], data.n_classes)


@dataclass(eq=False)
class Log:
    """What probes saw. It is shared by the copies that runs make of a method, so it can be read after them.

    Parameters
    ----------
    gaps: steps between two visits of an example. views: of each visit. visits: per example of a task.
    lags, losses: steps since the last visit (0: in the step just done), and the loss of the plain picture then.
    """

    gaps: list[Tensor] = field(default_factory=list)
    views: list[Tensor] = field(default_factory=list)
    visits: list[Tensor] = field(default_factory=list)
    lags: list[Tensor] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    task: Experience | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Log:
        return self

    def curve(self, width: int) -> tuple[np.ndarray, np.ndarray]:
        """The mean loss by steps since the last visit, in bins of so many steps: their middles and the means, [n].

        A bin with less than a hundredth of all points is left out.
        """
        bins = torch.cat(self.lags) // width
        count = bins.bincount()
        total = torch.zeros(len(count), dtype=torch.float64).index_add_(0, bins, torch.cat(self.losses).double())
        kept = (count >= max(1, len(bins) // 100)).nonzero()[:, 0]
        return (kept * width + (width - 1) / 2).numpy(), (total[kept] / count[kept]).numpy()


@dataclass(eq=False)
class Probe(Wrapper):
    """Notes when a learner visits an example, and what the loss on it is some steps later. Training stays as it is.

    Parameters
    ----------
    log: where to. every: steps between two looks at the loss of all examples of the task; 0: none.
    after: looks begin in this epoch of each task, from 0.
    """

    log: Log
    every: int = 0
    after: int = 0

    def before_task(self, task: Experience) -> None:
        """No example of a new task has been visited."""
        self.log.task = task
        self.steps = 0
        self.last = torch.full((len(task.train.y),), -1)
        self.visits = torch.zeros(len(task.train.y), dtype=torch.long)
        super().before_task(task)

    def observe(self, batch: Batch) -> dict[str, float]:
        """The step within; then the notes."""
        logged = super().observe(batch)
        rows, views = batch.index.cpu().unique(return_counts=True)
        again = rows[self.last[rows] >= 0]
        self.log.gaps.append(self.steps - self.last[again])
        self.log.views.append(views)
        self.last[rows] = self.steps
        self.visits[rows] += 1
        self.steps += 1
        task = self.log.task
        if self.every and task is not None and self.steps % self.every == 0:
            per_epoch = -(-len(task.train) // self.context.batch_size)
            if self.steps > self.after * per_epoch:
                self._look(task)
        return logged

    @torch.no_grad()
    def _look(self, task: Experience) -> None:
        x, y = task.train.all()
        training = self.model.training
        losses = F.cross_entropy(self.model.eval()(x), y, reduction="none").cpu()
        self.model.train(training)
        lags = self.steps - 1 - self.last[task.train.index.cpu()]
        known = self.last[task.train.index.cpu()] >= 0
        self.log.lags.append(lags[known])
        self.log.losses.append(losses[known])

    def after_task(self, task: Experience) -> None:
        """How often each example of the task was visited."""
        self.log.visits.append(self.visits[task.train.index.cpu()])
        super().after_task(task)
