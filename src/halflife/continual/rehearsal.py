"""Environments in which old tasks come back: how much of each is practised after a new one is learned.

Catastrophic Interference is Mitigated in Naturalistic Power-Law Learning Environments (Gandhi, Shah, Marupudi, Varma
2024, arXiv 2401.10393): old tasks recur with a probability that falls as a power of the time since they were done.
Neither the paper's text nor code was at hand. From its abstract: new tasks come one by one, after each a limited amount
of older ones is rehearsed, shared out by a power law. This project's own definitions: that time is counted in tasks
since the first learning (`rehearsed`) or in episodes since the last practice (`NeedProbabilityStream`); the exponent;
the amounts; that what is rehearsed comes as one shuffled block after the new task. All earlier examples are kept.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from halflife.continual.data import Dataset
from halflife.continual.examples import Examples, joined
from halflife.continual.scenario import Experience, Scenario, Stream
from halflife.continual.seeds import generator
from halflife.errors import InvalidInput

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_log = logging.getLogger(__name__)


class Schedule(ABC):
    """How practice is shared out by the time since something was last done."""

    @abstractmethod
    def _log_weights(self, lags: NDArray[np.float64]) -> NDArray[np.float64]:
        """The logarithms of the shares, up to a constant, for lags of 1 or more."""

    def weights(self, now: float, last_seen: ArrayLike) -> NDArray[np.float64]:
        """The share of each, float64 [J], summing to 1; empty if there is nothing.

        Parameters
        ----------
        now, last_seen: times in one unit, the second [J]. A lag below one unit counts as one.

        Raises
        ------
        InvalidInput: something was last seen after `now`, or a time is no finite number.
        """
        lags = float(now) - np.asarray(last_seen, dtype=np.float64).reshape(-1)
        if not np.isfinite(lags).all() or (lags < 0).any():
            raise InvalidInput("Something was last seen after now, or at no time.", "Give times up to now.")
        if not len(lags):
            return lags
        logs = self._log_weights(np.maximum(lags, 1.0))
        shares: NDArray[np.float64] = np.exp(logs - logs.max())
        shares /= shares.sum()
        return shares

    def allocate(
        self, budget: int, now: float, last_seen: ArrayLike, rng: torch.Generator | None = None
    ) -> NDArray[np.int64]:
        """How many of a budget go to each, int64 [J], summing to the budget; empty if there is nothing.

        Parameters
        ----------
        budget: examples to share out. now, last_seen: see `weights`.
        rng: draws a multinomial; None rounds the shares by the largest remainder.

        Raises
        ------
        InvalidInput: a budget below zero.
        """
        if budget < 0:
            raise InvalidInput(f"A budget of {budget} examples.", "Use 0 or more.")
        shares = self.weights(now, last_seen)
        if not len(shares):
            return np.zeros(0, dtype=np.int64)
        if rng is None:
            counts = np.floor(shares * budget).astype(np.int64)
            largest = np.argsort(counts - shares * budget, kind="stable")
            counts[largest[: budget - counts.sum()]] += 1
        elif budget:
            drawn = torch.multinomial(torch.from_numpy(shares), budget, replacement=True, generator=rng)
            counts = torch.bincount(drawn, minlength=len(shares)).numpy()
        else:
            counts = np.zeros(len(shares), dtype=np.int64)
        if budget and not counts.all():
            _log.debug("%d of %d tasks are not rehearsed with a budget of %d", (counts == 0).sum(), len(counts), budget)
        return counts

    def sample(self, times: ArrayLike, k: int, now: float, rng: torch.Generator) -> NDArray[np.int64]:
        """Positions of at most `k` stored items by the times at which they were last used, none twice.

        Any memory that knows its times can be practised so: traces of a store, rows of a buffer.

        >>> times = np.arange(100.0)  # the last is the newest
        >>> drawn = PowerLawSchedule(2.0).sample(times, 5, now=100, rng=torch.Generator().manual_seed(0))
        >>> len(set(drawn.tolist())), bool(drawn.mean() > 60)
        (5, True)
        """
        shares = torch.from_numpy(self.weights(now, times))
        count = min(k, int((shares > 0).sum()))
        if count < 1:
            return np.zeros(0, dtype=np.int64)
        found: NDArray[np.int64] = torch.multinomial(shares, count, generator=rng).numpy()
        return found


@dataclass(frozen=True)
class PowerLawSchedule(Schedule):
    """`w ~ lag^-d` (Anderson & Schooler's law of need): 0 is uniform, a large d leaves the most recent alone.

    Parameters
    ----------
    d: the exponent. reverse: allows d < 0, with which the oldest are practised most.

    >>> PowerLawSchedule(1.0).weights(3, [0, 1, 2]).round(3).tolist()
    [0.182, 0.273, 0.545]
    >>> PowerLawSchedule(1.0).allocate(11, 3, [0, 1, 2]).tolist()
    [2, 3, 6]
    """

    d: float = 1.0
    reverse: bool = False

    def __post_init__(self) -> None:
        if not np.isfinite(self.d) or (self.d < 0 and not self.reverse):
            raise InvalidInput(f"The exponent is {self.d}.", "Use d >= 0, or reverse=True with d < 0.")

    def _log_weights(self, lags: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = -self.d * np.log(lags)
        return found


@dataclass(frozen=True)
class ExponentialSchedule(Schedule):
    """`w ~ exp(-lag / tau)`, tau in the unit of the times."""

    tau: float = 1.0

    def __post_init__(self) -> None:
        if not (self.tau > 0 and np.isfinite(self.tau)):
            raise InvalidInput(f"The time constant is {self.tau}.", "Use tau > 0.")

    def _log_weights(self, lags: NDArray[np.float64]) -> NDArray[np.float64]:
        return -lags / self.tau


@dataclass(frozen=True)
class UniformSchedule(Schedule):
    """Everything old alike."""

    def _log_weights(self, lags: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.zeros_like(lags)


@dataclass(frozen=True)
class RecentSchedule(Schedule):
    """The most recent alone."""

    def _log_weights(self, lags: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(lags == lags.min(), 0.0, -np.inf)


# -- by the time since the first learning -----------------------------------------------------------------------------


def rehearsed(
    scenario: Scenario, schedule: Schedule | None, budget: int, *, passes: int = 1, mixed: bool = False,
    exact: bool = False,
) -> Scenario:  # fmt: skip
    """A scenario in which each new task is followed by a block of practice of the old ones (this project's definition).

    The order is a part of the environment: each experience shows the new examples, shuffled for every pass, and then
    the rehearsed ones, all of them shuffled together for every pass. Run it with one epoch.

    Parameters
    ----------
    scenario: where the tasks come from. schedule: how the old ones share the practice, the lag of task j after task t
        being t - j; None gives all of it to the new task: as many updates, without rehearsal.
    budget: examples rehearsed after each task. passes: over new and rehearsed examples.
    mixed: old and new are shuffled together instead. exact: shares are rounded instead of drawn.

    Raises
    ------
    InvalidInput: a budget below 0 or no pass.

    >>> from halflife.continual import Naive, load, permuted, run
    >>> environment = rehearsed(permuted(load("digits"), 3), PowerLawSchedule(), budget=200)
    >>> [len(experience.train) for experience in environment.stream()]
    [1258, 1458, 1458]
    >>> run(environment, Naive(lr=0.1), batch_size=20)["accuracy"][0] > 0.5
    True
    """
    if budget < 0 or passes < 1:
        raise InvalidInput(f"A budget of {budget} in {passes} passes.", "Use a budget >= 0 and at least one pass.")

    def build(data: Dataset, seed: int) -> Stream:
        stream = replace(scenario.build(data, seed), **scenario.changes)

        def make(t: int) -> Experience:
            task, rng = stream[t], generator(seed, "rehearsal", t)
            if schedule is None:
                old = [_drawn(task.train, budget, rng)] if t and budget else []
            else:
                counts = schedule.allocate(budget, t, np.arange(t), None if exact else rng)
                old = [_drawn(stream[j].train, int(n), rng) for j, n in enumerate(counts) if n]
            blocks = [joined([task.train, *old])] if mixed or not old else [task.train, joined(old)]
            train = joined([block.shuffled(rng) for block in blocks for _ in range(passes)])
            return Experience(t, train, train.classes, task.seen)

        return replace(stream, make=make, shuffle=False, single_pass=True)

    config = {
        **scenario.config, "schedule": repr(schedule), "budget": budget, "passes": passes, "mixed": mixed,
        "exact": exact,
    }  # fmt: skip
    return replace(scenario, name=f"rehearsed-{scenario.name}", config=config, build=build, changes={})


def together(scenario: Scenario, passes: int = 1) -> Scenario:
    """All tasks of a scenario in one experience, shuffled: the ceiling, at as many updates as the new tasks alone."""

    def build(data: Dataset, seed: int) -> Stream:
        stream = replace(scenario.build(data, seed), **scenario.changes)
        everything, rng = joined([task.train for task in stream]), generator(seed, "together")
        train = joined([everything.shuffled(rng) for _ in range(passes)])
        seen = stream[len(stream) - 1].seen
        return replace(
            stream, count=1, make=lambda i: Experience(i, train, train.classes, seen), shuffle=False, single_pass=True
        )

    config = {**scenario.config, "passes": passes}
    return replace(scenario, name=f"together-{scenario.name}", config=config, build=build, changes={})


def _drawn(examples: Examples, count: int, rng: torch.Generator) -> Examples:
    """So many of a set, each once more only after all others."""
    rounds = -(-count // len(examples))
    order = torch.cat([torch.randperm(len(examples), generator=rng) for _ in range(rounds)])
    return examples.only(order[:count])


# -- by the time since the last practice ------------------------------------------------------------------------------


class Episode(NamedTuple):
    """A short time with one task: which, and which of its examples (int64)."""

    task: int
    indices: Tensor


class NeedProbabilityStream:
    """Short episodes, in which an old task is needed the less often the longer ago it was last practised.

    Each episode, with probability `p_new`, goes on with the new task until all its examples were shown, and then with
    the next; otherwise an old task is drawn by `(now - its last episode)^-d`, which makes it recent again: what is
    practised often is practised more often (this project's definition). It ends with the last new example. O(tasks) for
    each episode.

    Parameters
    ----------
    sizes: examples of each task. d: exponent. p_new: in (0, 1]. episode: examples of one. passes: over new material.
    seed: of everything random; the same seed gives the same stream, also after `load_state_dict`.

    >>> stream = NeedProbabilityStream([100, 100, 100], p_new=0.5, episode=20, seed=1)
    >>> tasks = [task for task, indices in stream]
    >>> sorted(set(tasks)), len(tasks) >= 15
    ([0, 1, 2], True)
    """

    def __init__(
        self,
        sizes: Sequence[int],
        d: float = 1.0,
        p_new: float = 0.5,
        episode: int = 50,
        passes: int = 1,
        seed: int = 0,
    ) -> None:  # fmt: skip
        if not sizes or min(sizes) < 1 or not 0 < p_new <= 1 or episode < 1 or passes < 1:
            raise InvalidInput(
                f"{len(sizes)} tasks, p_new {p_new}, episodes of {episode}, {passes} passes: no stream can be made.",
                "Use tasks with examples, p_new in (0, 1], and 1 or more of the others.",
            )
        self.sizes, self.p_new, self.episode, self.passes, self.seed = list(sizes), p_new, episode, passes, seed
        self.schedule = PowerLawSchedule(d)
        self.rng = generator(seed, "need")
        self.task, self.shown, self.now = 0, 0, 0
        self.last: list[int] = []  # the last episode of each old task

    def __iter__(self) -> Iterator[Episode]:
        return self

    def __next__(self) -> Episode:
        if self.task == len(self.sizes):
            raise StopIteration
        new = float(torch.rand((), generator=self.rng)) < self.p_new
        found = self._new() if new or not self.last else self._old()
        self.now += 1
        return found

    def _new(self) -> Episode:
        task, size = self.task, self.sizes[self.task]
        rng = generator(self.seed, "material", task)
        order = torch.cat([torch.randperm(size, generator=rng) for _ in range(self.passes)])
        indices = order[self.shown : self.shown + self.episode]
        self.shown += len(indices)
        if self.shown == len(order):
            self.last.append(self.now)
            self.task, self.shown = task + 1, 0
        return Episode(task, indices)

    def _old(self) -> Episode:
        shares = torch.from_numpy(self.schedule.weights(self.now, self.last))
        task = int(torch.multinomial(shares, 1, generator=self.rng))
        self.last[task] = self.now
        return Episode(task, torch.randperm(self.sizes[task], generator=self.rng)[: self.episode])

    def state_dict(self) -> dict[str, Any]:
        """Where it is, as plain data."""
        return {
            "task": self.task, "shown": self.shown, "now": self.now, "last": list(self.last),
            "rng": self.rng.get_state(),
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there; the settings must be the same."""
        self.task, self.shown, self.now = state["task"], state["shown"], state["now"]
        self.last = list(state["last"])
        self.rng.set_state(state["rng"])


def needed(
    scenario: Scenario, d: float = 1.0, p_new: float = 0.8, episode: int = 50, passes: int = 1
) -> Scenario:  # fmt: skip
    """A scenario whose tasks come in the episodes of a `NeedProbabilityStream`.

    An experience holds the episodes from the first of a new task to the first of the next. Run it with one epoch.

    >>> from halflife.continual import load, permuted
    >>> stream = needed(permuted(load("digits"), 3), p_new=0.5).stream(0)
    >>> len(stream), len(stream[0].train), len(stream[2].train) > 1258
    (3, 1258, True)
    """

    def build(data: Dataset, seed: int) -> Stream:
        stream = replace(scenario.build(data, seed), **scenario.changes)

        @cache
        def episodes() -> list[list[Episode]]:
            sizes = [len(task.train) for task in stream]
            found: list[list[Episode]] = []
            for one in NeedProbabilityStream(sizes, d, p_new, episode, passes, seed):
                if one.task == len(found):
                    found.append([])
                found[-1].append(one)
            return found

        def make(t: int) -> Experience:
            train = joined([stream[task].train.only(indices) for task, indices in episodes()[t]])
            return Experience(t, train, train.classes, stream[t].seen)

        return replace(stream, make=make, shuffle=False, single_pass=True)

    config = {**scenario.config, "d": d, "p_new": p_new, "episode": episode, "passes": passes}
    return replace(scenario, name=f"needed-{scenario.name}", config=config, build=build, changes={})
