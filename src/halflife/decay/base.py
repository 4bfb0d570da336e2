"""What the laws share: checks of their input, the counts in a state, curves with one time scale."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, ClassVar

import numpy as np

from halflife.decay.law import AGAIN, DAY, EASY, GOOD, Array, ArrayLike, State
from halflife.errors import InvalidInput

# Time scale of a trace at its first grade, relative to the law's own unit: again, hard, good, easy.
FIRST_GRADE = np.array([0.25, 0.5, 1.0, 2.0])


def ages(elapsed: ArrayLike) -> Array:
    """Elapsed seconds as float64; refuses negative ones and NaN."""
    t = np.asarray(elapsed, dtype=np.float64)
    if t.size and not t.min() >= 0.0:  # NaN fails every comparison, so one reduction finds both
        raise InvalidInput("Elapsed time must be a number of seconds >= 0.", "Is `now` before the last use?")
    return t


def stabilities(stability: ArrayLike) -> Array:
    """Stabilities in seconds as float64; refuses what is not positive and finite."""
    s = np.asarray(stability, dtype=np.float64)
    if s.size and not (s.min() > 0.0 and s.max() < np.inf):
        raise InvalidInput("Stability must be a positive, finite number of seconds.", "Start from `law.initial()`.")
    return s


def fractions(target: ArrayLike) -> Array:
    """Target retentions as float64; refuses what is not in [0, 1]."""
    r = np.asarray(target, dtype=np.float64)
    if r.size and not (r.min() >= 0.0 and r.max() <= 1.0):
        raise InvalidInput("A target retention must lie in [0, 1].", "Pass a fraction such as 0.5.")
    return r


def grades(grade: ArrayLike) -> Array:
    """Grades as float64; refuses what is not 1 (again), 2 (hard), 3 (good) or 4 (easy)."""
    g = np.asarray(grade, dtype=np.float64)
    if g.size and not (g.min() >= AGAIN and g.max() <= EASY and (g == np.rint(g)).all()):
        raise InvalidInput("A grade must be 1 (again), 2 (hard), 3 (good) or 4 (easy).", "Map your scale to these.")
    return g


def require_positive(law: Law, *names: str) -> None:
    """Refuse a parameter that is not a positive, finite number."""
    for name in names:
        value = getattr(law, name)
        if not (isinstance(value, int | float) and 0.0 < value < np.inf):
            raise InvalidInput(f"{law.name}: {name} must be a positive, finite number, not {value!r}.")


def require_ceiling(law: Law, ceiling: float) -> None:
    """Refuse a retention at age zero that is not in (0, 1]."""
    if not 0.0 < ceiling <= 1.0:
        raise InvalidInput(f"{law.name}: ceiling must lie in (0, 1], not {ceiling!r}.")


def first(grade: ArrayLike, stability: ArrayLike, difficulty: ArrayLike = 0.0) -> State:
    """The state of a trace met once: one use, a lapse if its grade was `AGAIN`."""
    g = grades(grade)
    ones = np.ones_like(g)
    return State(
        stability=(ones * stability)[()],
        difficulty=(ones * difficulty)[()],
        uses=ones[()],
        lapses=(g == AGAIN).astype(np.float64)[()],
        span=np.zeros_like(g)[()],
    )


def used(state: State, elapsed: Array, grade: Array, stability: ArrayLike, difficulty: ArrayLike = 0.0) -> State:
    """The state after one more use, its fields of one shape: counts and span grow, the strength is given."""
    columns: tuple[ArrayLike, ...] = (
        stability,
        difficulty,
        np.add(state.uses, 1.0),
        np.add(state.lapses, grade == AGAIN),
        np.add(state.span, elapsed),
    )
    shape = np.broadcast_shapes(grade.shape, *(np.shape(column) for column in columns))
    return State(*(np.array(np.broadcast_to(column, shape), dtype=np.float64)[()] for column in columns))


class Law:
    """What every law of this package inherits: its name, its plain form, and the half-life as an inverse."""

    name: ClassVar[str]

    def time_to(self, target: ArrayLike, state: State) -> Array:
        """Seconds until retention falls to `target`; see each law."""
        raise NotImplementedError

    def half_life(self, state: State) -> Array:
        """Seconds until retention is one half; 0 where it starts below, infinite where it never falls."""
        return self.time_to(0.5, state)

    def to_dict(self) -> dict[str, Any]:
        """The law and its parameters as plain JSON data; `law_from_dict` reads it back."""
        parameters = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return {"name": self.name} | {k: list(v) if isinstance(v, tuple) else v for k, v in parameters.items()}


class ScaleLaw(Law):
    """A law whose curve is `ceiling * f(elapsed / stability)`: stability is its one time scale.

    A law gives `_fall` (f, in place: a search calls it on a million traces), `_rise` (the inverse of f),
    the time scale of a new trace, and how a successful recall lengthens it. A failed one falls back to a
    new trace's.
    """

    unit: float  # days

    @property
    def _top(self) -> float:
        return float(getattr(self, "ceiling", 1.0))  # few laws have a ceiling of their own

    def _fall(self, x: Array) -> None:
        raise NotImplementedError

    def _rise(self, r: Array) -> Array:
        raise NotImplementedError

    def _strengthen(self, stability: Array) -> Array:
        raise NotImplementedError

    def initial(self, grade: ArrayLike = GOOD) -> State:
        """The state of a trace just written: stability is `unit` times 1/4, 1/2, 1 or 2 for grades 1 to 4."""
        return first(grade, self.unit * DAY * FIRST_GRADE[grades(grade).astype(int) - 1])

    def retention(self, elapsed: ArrayLike, state: State) -> Array:
        """How much is left `elapsed` seconds after the last reinforcement.

        Raises InvalidInput for negative or NaN times, and for a stability that is not positive and finite.
        """
        x = np.asarray(np.divide(ages(elapsed), stabilities(state.stability)))
        self._fall(x)
        if self._top != 1.0:
            x *= self._top
        return x[()]  # an array stays itself; an array without axes becomes a number

    def time_to(self, target: ArrayLike, state: State) -> Array:
        """Seconds until retention falls to `target`; 0 where it starts at or below it."""
        ratio = fractions(target) / self._top
        with np.errstate(divide="ignore", over="ignore"):
            x = np.where(ratio >= 1.0, 0.0, self._rise(np.minimum(ratio, 1.0)))
            return np.asarray(stabilities(state.stability) * x)[()]

    def reinforce(self, state: State, elapsed: ArrayLike, grade: ArrayLike = GOOD) -> State:
        """The state after a recall `elapsed` seconds after the last; grade 1 is a recall that failed."""
        t, g, s = ages(elapsed), grades(grade), stabilities(state.stability)
        return used(state, t, g, np.where(g > AGAIN, self._strengthen(s), np.minimum(s, self.unit * DAY)))
