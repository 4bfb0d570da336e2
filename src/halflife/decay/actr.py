"""ACT-R's base-level activation: every use leaves a trace that fades as a power of its age.

Exact activation needs the ages of all uses; the law keeps two numbers a trace (uses and span) and Petrov's
hybrid approximation with the newest age exact. The standard approximation is not offered: activation is
then not monotone in the decay, which so cannot be fitted (Fisher, Houpt & Gunzelmann 2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from halflife.decay.base import Law, ages, first, fractions, grades, require_positive, used
from halflife.decay.law import GOOD, Array, ArrayLike, State
from halflife.errors import InvalidInput

_YOUNGEST = 1.0  # seconds; ages are clipped here, since an age of zero has infinite activation


def exact_activation(ages_of_uses: ArrayLike, decay: float = 0.5) -> Array:
    """B = ln sum_j age_j^-decay.

    Parameters
    ----------
    ages_of_uses: seconds since each use, shape [..., uses]; clipped at 1 s.
    decay: d > 0.

    Source: Anderson & Schooler 1991.

    >>> round(float(exact_activation(np.array([1.0, 100.0]))), 4)            # ln(1 + 1/10)
    0.0953
    """
    age = np.maximum(ages(ages_of_uses), _YOUNGEST)
    return np.asarray(np.log((age**-decay).sum(axis=-1)))[()]


def hybrid_activation(newest: ArrayLike, uses: ArrayLike, oldest: ArrayLike, decay: float = 0.5) -> Array:
    """Activation from the k newest ages, the number of uses and the oldest age: the rest is spread evenly.

    Parameters
    ----------
    newest: seconds since each of the k newest uses, ascending, shape [..., k].
    uses: how many there were, >= k.
    oldest: seconds since the first use.
    decay: d > 0.

    Exact where uses = k. Source: Petrov 2006, equation 2.

    >>> t = np.array([10.0, 40.0, 90.0])
    >>> bool(np.isclose(hybrid_activation(t, 3, 90.0), exact_activation(t)))
    True
    """
    age = np.maximum(ages(newest), _YOUNGEST)
    last = age[..., -1]
    between = np.maximum(np.asarray(oldest) - last, 0.0)
    old = (np.asarray(uses) - age.shape[-1]) * last**-decay * _mean_power(between / last, decay)
    return np.asarray(np.log((age**-decay).sum(axis=-1) + old))[()]


def _mean_power(x: Array, decay: float) -> Array:
    """The mean of age^-decay over ages from 1 to 1 + x, without cancellation at small x."""
    wide = np.maximum(x, 1e-12)
    if decay == 1.0:
        return np.asarray(np.log1p(wide) / wide)
    return np.asarray(np.expm1((1.0 - decay) * np.log1p(wide)) / ((1.0 - decay) * wide))


@dataclass(frozen=True)
class ActR(Law):
    """Recall = 1 / (1 + exp((threshold - B)/noise)), B the activation from `uses` and `span`.

    A use is the reinforcement: there is no other strength, and `State.stability` stays 1. Retention at age
    zero is the recall at an age of one second, 1 for all but high thresholds.

    Parameters
    ----------
    decay: d > 0.
    threshold: tau; the default forgets half of what was met once after a week.
    noise: s > 0; with one use retention falls as a power decay/noise of age.

    Source: Anderson & Lebiere 1998; Petrov 2006 with k = 1.

    >>> law = ActR()
    >>> round(float(law.half_life(law.initial())) / 86_400, 1)
    7.0
    """

    name: ClassVar[str] = "act-r"
    decay: float = 0.5
    threshold: float = -6.6564
    noise: float = 0.2549

    def __post_init__(self) -> None:
        require_positive(self, "decay", "noise")
        if not np.isfinite(self.threshold):
            raise InvalidInput(f"{self.name}: threshold must be finite, not {self.threshold!r}.")

    def initial(self, grade: ArrayLike = GOOD) -> State:
        """The state of a trace just written: one use. ACT-R has no grades; one only counts a lapse."""
        return first(grade, 1.0)

    def activation(self, elapsed: ArrayLike, state: State) -> Array:
        """Activation `elapsed` seconds after the last use: the hybrid with k = 1, exact for one use."""
        t = np.maximum(ages(elapsed), _YOUNGEST)
        uses, span = np.asarray(state.uses, dtype=np.float64), np.asarray(state.span, dtype=np.float64)
        if uses.size and span.size and not (uses.min() >= 1.0 and span.min() >= 0.0):
            raise InvalidInput("ACT-R needs uses >= 1 and span >= 0.", "Start from `law.initial()`.")
        others = (uses - 1.0) * _mean_power(span / t, self.decay)
        return np.asarray(np.log1p(others) - self.decay * np.log(t))[()]

    def retention(self, elapsed: ArrayLike, state: State) -> Array:
        """The probability of recall `elapsed` seconds after the last use."""
        with np.errstate(over="ignore"):
            odds = np.exp((self.threshold - self.activation(elapsed, state)) / self.noise)
        return np.asarray(1.0 / (1.0 + odds))[()]

    def time_to(self, target: ArrayLike, state: State) -> Array:
        """Seconds until recall falls to `target`, by bisection between one use and all uses at the last."""
        with np.errstate(divide="ignore"):
            r = fractions(target)
            wanted = self.threshold - self.noise * (np.log1p(-r) - np.log(r))
        return self._when(wanted, state)

    def _when(self, wanted: Array, state: State) -> Array:
        uses = np.asarray(state.uses, dtype=np.float64)
        shape = np.broadcast_shapes(wanted.shape, uses.shape, np.shape(state.span))
        finite = np.where(np.isfinite(wanted), wanted, 0.0)
        low = np.broadcast_to(-finite / self.decay, shape).copy()  # log seconds, as if used once
        high = low + np.log(uses) / self.decay
        for _ in range(60):
            middle = 0.5 * (low + high)
            with np.errstate(over="ignore"):
                above = self.activation(np.minimum(np.exp(middle), 1e300), state) > finite
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        with np.errstate(over="ignore"):
            t = np.exp(0.5 * (low + high))
        t = np.where(self.activation(0.0, state) <= finite, 0.0, t)
        return np.where(np.isfinite(wanted), t, np.where(wanted > 0.0, 0.0, np.inf))[()]

    def reinforce(self, state: State, elapsed: ArrayLike, grade: ArrayLike = GOOD) -> State:
        """The state after one more use; a failed recall is a use too, since the trace was met again."""
        return used(state, ages(elapsed), grades(grade), 1.0)


@dataclass(frozen=True)
class Pavlik:
    """ACT-R with spacing: a use at high activation leaves a trace that fades faster.

    Each use j has its own decay d_j = scale * exp(m_{j-1}) + intercept, m_{j-1} the activation just before
    it. It needs the whole history, so it works on times of uses and is no `Law`.

    Parameters
    ----------
    intercept: a, the lowest decay.
    scale: c >= 0; at 0 every decay is `intercept`, plain ACT-R.
    noise, threshold: s and tau of the recall curve.
    clock: h, what a second between sessions counts for.

    Source: Pavlik & Anderson 2005, equations 2 and 5; the parameters are those of srs-benchmark.

    >>> model = Pavlik()
    >>> massed, spaced = np.array([0.0, 60.0]), np.array([0.0, 86_400.0])
    >>> month = 30 * 86_400.0
    >>> bool(model.recall(spaced, 86_400.0 + month) > model.recall(massed, 60.0 + month))
    True
    """

    intercept: float = 0.1768
    scale: float = 0.2170
    noise: float = 0.2549
    threshold: float = -0.7042
    clock: float = 0.025

    def activation(self, uses: Array, at: ArrayLike) -> Array:
        """Activation at time `at` (seconds) from times of uses, ascending, shape [..., uses]."""
        times = np.asarray(uses, dtype=np.float64)
        if times.shape[-1] == 0 or (np.diff(times, axis=-1) < 0.0).any() or (times[..., -1] > at).any():
            raise InvalidInput("Times of uses must ascend and none may be later than `at`.", "Sort them first.")
        decays = np.empty_like(times)
        for j in range(times.shape[-1]):
            before = self._sum(times[..., :j], decays[..., :j], times[..., j])
            decays[..., j] = self.scale * before + self.intercept  # exp(m) is the sum itself
        return np.asarray(np.log(self._sum(times, decays, np.asarray(at, dtype=np.float64))))[()]

    def recall(self, uses: Array, at: ArrayLike) -> Array:
        """The probability of recall at time `at`."""
        return np.asarray(1.0 / (1.0 + np.exp((self.threshold - self.activation(uses, at)) / self.noise)))[()]

    def _sum(self, times: Array, decays: Array, at: Array) -> Array:
        age = np.maximum((at[..., None] - times) * self.clock, _YOUNGEST)
        return np.asarray((age**-decays).sum(axis=-1))
