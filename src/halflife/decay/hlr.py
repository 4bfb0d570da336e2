"""Half-life regression, with Leitner's and Pimsleur's schedules as its fixed cases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from halflife.decay.base import ScaleLaw, ages, first, grades, require_positive, used
from halflife.decay.law import AGAIN, DAY, GOOD, Array, ArrayLike, State
from halflife.errors import InvalidInput


@dataclass(frozen=True)
class HalfLifeRegression(ScaleLaw):
    """R = 2^(-t/h), h = 2^(bias + right * f(r) + wrong * f(w)) days, after r successes and w failures.

    Stability is the half-life itself. r counts the first meeting as a success unless its grade was 1.

    Parameters
    ----------
    bias, right, wrong: log2 of days, and per unit of the features. The defaults are a fit to one person's
        log of 12,580 reviews (docs/decay.md), not universal constants.
    features: `sqrt` for f(n) = sqrt(1 + n), `counts` for f(n) = n.
    shortest, longest: days; half-lives are clipped to this range (15 minutes to 274 days in the released
        code).

    Source: Settles & Meeder 2016, equations 1-2, without the per-word features.

    >>> law = HalfLifeRegression.leitner()
    >>> state = law.reinforce(law.initial(), 86_400.0)
    >>> float(law.half_life(state)) / 86_400                                 # 2^(2 right - 0 wrong)
    4.0
    """

    name: ClassVar[str] = "hlr"
    bias: float = 0.1
    right: float = 3.23
    wrong: float = -1.88
    features: Literal["sqrt", "counts"] = "sqrt"
    shortest: float = 15.0 / 1440.0
    longest: float = 274.0

    def __post_init__(self) -> None:
        require_positive(self, "shortest", "longest")
        if self.features not in ("sqrt", "counts"):
            raise InvalidInput(f"hlr: features must be 'sqrt' or 'counts', not {self.features!r}.")
        if not np.isfinite([self.bias, self.right, self.wrong]).all():
            raise InvalidInput("hlr: bias, right and wrong must be finite.")

    @classmethod
    def leitner(cls) -> HalfLifeRegression:
        """Leitner's boxes: h = 2^(right - wrong) days."""
        return cls(0.0, 1.0, -1.0, features="counts")

    @classmethod
    def pimsleur(cls) -> HalfLifeRegression:
        """Pimsleur's schedule: h = 2^(2.35 n - 16.46) days after n uses, right or wrong; from 5 seconds."""
        return cls(-16.46, 2.35, 2.35, features="counts", shortest=1.0 / DAY)

    def stability(self, uses: ArrayLike, lapses: ArrayLike) -> Array:
        """Half-life in seconds from the counts of uses and of failures among them."""
        wrong = np.asarray(lapses, dtype=np.float64)
        right = np.asarray(uses, dtype=np.float64) - wrong
        if right.size and wrong.size and not (right.min() >= 0.0 and wrong.min() >= 0.0):
            raise InvalidInput("Counts need 0 <= lapses <= uses.", "Start from `law.initial()`.")
        if self.features == "sqrt":
            right, wrong = np.sqrt(1.0 + right), np.sqrt(1.0 + wrong)
        days = np.exp2(np.clip(self.bias + self.right * right + self.wrong * wrong, -100.0, 100.0))
        return np.asarray(np.clip(days, self.shortest, self.longest) * DAY)

    def initial(self, grade: ArrayLike = GOOD) -> State:
        """The state of a trace met once."""
        g = grades(grade)
        return first(g, self.stability(np.ones_like(g), g == AGAIN))

    def reinforce(self, state: State, elapsed: ArrayLike, grade: ArrayLike = GOOD) -> State:
        """The state after a use: the counts change, and the half-life with them."""
        t, g = ages(elapsed), grades(grade)
        lapses = np.add(state.lapses, g == AGAIN)
        return used(state, t, g, self.stability(np.add(state.uses, 1.0), lapses))

    def _fall(self, x: Array) -> None:
        np.negative(x, out=x)
        np.exp2(x, out=x)

    def _rise(self, r: Array) -> Array:
        return -np.log2(r)
