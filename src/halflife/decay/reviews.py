"""Review logs: who was asked what and when, whether it was recalled, and the history before each review."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from halflife.decay.base import grades
from halflife.decay.law import AGAIN, DAY, Array, Law, State
from halflife.errors import InvalidInput

Rows = NDArray[np.intp]
_COLUMNS = ("card_id", "review_rating", "review_time")


@dataclass(frozen=True)
class History:
    """What was known before each review, in the order of `Reviews`.

    Parameters
    ----------
    elapsed: seconds since the item's last review; NaN for its first.
    rank: how many reviews of the item came before.
    right, wrong: how many of these were recalled, and how many not.
    streak: how many were recalled without a failure since.
    span: seconds from the item's first review to its last before this one.
    """

    elapsed: Array
    rank: NDArray[np.int64]
    right: Array
    wrong: Array
    streak: Array
    span: Array


@dataclass(frozen=True, eq=False)
class Reviews:
    """A review log, kept in order of item and then time.

    Parameters
    ----------
    item: any sortable ids, shape [n]; kept as codes 0, 1, ...
    time: seconds since the Unix epoch, shape [n].
    grade: 1 (not recalled) to 4, shape [n].

    >>> log = Reviews(np.array([7, 7, 8]), np.array([0.0, 86_400.0, 50.0]), np.array([3, 1, 3]))
    >>> log.history.elapsed.tolist(), log.recalled.tolist()
    ([nan, 86400.0, nan], [1.0, 0.0, 1.0])
    """

    item: NDArray[np.int64]
    time: Array
    grade: Array

    def __post_init__(self) -> None:
        time, grade = np.asarray(self.time, dtype=np.float64), grades(self.grade)
        if time.ndim != 1 or not time.shape == grade.shape == np.shape(self.item):
            raise InvalidInput("item, time and grade must be lists of one length.")
        if not np.isfinite(time).all():
            raise InvalidInput("Every review needs a finite time.", "Drop the reviews without one.")
        codes = np.unique(self.item, return_inverse=True)[1].astype(np.int64)
        order = np.lexsort((time, codes))
        for name, values in (("item", codes), ("time", time), ("grade", grade)):
            object.__setattr__(self, name, values[order])

    @classmethod
    def from_csv(cls, path: str | Path) -> Reviews:
        """Read an FSRS review log: columns card_id, review_rating and review_time (ISO 8601); gzip if `.gz`.

        Raises InvalidInput with the line number for a missing column or a value that cannot be read.
        """
        with _open(Path(path)) as file:
            table = csv.DictReader(file)
            missing = [name for name in _COLUMNS if name not in (table.fieldnames or ())]
            if missing:
                raise InvalidInput(f"{path} has no column {', '.join(missing)}.", "Is it an FSRS review log?")
            rows = list(_parse(table, path))
        items, ratings, times = zip(*rows, strict=True) if rows else ((), (), ())
        return cls(np.array(items), np.array(times, dtype=np.float64), np.array(ratings, dtype=np.float64))

    def __len__(self) -> int:
        return len(self.time)

    @property
    def recalled(self) -> Array:
        """1 where the item was recalled, else 0."""
        return (self.grade > AGAIN).astype(np.float64)

    @cached_property
    def history(self) -> History:
        """What was known before each review."""
        n, y = len(self), self.recalled
        index = np.arange(n)
        begins = np.ones(n, dtype=bool)
        begins[1:] = self.item[1:] != self.item[:-1]
        start = np.maximum.accumulate(np.where(begins, index, 0))
        elapsed = np.full(n, np.nan)
        elapsed[1:] = np.where(begins[1:], np.nan, np.diff(self.time))
        before = np.cumsum(y) - y
        right = before - before[start]
        failures = np.maximum.accumulate(np.where(y == 0.0, index, -1))  # the latest failure up to here
        last = np.concatenate([[-1], failures[:-1]])[:n]
        rank = index - start
        return History(
            elapsed=elapsed,
            rank=rank,
            right=right,
            wrong=rank - right,
            streak=(rank - np.maximum(last - start + 1, 0)).astype(np.float64),
            span=np.where(begins, 0.0, np.concatenate([self.time[:1], self.time[:-1]]) - self.time[start]),
        )

    @cached_property
    def by_rank(self) -> list[Rows]:
        """Rows of every item's first review, second, ...: items in one order, the longest histories first."""
        rank = self.history.rank
        longest_first = np.argsort(-np.bincount(self.item), kind="stable") if len(self) else np.empty(0, int)
        place = np.empty_like(longest_first)
        place[longest_first] = np.arange(len(longest_first))
        order = np.lexsort((place[self.item], rank))
        return np.split(order, np.cumsum(np.bincount(rank))[:-1]) if len(self) else []

    def scored(self, minimum: float = DAY) -> Rows:
        """Rows asked at least `minimum` seconds after the item's last review, in order of time."""
        rows = np.flatnonzero(self.history.elapsed >= minimum)
        return rows[np.argsort(self.time[rows], kind="stable")]


def replay(law: Law, reviews: Reviews) -> Array:
    """The retention that a law, with its own reinforcement, predicts before each review; NaN before a
    first one.

    Parameters
    ----------
    law: any law.
    reviews: the log, n reviews.

    >>> from halflife.decay.curves import Exponential
    >>> log = Reviews(np.array([7, 7]), np.array([0.0, 86_400.0]), np.array([3, 3]))
    >>> replay(Exponential(), log).round(4).tolist()                         # exp(-1)
    [nan, 0.3679]
    """
    predicted = np.full(len(reviews), np.nan)
    state: State | None = None
    for rows in reviews.by_rank:
        grade = reviews.grade[rows]
        if state is None:
            state = law.initial(grade)
            continue
        state = State(*(np.asarray(value)[: len(rows)] for value in vars(state).values()))
        elapsed = reviews.history.elapsed[rows]
        predicted[rows] = law.retention(elapsed, state)
        state = law.reinforce(state, elapsed, grade)
    return predicted


def _open(path: Path) -> IO[str]:
    try:
        if path.suffix == ".gz":
            return gzip.open(path, "rt", encoding="utf-8", newline="")
        return path.open(encoding="utf-8", newline="")
    except OSError as error:
        raise InvalidInput(f"Cannot read {path}: {error.strerror}.", "Check the path.") from error


def _parse(table: csv.DictReader[str], path: str | Path) -> Iterator[tuple[str, int, float]]:
    for row in table:
        try:
            when = datetime.fromisoformat(row["review_time"])
            rating = int(row["review_rating"])
        except (ValueError, TypeError) as error:
            raise InvalidInput(f"{path}, line {table.line_num}: {error}.", "Correct the line.") from None
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        yield row["card_id"], rating, when.timestamp()
