"""Testing a learner while it learns: the accuracy matrix, and accuracies after every so many updates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from halflife.continual.distillation import masked
from halflife.continual.examples import Examples, joined
from halflife.continual.method import Learner
from halflife.continual.scenario import Stream
from halflife.continual.seeds import generator

BATCH = 1024  # examples of one forward pass


class Point(NamedTuple):
    """The accuracy on one task at one moment of the training: `task` is the test, `learning` what is being learned."""

    update: int
    learning: int
    task: int
    accuracy: float


@dataclass(eq=False)
class Scores:
    """What tests gave.

    Parameters
    ----------
    seen: accuracy where any class seen so far may be named, [rows, tests]; row 0 is before training.
    told: the same where the task is told and only its classes may be named; empty where that means nothing.
    curve: accuracies on the tasks seen so far after every so many updates (`seen` rule).
    logged: what the learner logged of the update at each of those moments, with its number as `update`.
    after: how many experiences had been learned at each row of the matrices.
    """

    seen: list[list[float]] = field(default_factory=list)
    told: list[list[float]] = field(default_factory=list)
    curve: list[Point] = field(default_factory=list)
    logged: list[dict[str, float]] = field(default_factory=list)
    after: list[int] = field(default_factory=list)


class Evaluator:
    """Tests a learner on a stream's tests without a trace: training goes on as if it had not been there.

    Parameters
    ----------
    stream: whose tests. every: test the tasks seen so far after every so many updates too; None: at ends alone.
    subset: at most so many examples of a test at those, drawn once by `seed`; the matrix takes all.
    device: where the tests are kept.
    """

    def __init__(
        self, stream: Stream, *, every: int | None = None, subset: int | None = 1000, seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        self.stream = stream
        self.every = every
        self.scores = Scores()
        self.tests = [test.to(device) for test in stream.tests]
        rng = generator(seed, "subset")
        self._small = _made([_subset(test, subset, rng) for test in self.tests]) if every else []
        self._classes = [torch.tensor(classes, device=device) for classes in stream.test_classes]

    def after_task(self, learner: Learner, index: int) -> None:
        """A row of the matrix. `index` is that of the experience that ended; -1 before training."""
        seen, told = self._accuracies(learner, self.tests, range(len(self.tests)), self.stream.seen(index))
        self.scores.after.append(index + 1)
        self.scores.seen.append(seen)
        if self.stream.by_task:
            self.scores.told.append(told)

    def after_update(
        self, learner: Learner, update: int, index: int, logged: Mapping[str, float] | None = None
    ) -> None:
        """Points of the curve, if it is time. `update` counts from 1 over the whole run; `logged` is of that update."""
        if not self.every or update % self.every:
            return
        tasks = range(index + 1) if len(self.tests) == len(self.stream) else range(len(self.tests))
        seen, _ = self._accuracies(learner, self._small, tasks, self.stream.seen(index))
        self.scores.curve += [Point(update, index, j, a) for j, a in zip(tasks, seen, strict=True)]
        self.scores.logged.append({"update": update, **(logged or {})})

    @torch.no_grad()
    def _accuracies(
        self, learner: Learner, tests: Sequence[Examples], tasks: Iterable[int], seen: Sequence[int]
    ) -> tuple[list[float], list[float]]:
        tasks = list(tasks)
        model = learner.model
        modes = [(module, module.training) for module in model.modules()]
        random = torch.get_rng_state()
        model.eval()
        try:
            logits, y = self._logits(learner, [tests[j] for j in tasks])
        finally:
            for module, mode in modes:
                module.training = mode
            torch.set_rng_state(random)
        sizes = [len(tests[j]) for j in tasks]
        right = masked(logits, tuple(seen)).argmax(1) == y
        told = []
        if self.stream.by_task:
            parts = zip(tasks, logits.split(sizes), y.split(sizes), strict=True)
            told = [float((masked(part, self._classes[j]).argmax(1) == z).double().mean()) for j, part, z in parts]
        return [float(part.double().mean()) for part in right.split(sizes)], told

    def _logits(self, learner: Learner, tests: Sequence[Examples]) -> tuple[Tensor, Tensor]:
        """Of all tests at once: one forward pass for many small ones."""
        if all(test.x is tests[0].x for test in tests):
            pairs = list(joined(tests).batches(BATCH))
        else:
            pairs = [pair for test in tests for pair in test.batches(BATCH)]
        return torch.cat([learner.logits(x) for x, _ in pairs]), torch.cat([y for _, y in pairs])

    def state_dict(self) -> dict[str, Any]:
        """What was measured so far, as plain data."""
        return {
            "seen": [list(row) for row in self.scores.seen],
            "told": [list(row) for row in self.scores.told],
            "curve": [list(point) for point in self.scores.curve],
            "logged": [dict(one) for one in self.scores.logged],
            "after": list(self.scores.after),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        curve = [Point(*point) for point in state["curve"]]
        self.scores = Scores(state["seen"], state["told"], curve, state["logged"], state["after"])


def _subset(test: Examples, count: int | None, rng: torch.Generator) -> Examples:
    if count is None or len(test) <= count:
        return test
    return test.shuffled(rng, count)


def _made(tests: Sequence[Examples]) -> list[Examples]:
    """The same tests with their transforms done once, over one tensor."""
    pairs = [test.all() for test in tests]
    x, y = torch.cat([x for x, _ in pairs]), torch.cat([y for _, y in pairs])
    places = torch.arange(len(y), device=y.device).split([len(test) for test in tests])
    return [Examples(x, y, place) for place in places]
