"""Forward decay: weights that grow from a landmark, so that nothing stored need ever be rescaled.

The weight of an item of time t_i at time t is g(t_i - L) / g(t - L), L a landmark before every item.
Numerators never change; only the common denominator does. Cormode, Shkapenyuk, Srivastava & Xu 2009.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from halflife.decay.base import Law, ages, first, fractions, grades, require_positive, stabilities, used
from halflife.decay.law import DAY, GOOD, Array, ArrayLike, State
from halflife.errors import InvalidInput


@dataclass(frozen=True)
class ForwardDecay(Law):
    """g(n) = exp(rate * n), equal to backward exponential decay, or g(n) = n^rate, which decays relatively.

    As a law, `State.stability` is the time from the landmark to the last use, so the polynomial form
    weighs the same at the same fraction of the trace's life, however long it is. It ranks and aggregates;
    it is no probability of recall.

    Parameters
    ----------
    rate: per day for `exponential`; the exponent for `polynomial`.
    g: the form.
    start: days from the landmark to a trace just written, for `initial`.

    Source: Cormode et al. 2009, definitions 3 and 4.

    >>> law = ForwardDecay(rate=1.0, g="polynomial")
    >>> [round(float(law.weight(t / 2, now=t)), 9) for t in (10.0, 1e6)]
    [0.5, 0.5]
    """

    name: ClassVar[str] = "forward"
    rate: float = 0.1
    g: Literal["exponential", "polynomial"] = "exponential"
    start: float = 7.0

    def __post_init__(self) -> None:
        require_positive(self, "rate", "start")
        if self.g not in ("exponential", "polynomial"):
            raise InvalidInput(f"forward: g must be 'exponential' or 'polynomial', not {self.g!r}.")

    def log_g(self, since: ArrayLike) -> Array:
        """ln g of the seconds since the landmark; -inf at 0 for the polynomial form."""
        n = ages(since)
        if self.g == "exponential":
            return np.asarray(n * (self.rate / DAY))
        with np.errstate(divide="ignore"):
            return np.asarray(self.rate * np.log(n))

    def weight(self, times: ArrayLike, now: ArrayLike, landmark: float = 0.0) -> Array:
        """Weights at `now` of items of the given times (seconds), none before `landmark` or after `now`."""
        t = np.asarray(times, dtype=np.float64)
        ages(np.asarray(now) - t)
        return np.exp(self.log_g(t - landmark) - self.log_g(np.asarray(now) - landmark))

    def initial(self, grade: ArrayLike = GOOD) -> State:
        """The state of a trace written `start` days after the landmark; the grade only counts a lapse."""
        return first(grade, self.start * DAY)

    def retention(self, elapsed: ArrayLike, state: State) -> Array:
        """The weight of the last use `elapsed` seconds after it."""
        t, s = ages(elapsed), stabilities(state.stability)
        if self.g == "exponential":
            x = np.asarray(np.add(t, np.zeros_like(s)))
            x *= -self.rate / DAY
        else:
            x = np.asarray(np.divide(t, s))
            np.log1p(x, out=x)
            x *= -self.rate
        np.exp(x, out=x)
        return x[()]

    def time_to(self, target: ArrayLike, state: State) -> Array:
        """Seconds until the weight of the last use falls to `target`."""
        s = stabilities(state.stability)
        with np.errstate(divide="ignore", over="ignore"):
            drop = -np.log(fractions(target))
            if self.g == "exponential":
                return np.asarray(drop / (self.rate / DAY) + np.zeros_like(s))[()]
            return np.asarray(s * np.expm1(drop / self.rate))[()]

    def reinforce(self, state: State, elapsed: ArrayLike, grade: ArrayLike = GOOD) -> State:
        """The state after a use: it lies `elapsed` seconds further from the landmark."""
        t = ages(elapsed)
        return used(state, t, grades(grade), stabilities(state.stability) + t)


@dataclass(frozen=True)
class Aggregate:
    """Decayed count, sum and mean in constant space; order of arrival does not matter.

    Held on a logarithmic scale, so that no landmark is ever too far in the past.

    Parameters
    ----------
    law: the decay.
    landmark: seconds; no item may be earlier.

    >>> a = Aggregate(ForwardDecay(rate=np.log(2).item()))                   # halves every day
    >>> a = a.add(0.0, 10.0).add(86_400.0, 20.0)
    >>> round(float(a.count(86_400.0)), 6), round(float(a.sum(86_400.0)), 6), round(float(a.mean()), 3)
    (1.5, 25.0, 16.667)
    """

    law: ForwardDecay
    landmark: float = 0.0
    latest: float = -np.inf
    log_scale: float = -np.inf
    scaled_count: float = 0.0
    scaled_sum: float = 0.0

    def add(self, times: ArrayLike, values: ArrayLike = 1.0) -> Aggregate:
        """The aggregate with one item more, or with an array of them (times in seconds)."""
        t, v = np.broadcast_arrays(np.asarray(times, dtype=np.float64), np.asarray(values, dtype=np.float64))
        if not t.size:
            return self
        if not np.isfinite(v).all():
            raise InvalidInput("A value to aggregate must be finite.", "Drop NaN and infinite values first.")
        logs = self.law.log_g(t - self.landmark)
        latest, top = max(self.latest, float(t.max())), max(self.log_scale, float(logs.max()))
        if top == -np.inf:  # every item lies on the landmark of a polynomial: weight zero
            return Aggregate(self.law, self.landmark, latest)
        old, weights = np.exp(self.log_scale - top), np.exp(logs - top)
        count = float(self.scaled_count * old + weights.sum())
        return Aggregate(
            self.law, self.landmark, latest, top, count, float(self.scaled_sum * old + (weights * v).sum())
        )

    def count(self, now: float) -> float:
        """The sum of the weights at `now`."""
        return self.scaled_count * self._scale(now)

    def sum(self, now: float) -> float:
        """The sum of weight times value at `now`."""
        return self.scaled_sum * self._scale(now)

    def mean(self) -> float:
        """The weighted mean of the values, which does not depend on `now`."""
        if self.scaled_count == 0.0:
            raise InvalidInput("There is no mean of nothing.", "Add an item first.")
        return self.scaled_sum / self.scaled_count

    def _scale(self, now: float) -> float:
        if now < self.latest:
            raise InvalidInput("Cannot look at an aggregate before its latest item.", "Ask for a later `now`.")
        if self.scaled_count == 0.0:
            return 0.0
        return float(np.exp(self.log_scale - self.law.log_g(now - self.landmark)))


def priorities(law: ForwardDecay, times: Array, rng: np.random.Generator, landmark: float = 0.0) -> Array:
    """A random key for each item; the items of the k largest keys are a sample weighted by decay.

    The key is ln g - ln(-ln u), which orders items as u^(1/g) does and never overflows. Keys never change,
    so a reservoir keeps the k largest as items arrive. Source: Efraimidis & Spirakis 2006; Cormode et al.
    section 5.

    >>> keys = priorities(ForwardDecay(), np.array([0.0, 86_400.0]), np.random.default_rng(0))
    >>> keys.shape
    (2,)
    """
    logs = law.log_g(np.asarray(times, dtype=np.float64) - landmark)
    return np.asarray(logs + rng.gumbel(size=logs.shape))


def sample(
    law: ForwardDecay, times: Array, k: int, rng: np.random.Generator, landmark: float = 0.0
) -> NDArray[np.intp]:
    """Indices of k items drawn without replacement with probability in proportion to their decayed weight.

    >>> sample(ForwardDecay(rate=5.0), np.arange(10) * 86_400.0, 3, np.random.default_rng(0)).tolist()
    [9, 8, 7]
    """
    keys = priorities(law, times, rng, landmark)
    if not 0 <= k <= keys.size:
        raise InvalidInput(f"Cannot draw {k} of {keys.size} items.", "Ask for at most as many as there are.")
    return np.argsort(-keys)[:k]
