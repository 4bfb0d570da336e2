"""What a learner is shown, in which order, and what it is tested on: streams of experiences.

A `Scenario` says how a stream is made of a data set; `scenario.stream(seed)` makes it. Streams are lazy: an experience
is a set of row numbers, made when it is asked for. The order of classes is a part of the seed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import torch

from halflife.continual.data import Dataset
from halflife.continual.examples import Examples, Transform, joined
from halflife.continual.seeds import generator
from halflife.continual.transforms import Permute, Rotate
from halflife.errors import InvalidInput

Kind: TypeAlias = Literal["class", "domain", "stream"]
"""What is asked at the end: which of the classes seen so far (`class`), which of all classes although the inputs
changed (`domain`), or which of all classes that came in any order (`stream`)."""


@dataclass(frozen=True, eq=False)
class Experience:
    """One part of a stream: what there is to learn now.

    Parameters
    ----------
    index: its place, from 0. train: its examples. classes: those in it. seen: those of it and all before it.
    """

    index: int
    train: Examples
    classes: tuple[int, ...]
    seen: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Stream:
    """A sequence of experiences, made when they are asked for, and the tests.

    Parameters
    ----------
    count: how many experiences. make: makes the one of a number.
    tests: sets of examples for testing, usually one for each experience. test_classes: the classes of each.
    n_classes: outputs of a model. shape: of one input. kind: see `Kind`.
    boundaries: whether a learner is told where one experience ends and the next begins.
    shuffle: whether the examples of an experience are shown in a random order.
    single_pass: whether each example may be shown once only.
    """

    count: int
    make: Callable[[int], Experience]
    tests: tuple[Examples, ...]
    test_classes: tuple[tuple[int, ...], ...]
    n_classes: int
    shape: tuple[int, ...]
    kind: Kind
    boundaries: bool = True
    shuffle: bool = True
    single_pass: bool = False

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Experience:
        if not 0 <= index < self.count:
            raise IndexError(index)
        experience = self.make(index)
        if not len(experience.train):
            raise InvalidInput(f"Experience {index} has no training examples.", "Give it some, or leave it out.")
        return experience

    def __iter__(self) -> Iterator[Experience]:
        return (self[i] for i in range(self.count))

    @property
    def by_task(self) -> bool:
        """Whether the tests have classes of their own, so that they can be asked with the task told."""
        flat = [c for classes in self.test_classes for c in classes]
        return self.kind == "class" and len(self.tests) > 1 and len(flat) == len(set(flat))

    def seen(self, index: int) -> tuple[int, ...]:
        """The classes that a prediction may name after an experience (before the first: all)."""
        if self.kind != "class" or index < 0:
            return tuple(range(self.n_classes))
        return self[index].seen


@dataclass(frozen=True, eq=False)
class Scenario:
    """How a stream is made of a data set.

    Parameters
    ----------
    name: what results say of it. kind: see `Kind`. data: what it is made of. config: its settings, for results.
    build: (data, seed) -> stream. changes: fields of the stream that are set afterwards.
    """

    name: str
    kind: Kind
    data: Dataset
    config: Mapping[str, Any]
    build: Callable[[Dataset, int], Stream] = field(repr=False)
    changes: Mapping[str, Any] = field(default_factory=dict)

    def stream(self, seed: int = 0) -> Stream:
        """The stream of a seed: the same for the same seed."""
        return replace(self.build(self.data, seed), **self.changes)

    def validation(self, fraction: float = 0.2, seed: int = 0) -> Scenario:
        """The same with a part of the training data held out in place of the tests: for choosing settings."""
        return replace(self, name=f"{self.name} (validation)", data=self.data.validation(fraction, seed))

    def described(self) -> dict[str, Any]:
        """Everything that it was made with, as plain data."""
        return {"scenario": self.name, "kind": self.kind, "data": self.data.name,
                "train": len(self.data.train), "test": len(self.data.test), **self.config, **self.changes}  # fmt: skip


def class_incremental(data: Dataset, per_task: int = 2, first: int | None = None, shuffle: bool = True) -> Scenario:
    """New classes with every task.

    Parameters
    ----------
    per_task: classes of a task; the last has what is left. first: classes of the first task, if it has more.
    shuffle: whether the order of classes is drawn by the seed; otherwise by number.

    Raises
    ------
    InvalidInput: a task would have no class.

    >>> from halflife.continual import load
    >>> stream = class_incremental(load("digits"), per_task=4, shuffle=False).stream()
    >>> [experience.classes for experience in stream]
    [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9)]
    """
    if per_task < 1 or (first is not None and not 1 <= first <= data.n_classes):
        raise InvalidInput(
            f"A task of {per_task if first is None else first} classes cannot be made.", "Use 1 or more."
        )

    def build(data: Dataset, seed: int) -> Stream:
        count = data.n_classes
        order = torch.randperm(count, generator=generator(seed, "classes")).tolist() if shuffle else list(range(count))
        start = per_task if first is None else first
        bounds = [0, *range(start, count, per_task), count]
        groups = [tuple(order[a:b]) for a, b in itertools.pairwise(bounds) if a < b]
        parts = [data.train.of(group) for group in groups]
        return Stream(
            count=len(groups),
            make=lambda i: Experience(i, parts[i], groups[i], tuple(c for group in groups[: i + 1] for c in group)),
            tests=tuple(data.test.of(group) for group in groups),
            test_classes=tuple(groups),
            n_classes=count,
            shape=data.shape,
            kind="class",
        )

    return Scenario(f"split-{data.name}", "class", data, {"per_task": per_task, "first": first}, build)


Transforms: TypeAlias = Sequence[Transform] | Callable[[int], Sequence[Transform]]


def domain_incremental(data: Dataset, transforms: Transforms, name: str = "domains") -> Scenario:
    """The same classes under another transform with every task.

    Parameters
    ----------
    transforms: one for each task, or a function of the seed that gives them.
    """

    def build(data: Dataset, seed: int) -> Stream:
        made = list(transforms(seed) if callable(transforms) else transforms)
        if not made:
            raise InvalidInput("There is no transform, so no task.", "Give at least one.")
        classes = tuple(range(data.n_classes))
        return Stream(
            count=len(made),
            make=lambda i: Experience(i, replace(data.train, transforms=(made[i],)), classes, classes),
            tests=tuple(replace(data.test, transforms=(one,)) for one in made),
            test_classes=(classes,) * len(made),
            n_classes=data.n_classes,
            shape=data.shape,
            kind="domain",
        )

    return Scenario(f"{name}-{data.name}", "domain", data, {}, build)


def permuted(data: Dataset, tasks: int = 10) -> Scenario:
    """Every task has its own order of the pixels; the first task has the true one."""
    pixels = data.shape[-1] * data.shape[-2]

    def transforms(seed: int) -> Sequence[Transform]:
        orders = [torch.arange(pixels)]
        orders += [torch.randperm(pixels, generator=generator(seed, "pixels", t)) for t in range(1, tasks)]
        return [Permute(order) for order in orders]

    made = domain_incremental(data, transforms, "permuted")
    return replace(made, config={"tasks": tasks})


def rotated(data: Dataset, tasks: int = 10, angles: Sequence[float] | None = None) -> Scenario:
    """Every task turns the pictures by its own angle: as given (degrees), or drawn from [0, 180)."""

    def transforms(seed: int) -> Sequence[Transform]:
        drawn = (torch.rand(tasks, generator=generator(seed, "angles")) * 180).tolist() if angles is None else angles
        return [Rotate(angle) for angle in drawn]

    made = domain_incremental(data, transforms, "rotated")
    return replace(made, config={"tasks": tasks if angles is None else len(angles), "angles": angles})


def online(scenario: Scenario) -> Scenario:
    """The same stream, each example shown once."""
    return replace(scenario, name=f"online-{scenario.name}", changes={**scenario.changes, "single_pass": True})


def task_free(scenario: Scenario) -> Scenario:
    """The same stream, shown once, without a word on where a task ends."""
    changes = {**scenario.changes, "single_pass": True, "boundaries": False}
    return replace(scenario, name=f"task-free-{scenario.name}", changes=changes)


def blurry(data: Dataset, per_task: int = 2, mixed: float = 0.1) -> Scenario:
    """New classes with every task, but a share of every class comes in the other tasks.

    Parameters
    ----------
    mixed: that share, in [0, 1); spread evenly over the other tasks. The tests are those of `class_incremental`, and
        every class may be named from the start, since any may have been seen.
    """
    if not 0 <= mixed < 1:
        raise InvalidInput(f"The share mixed is {mixed}.", "Use a number from 0 to below 1.")
    whole = class_incremental(data, per_task)

    def build(data: Dataset, seed: int) -> Stream:
        clear = whole.build(data, seed)
        count = len(clear)
        rng = generator(seed, "blur")
        parts: list[list[Examples]] = [[] for _ in range(count)]
        for experience in clear:
            order = torch.randperm(len(experience.train), generator=rng)
            moved = round(mixed * len(order)) if count > 1 else 0
            parts[experience.index].append(experience.train.only(order[moved:]))
            others = [t for t in range(count) if t != experience.index]
            for t, rows in zip(others, order[:moved].tensor_split(len(others)) if others else [], strict=True):
                parts[t].append(experience.train.only(rows))
        sets = [joined(part) for part in parts]
        everything = tuple(range(data.n_classes))
        return replace(clear, make=lambda i: Experience(i, sets[i], sets[i].classes, everything), kind="stream")

    return Scenario(f"blurry-{data.name}", "stream", data, {"per_task": per_task, "mixed": mixed}, build)


def zipf(data: Dataset, a: float = 1.0, length: int = 10_000) -> Scenario:
    """One long stream in which the class of rank k comes with a probability proportional to k ** -a.

    Parameters
    ----------
    a: the exponent; 0 is uniform. length: examples drawn, with replacement. Which class has which rank is drawn by the
        seed. There is one test, of all classes.
    """
    if a < 0 or length < 1:
        raise InvalidInput(f"An exponent of {a} and {length} examples make no stream.", "Use a >= 0 and at least 1.")

    def build(data: Dataset, seed: int) -> Stream:
        rng = generator(seed, "zipf")
        ranks = torch.randperm(data.n_classes, generator=rng)
        weights = torch.empty(data.n_classes, dtype=torch.float64)
        weights[ranks] = torch.arange(1, data.n_classes + 1, dtype=torch.float64) ** -a
        labels = torch.multinomial(weights, length, replacement=True, generator=rng)
        rows = torch.empty(length, dtype=torch.long)
        for c in range(data.n_classes):
            mine = (data.train.labels == c).nonzero()[:, 0]
            places = (labels == c).nonzero()[:, 0]
            rows[places] = mine[torch.randint(0, len(mine), (len(places),), generator=rng)]
        classes = tuple(range(data.n_classes))
        part = data.train.only(rows)
        return Stream(
            count=1, make=lambda i: Experience(i, part, classes, classes), tests=(data.test,), test_classes=(classes,),
            n_classes=data.n_classes, shape=data.shape, kind="stream",
            boundaries=False, shuffle=False, single_pass=True,
        )  # fmt: skip

    return Scenario(f"zipf-{data.name}", "stream", data, {"a": a, "length": length}, build)
