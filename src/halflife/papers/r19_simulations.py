"""MemoryBank's two simulations: who survives forgetting (B), and what that does to answers (C).

Both are generated and run on arrays, so that thousands of memories and tens of seeds take seconds. Time is in
whole days. A day begins with forgetting, as the released code forgets when it loads a memory; then what
is left is recalled, and new memories are written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from halflife.agent.forgetting import ForgetMode, ForgettingCurve, forgotten

Policy: TypeAlias = Literal["memorybank", "none", "fifo", "random", "lru"]
POLICIES: tuple[Policy, ...] = ("memorybank", "none", "fifo", "random", "lru")

Floats: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]


class Bank:
    """MemoryBank's state as arrays: for each memory its strength, last recall, and whether it is alive."""

    def __init__(self, written: Floats, curve: ForgettingCurve, mode: ForgetMode, rng: np.random.Generator) -> None:
        self.curve = curve
        self.mode: ForgetMode = mode
        self.rng = rng
        self.strength = np.ones_like(written)
        self.last = written.copy()  # day of the last recall
        self.before = np.ones_like(written)  # retention at the last check
        self.alive = np.zeros(written.shape, dtype=bool)

    def recall(self, rows: NDArray[np.int64], day: float) -> None:
        """Strength grows by one, and time starts anew (paper, section 2.3)."""
        self.strength[rows] += 1
        self.last[rows] = day
        self.before[rows] = 1.0

    def forget(self, day: float) -> None:
        """Drop what the curve and the mode say."""
        rows = np.flatnonzero(self.alive)
        now = self.curve.retention(day - self.last[rows], self.strength[rows])
        gone = forgotten(now, self.mode, before=self.before[rows], rng=self.rng)
        self.before[rows] = now
        self.alive[rows[gone]] = False


@dataclass(frozen=True)
class Survival:
    """What one run of simulation B left.

    Parameters
    ----------
    core, other: share of those older than `settled` days that are left: recalled every second day, or never.
    size: memories alive at the end of each day, shape [days + 1].
    share: of those written on day i, the part alive at the end of day j; shape [days, days + 1], NaN before.
    """

    core: float
    other: float
    size: NDArray[np.int64]
    share: Floats


def survival(
    curve: ForgettingCurve,
    seed: int,
    *,
    mode: ForgetMode = "hazard",
    days: int = 30,
    per_day: int = 10,
    core_every: int = 10,
    settled: int = 5,
) -> Survival:
    """Simulation B: `per_day` memories a day, one in `core_every` of them recalled every second day.

    Nothing is written on the last day, on which the survivors older than `settled` days are counted.

    >>> run = survival(ForgettingCurve(), seed=0)
    >>> run.core > run.other, int(run.size[-1]) < 100
    (True, True)
    """
    rng = np.random.default_rng(seed)
    written = np.repeat(np.arange(days), per_day).astype(np.float64)
    core = np.arange(len(written)) % core_every == 0
    bank = Bank(written, curve, mode, rng)
    size = np.zeros(days + 1, dtype=np.int64)
    share = np.full((days, days + 1), np.nan)
    for day in range(days + 1):
        bank.forget(day)
        bank.recall(np.flatnonzero(bank.alive & core & ((day - written) % 2 == 0)), day)
        bank.alive |= written == day
        size[day] = bank.alive.sum()
        share[: day + 1, day] = bank.alive.reshape(days, per_day)[: day + 1].mean(axis=1)
    old = written < days - settled
    return Survival(_mean(bank.alive, core & old), _mean(bank.alive, ~core & old), size, share)


@dataclass(frozen=True)
class Stream:
    """A user's days for simulation C, the same for every policy.

    Parameters
    ----------
    written: day of each memory, shape [n].
    core: whether it is asked about again and again, shape [n].
    vectors: unit vectors, shape [n, d]: a topic of that day plus noise.
    asked: for each day the rows asked about, and the vectors of the questions.
    exam, exam_vectors: the rows of all core memories, and questions about them on the last day.
    """

    written: Floats
    core: Flags
    vectors: Floats
    asked: tuple[tuple[NDArray[np.int64], Floats], ...]
    exam: NDArray[np.int64]
    exam_vectors: Floats


def stream(
    seed: int,
    *,
    days: int = 60,
    per_day: int = 10,
    core_every: int = 10,
    topics: int = 8,
    dim: int = 32,
    noise: float = 0.8,
    question_noise: float = 0.5,
) -> Stream:
    """Generate simulation C: `topics` topics at a time, of which one is replaced each day.

    Each core memory is asked about every second day, first on the day after it was written; each day one more
    question is about any memory of the last week, so that chance recalls happen as well.
    """
    rng = np.random.default_rng(seed)
    n = days * per_day
    written = np.repeat(np.arange(days), per_day)
    core = np.arange(n) % core_every == 0
    centres = _unit(rng.normal(size=(days + topics, dim)))
    vectors = _unit(centres[written + rng.integers(topics, size=n)] + noise * _unit(rng.normal(size=(n, dim))))

    def questions(rows: NDArray[np.int64]) -> Floats:
        return _unit(vectors[rows] + question_noise * _unit(rng.normal(size=(len(rows), dim))))

    asked = []
    for day in range(days):
        age = day - written
        due = np.flatnonzero(core & (age > 0) & (age % 2 == 1))
        chance = rng.choice(np.flatnonzero((age >= 0) & (age < 7)), size=1)
        rows = np.concatenate([due, chance])
        asked.append((rows, questions(rows)))
    exam = np.flatnonzero(core)
    return Stream(written.astype(np.float64), core, vectors, tuple(asked), exam, questions(exam))


@dataclass(frozen=True)
class Answers:
    """How one policy did in simulation C.

    Parameters
    ----------
    hit: share of the questions about core memories whose memory is among the k retrieved.
    size: memories alive when each day's questions are asked, shape [days].
    """

    hit: float
    size: NDArray[np.int64]


def answers(
    days: Stream,
    policy: Policy,
    seed: int,
    *,
    sizes: NDArray[np.int64] | None = None,
    curve: ForgettingCurve | None = None,
    k: int = 6,
) -> Answers:
    """Simulation C: live through the stream under a policy, then answer the questions about core memories.

    Every retrieved memory is reinforced, whether or not it was the one asked for, as the paper has it. `none`
    keeps all. `fifo` keeps the newest, `lru` those written or recalled last, `random` a random part.

    Parameters
    ----------
    sizes: how many memories those three keep on each day, shape [days]; the sizes of a `memorybank` run make
        the comparison fair.

    >>> days = stream(seed=0, days=20)
    >>> bank = answers(days, "memorybank", seed=0)
    >>> fifo = answers(days, "fifo", seed=0, sizes=bank.size)
    >>> bool((fifo.size == bank.size).all()), answers(days, "none", seed=0).hit >= bank.hit
    (True, True)
    """
    rng = np.random.default_rng(seed)
    bank = Bank(days.written, curve or ForgettingCurve(), "hazard", rng)
    size = np.zeros(len(days.asked), dtype=np.int64)
    for day, (_, questions) in enumerate(days.asked):
        if policy == "memorybank":
            bank.forget(day)
        bank.alive |= days.written == day
        if sizes is not None:
            _keep(bank, _priority(policy, bank, days.written, rng), int(sizes[day]))
        size[day] = bank.alive.sum()
        bank.recall(np.unique(_search(days.vectors, bank.alive, questions, k)), day)
    found = _search(days.vectors, bank.alive, days.exam_vectors, k)
    return Answers(float(np.mean([row in hits for row, hits in zip(days.exam, found, strict=True)])), size)


def _priority(policy: Policy, bank: Bank, written: Floats, rng: np.random.Generator) -> Floats:
    """What to keep first, for the policies that keep a given number; ties at random."""
    tie = rng.random(written.shape)
    return {"fifo": written, "lru": bank.last + tie, "random": tie}[policy]


def _keep(bank: Bank, priority: Floats, count: int) -> None:
    rows = np.flatnonzero(bank.alive)
    bank.alive[rows[np.argsort(-priority[rows], kind="stable")[count:]]] = False


def _search(vectors: Floats, alive: Flags, questions: Floats, k: int) -> NDArray[np.int64]:
    """The k nearest of those alive for each question, shape [m, k'] with k' <= k."""
    rows = np.flatnonzero(alive)
    best = np.argsort(-(questions @ vectors[rows].T), axis=1, kind="stable")[:, :k]
    return rows[best]


def _unit(x: Floats) -> Floats:
    return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True))


def _mean(alive: Flags, of: Flags) -> float:
    return float(alive[of].mean())
