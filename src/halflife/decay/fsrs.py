"""FSRS 5 and 6: difficulty, stability, retrievability (Free Spaced Repetition Scheduler).

Stability is the time until retention is 0.9, difficulty lies in [1, 10], grades are 1 again, 2 hard, 3
good, 4 easy. The published `fsrs` package counts whole days; these laws count fractions of a day unless
`whole_days` is set, which gives the package's states exactly (up to its missing upper bound of 36,500 days
on stability).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from halflife.decay.base import ScaleLaw, ages, first, grades, stabilities, used
from halflife.decay.law import AGAIN, DAY, EASY, GOOD, HARD, Array, ArrayLike, State
from halflife.errors import InvalidInput

SHORTEST, LONGEST = 0.001, 36_500.0  # days of stability

WEIGHTS5 = (
    0.40255, 1.18385, 3.173, 15.69105, 7.1949, 0.5345, 1.4604, 0.0046, 1.54575, 0.1192, 1.01925, 1.9395, 0.11,
    0.29605, 2.2698, 0.2315, 2.9898, 0.51655, 0.6621,
)  # fmt: skip
WEIGHTS6 = (
    0.212, 1.2931, 2.3065, 8.2956, 6.4133, 0.8334, 3.0194, 0.001, 1.8722, 0.1666, 0.796, 1.4835, 0.0614,
    0.2629, 1.6483, 0.6014, 1.8729, 0.5425, 0.0912, 0.0658, 0.1542,
)  # fmt: skip
LOWER6 = (
    0.001,
    0.001,
    0.001,
    0.001,
    1,
    0.001,
    0.001,
    0.001,
    0,
    0,
    0.001,
    0.001,
    0.001,
    0.001,
    0,
    0,
    1,
    0,
    0,
    0,
    0.1,
)
UPPER6 = (100, 100, 100, 100, 10, 4, 4, 0.75, 4.5, 0.8, 3.5, 5, 0.25, 0.9, 4, 1, 6, 2, 2, 0.8, 0.8)


def first_difficulty(w: Sequence[Any], grade: Array) -> Array:
    """D0(G), not clamped. Each weight may be an array that broadcasts against the grades."""
    return np.asarray(w[4] - np.exp(w[5] * (grade - 1.0)) + 1.0)


def next_difficulty(w: Sequence[Any], difficulty: Array, grade: Array) -> Array:
    """Linear damping towards 10, then mean reversion to D0(4)."""
    damped = difficulty - (10.0 - difficulty) / 9.0 * w[6] * (grade - 3.0)
    easy = first_difficulty(w, np.asarray(float(EASY)))
    return np.asarray(np.clip(w[7] * easy + (1.0 - w[7]) * damped, 1.0, 10.0))


def next_stability(w: Sequence[Any], days: Array, difficulty: Array, retention: Array, grade: Array) -> Array:
    """Stability in days after a review a day or more after the last; a lapse if the grade is AGAIN."""
    lost = 1.0 - retention
    bonus = np.where(grade == HARD, w[15], np.where(grade == EASY, w[16], 1.0))
    gain = np.exp(w[8]) * (11.0 - difficulty) * days ** -w[9] * np.expm1(w[10] * lost) * bonus
    relearnt = w[11] * difficulty ** -w[12] * ((days + 1.0) ** w[13] - 1.0) * np.exp(w[14] * lost)
    lapsed = np.minimum(relearnt, days / np.exp(w[17] * w[18]))
    return np.asarray(np.where(grade > AGAIN, days * (1.0 + gain), lapsed))


def same_day_factor(w: Sequence[Any], days: Array, grade: Array) -> Array:
    """What a review on the day of the last one multiplies stability by; version 6 has the weight w19."""
    factor: Array = np.exp(w[17] * (grade - 3.0 + w[18]))
    if len(w) < 21:
        return factor
    factor = factor * days ** -w[19]
    return np.where(grade > AGAIN, np.maximum(factor, 1.0), factor)


def step(w: Sequence[Any], decay: Any, state: tuple[Array, Array], days: Array, grade: Array) -> tuple[Array, Array]:
    """(stability in days, difficulty) after a review `days` after the last; `w` may hold arrays."""
    stability, difficulty = state
    retention = curve(days / stability, decay)
    later = next_stability(w, stability, difficulty, retention, grade)
    stability = np.where(days < 1.0, stability * same_day_factor(w, stability, grade), later)
    return np.clip(stability, SHORTEST, LONGEST), next_difficulty(w, difficulty, grade)


def curve(x: Array, decay: Any) -> Array:
    """R = (1 + F x)^-decay with F such that R(1) = 0.9; x is the age over the stability."""
    return np.asarray(np.exp(-decay * np.log1p(np.expm1(np.log(0.9) / -decay) * x)))


@dataclass(frozen=True)
class _Fsrs(ScaleLaw):
    """What the two versions share; they differ in the curve's exponent and in the rule for the same day."""

    weights: tuple[float, ...]
    whole_days: bool = False
    length: ClassVar[int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", tuple(float(w) for w in self.weights))  # a list, when read from JSON
        if len(self.weights) != self.length or not np.isfinite(self.weights).all():
            raise InvalidInput(f"{self.name} needs {self.length} finite weights, not {len(self.weights)}.")
        if min(self.weights[:4]) <= 0.0 or self.decay <= 0.0:
            raise InvalidInput(f"{self.name}: the first four weights and the curve's exponent must be positive.")

    @property
    def decay(self) -> float:
        """The exponent of the forgetting curve."""
        return 0.5

    def _age(self, elapsed: ArrayLike) -> Array:
        t = ages(elapsed)
        return np.floor(t / DAY) * DAY if self.whole_days else t

    def _fall(self, x: Array) -> None:
        x *= np.expm1(np.log(0.9) / -self.decay)
        np.log1p(x, out=x)
        x *= -self.decay
        np.exp(x, out=x)

    def _rise(self, r: Array) -> Array:
        return np.asarray(np.expm1(np.log(r) / -self.decay) / np.expm1(np.log(0.9) / -self.decay))

    def initial(self, grade: ArrayLike = GOOD) -> State:
        """The state after the first grade: S0 = w[grade - 1] days."""
        g = grades(grade)
        days = np.clip(np.asarray(self.weights[:4])[g.astype(int) - 1], SHORTEST, LONGEST)
        return first(g, days * DAY, np.clip(first_difficulty(self.weights, g), 1.0, 10.0))

    def retention(self, elapsed: ArrayLike, state: State) -> Array:
        """Retrievability `elapsed` seconds after the last review; by whole days if the law counts so."""
        return super().retention(self._age(elapsed), state)

    def reinforce(self, state: State, elapsed: ArrayLike, grade: ArrayLike = GOOD) -> State:
        """The state after a review, by the rules of success, lapse, or the same day."""
        t, g = ages(elapsed), grades(grade)
        before = (stabilities(state.stability) / DAY, np.asarray(state.difficulty, dtype=np.float64))
        if before[1].size and not (before[1].min() >= 1.0 and before[1].max() <= 10.0):
            raise InvalidInput("FSRS needs a difficulty in [1, 10].", "Start from `law.initial()`.")
        days, difficulty = step(self.weights, self.decay, before, self._age(t) / DAY, g)
        return used(state, t, g, days * DAY, difficulty)


@dataclass(frozen=True)
class FSRS5(_Fsrs):
    """FSRS version 5: R = (1 + (19/81) t/S)^-0.5.

    Parameters
    ----------
    weights: 19 numbers; w[0..3] are the first stabilities in days.
    whole_days: count elapsed time in whole days.

    >>> law = FSRS5()
    >>> round(float(law.retention(3.173 * 86_400, law.initial())), 9)
    0.9
    """

    name: ClassVar[str] = "fsrs5"
    length: ClassVar[int] = 19
    weights: tuple[float, ...] = WEIGHTS5


@dataclass(frozen=True)
class FSRS6(_Fsrs):
    """FSRS version 6: R = (1 + F t/S)^-w20, F = 0.9^(-1/w20) - 1.

    Parameters
    ----------
    weights: 21 numbers; w[0..3] are the first stabilities in days, w[20] the curve's exponent.
    whole_days: count elapsed time in whole days, as the `fsrs` package does.

    Source: the `fsrs` package, version 6; its default weights.

    >>> law = FSRS6()
    >>> state = law.reinforce(law.initial(), 2 * 86_400.0)
    >>> round(float(state.stability) / 86_400, 2), round(float(state.difficulty), 2)
    (10.96, 2.11)
    """

    name: ClassVar[str] = "fsrs6"
    length: ClassVar[int] = 21
    weights: tuple[float, ...] = WEIGHTS6

    @property
    def decay(self) -> float:
        """The exponent of the forgetting curve, w[20]."""
        return self.weights[20]
