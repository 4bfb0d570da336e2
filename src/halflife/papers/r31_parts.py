"""What the reproduction of PRD is made of: pictures turned into more classes, noise, and a look into the features."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from halflife.continual.data import Dataset, under
from halflife.continual.evaluator import BATCH
from halflife.continual.examples import Examples
from halflife.continual.method import Wrapper
from halflife.continual.methods.prd import PRD
from halflife.continual.prototypes import oracle_accuracy
from halflife.continual.scenario import Experience


@dataclass(frozen=True)
class Noise:
    """Normal noise of a standard deviation on every pixel, kept in [0, 1]."""

    sd: float = 0.05

    def __call__(self, x: Tensor, rng: torch.Generator) -> Tensor:
        return (x + self.sd * torch.randn(x.shape, generator=rng).to(x.device)).clamp(0, 1)


def turned(data: Dataset, turns: int) -> Dataset:
    """The data with each class under so many quarter turns, every one a class of its own.

    >>> from halflife.continual import load
    >>> turned(load("digits").take(5), 2).n_classes
    20
    """
    return under(data, lambda x: [torch.rot90(x, k, (2, 3)) for k in range(turns)], f"{data.name} x {turns} turns")


@dataclass(eq=False)
class Log:
    """What `Watched` saw: one entry for each run.

    Parameters
    ----------
    told: after each task, the accuracy on each task so far of perfect prototypes, among its own classes.
    seen: at the end, that among all classes. drift: at the end, for each task the cosines of its prototypes with
        those when they had been learned.
    """

    told: list[list[list[float]]] = field(default_factory=list)
    seen: list[float] = field(default_factory=list)
    drift: list[list[list[float]]] = field(default_factory=list)

    def __deepcopy__(self, memo: dict[int, Any]) -> Log:
        return self  # the copy of a learner that is run writes into the same


@dataclass(eq=False)
class Watched(Wrapper):
    """PRD, with a look at what its features could do after each task, taken at the first test so that the training is
    not charged for it.

    Parameters
    ----------
    method: the PRD. test: all test examples. log: where it is written.
    """

    test: Examples
    log: Log

    def start(self) -> None:
        """A new run."""
        self.tests: list[tuple[Tensor, Tensor]] = []
        self.due = False
        for part in (self.log.told, self.log.drift):
            part.append([])
        self.log.seen.append(float("nan"))

    def after_task(self, task: Experience) -> None:
        """See `Learner`."""
        super().after_task(task)
        x, y = self.test.of(task.classes).all()
        self.tests.append((x.to(self.context.device), y.to(self.context.device)))
        self.due = True

    def logits(self, x: Tensor) -> Tensor:
        """See `Learner`."""
        if self.due:
            told, seen = oracle_accuracy(self.model, self.tests, self.context.n_classes, BATCH)
            self.log.told[-1].append(told)
            self.log.seen[-1] = sum(seen) / len(seen)
            assert isinstance(self.inner, PRD)
            moved = self.inner.bank.drift()
            self.log.drift[-1] = [[moved[c] for c in classes] for classes in self.inner.bank.classes]
            self.due = False
        return super().logits(x)
