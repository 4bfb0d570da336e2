"""Replay of classes that come rarely (SCoLe, arXiv 2207.04543), around any learner.

Implemented: up to 200 examples of each class, renewed with every visit; at each task the least frequent classes within
a range, or random ones. Where code and paper differ: the code appends the replayed classes to the data of the task;
here each batch takes its share of them, so that a stream has as many updates with as without.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from halflife.continual.frequencies import Frequencies
from halflife.continual.method import Batch, Wrapper, fork
from halflife.continual.scenario import Experience
from halflife.errors import InvalidInput

Choice: TypeAlias = Literal["frequency", "random"]


@dataclass(eq=False)
class FrequencyReplay(Wrapper):
    """A learner whose batches also hold examples of classes that come rarely.

    With each task at most as many classes are replayed as it has, and all that is kept of them.

    Parameters
    ----------
    low, high, trigger: see `Frequencies`. per_class: examples kept of a class. With each visit some are renewed: all
        at the first, then one part of the number of visits plus one, at least a twentieth.
    choose: `frequency`, or `random`: any class seen before, for each place with the probability `budget`.

    >>> from halflife.continual import Naive, load, run
    >>> from halflife.continual.scole import scole
    >>> long = scole(load("digits").take(20, 10), tasks=20, entropy_decrease=4)
    >>> method = FrequencyReplay(Naive(lr=0.05), high=0.5)
    >>> found = run(long, method, batch_size=16, evaluate_tasks_every=20)
    >>> found["forward_passes"][0] > run(long, Naive(lr=0.05), batch_size=16)["forward_passes"][0]
    True
    """

    low: float = 0.01
    high: float = 0.1
    trigger: int = 3
    per_class: int = 200
    choose: Choice = "frequency"
    budget: float = 1.0

    needs_boundaries = True

    def __post_init__(self) -> None:
        if self.per_class < 1 or not 0 <= self.budget <= 1 or self.choose not in ("frequency", "random"):
            raise InvalidInput(
                f"per_class {self.per_class}, choose {self.choose!r}, budget {self.budget}.",
                "Use per_class >= 1, frequency or random, and a budget from 0 to 1.",
            )
        Frequencies(self.low, self.high, self.trigger)  # raises what is wrong before a run

    def start(self) -> None:
        """Nothing is kept yet."""
        self.counts = Frequencies(self.low, self.high, self.trigger)
        self.memory: dict[int, dict[str, Tensor]] = {}
        self.draws = fork(self, "frequency replay")
        self.replayed: list[int] = []
        self.queue = torch.empty(0, 2, dtype=torch.long)  # class and row of what is still to be replayed
        self.share = 0  # of each batch

    def before_task(self, task: Experience) -> None:
        """Choose classes, and spread what is kept of them over the batches of the task."""
        self.replayed = self._chosen(task.classes)
        rows = [(c, i) for _ in range(self.context.epochs) for c in self.replayed
                for i in range(len(self.memory[c]["y"]))]  # fmt: skip
        queue = torch.tensor(rows, dtype=torch.long).view(-1, 2)
        self.queue = queue[torch.randperm(len(queue), generator=self.draws)]
        batches = self.context.epochs * math.ceil(len(task.train) / self.context.batch_size)
        self.share = math.ceil(len(queue) / max(1, batches))
        super().before_task(task)

    def _chosen(self, current: Sequence[int]) -> list[int]:
        if self.choose == "frequency":
            return self.counts.rare(current, len(current))
        places = int((torch.rand(len(current), generator=self.draws) < self.budget).sum())
        others = [c for c in self.memory if c not in current]
        return [others[i] for i in torch.randperm(len(others), generator=self.draws)[:places].tolist()]

    def observe(self, batch: Batch) -> dict[str, float]:
        """See `Learner`."""
        taken, self.queue = self.queue[: self.share].tolist(), self.queue[self.share :]
        if not taken:
            return super().observe(batch)
        old = {name: torch.stack([self.memory[c][name][i] for c, i in taken]) for name in ("x", "y", "index")}
        mixed = Batch(
            torch.cat([batch.x, self.views(old["x"])]), torch.cat([batch.y, old["y"]]),
            torch.cat([batch.raw, old["x"]]), torch.cat([batch.index, old["index"]]), batch.task,
        )  # fmt: skip
        return super().observe(mixed)

    def after_task(self, task: Experience) -> None:
        """Keep some of its examples, and count its classes."""
        super().after_task(task)
        for c in task.classes:
            self._keep(c, task)
        self.counts.saw([*task.classes, *self.replayed])

    def _keep(self, c: int, task: Experience) -> None:
        visits = self.counts.visits.get(c, 0)
        renewed = max(self.per_class // (visits + 1), self.per_class // 20, 1) if c in self.memory else self.per_class
        mine = (task.train.labels == c).nonzero()[:, 0].cpu()
        mine = mine[torch.randperm(len(mine), generator=self.draws)[:renewed]].to(task.train.index.device)
        x, y = task.train.batch(mine)
        fresh = {"x": x, "y": y, "index": task.train.index[mine]}
        if c not in self.memory:
            self.memory[c] = fresh
            return
        slots = torch.randperm(len(self.memory[c]["y"]), generator=self.draws)[: len(mine)]
        for name, value in fresh.items():
            self.memory[c][name][slots.to(value.device)] = value[: len(slots)]
