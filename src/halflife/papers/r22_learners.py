"""Learners of the reproduction of FPF that are no methods of their own: what keeps, watches, waits or stands still."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from halflife.continual import Buffer, Experience, Learner, Method, Naive, Wrapper
from halflife.continual.groups import Dynamics, DynamicsRecorder
from halflife.continual.method import Batch, fork


@dataclass(eq=False, kw_only=True)
class Keeper(Naive):
    """Plain SGD that keeps a reservoir which it does not replay."""

    capacity: int = 200

    def start(self) -> None:
        """Make the buffer."""
        self.buffer = Buffer(self.capacity, generator=fork(self, "buffer"))

    def observe(self, batch: Batch) -> dict[str, float]:
        """See `Learner`."""
        self.buffer.add(x=batch.raw, y=batch.y)
        return super().observe(batch)


class Shelf:
    """Where a learner leaves what is wanted of it after its run; the copy that a run makes of a method shares it."""

    learner: Method
    dynamics: list[Dynamics]

    def __deepcopy__(self, memo: dict[int, Any]) -> Shelf:
        return self


@dataclass(eq=False)
class Watched(Wrapper):
    """Any method, with its changes recorded, and left on a shelf when it has finished."""

    shelf: Shelf

    def start(self) -> None:
        """Record from the weights as drawn."""
        self.recorder = DynamicsRecorder(self.model, limit=100_000)
        self.updates = self.per_epoch = 0

    def before_task(self, task: Experience) -> None:
        """See `Learner`."""
        super().before_task(task)
        self.updates, self.per_epoch = 0, -(-len(task.train) // self.context.batch_size)

    def observe(self, batch: Batch) -> dict[str, float]:
        """See `Learner`."""
        logged = super().observe(batch)
        self.updates += 1
        if self.updates % self.per_epoch == 0:
            self.recorder.epoch()
        return logged

    def after_task(self, task: Experience) -> None:
        """See `Learner`."""
        super().after_task(task)
        self.recorder.task()

    def finish(self) -> None:
        """See `Learner`."""
        super().finish()
        self.shelf.learner, self.shelf.dynamics = self.inner, self.recorder.table()


@dataclass(eq=False)
class AtEnd(Wrapper):
    """Any method that works before evaluations, which does so before the last only."""

    finished: bool = field(default=False, init=False)

    def finish(self) -> None:
        """See `Learner`."""
        super().finish()
        self.finished = True

    def before_evaluation(self) -> None:
        """See `Learner`."""
        if self.finished:
            super().before_evaluation()


@dataclass(eq=False)
class Still(Learner):
    """A network that is tested as it is."""

    net: nn.Module

    @property
    def model(self) -> nn.Module:
        """The network."""
        return self.net
