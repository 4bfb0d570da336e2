"""Fit one law to the points of a retention curve, and read its half-life off, with an interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from halflife.decay.actr import ActR
from halflife.decay.base import ages
from halflife.decay.curves import PowerExponential
from halflife.decay.forward import ForwardDecay
from halflife.decay.law import DAY, Array, Law, State
from halflife.decay.likelihood import CLIP, maximise, profile
from halflife.decay.models import free_parameters
from halflife.errors import InvalidInput

_GRID = 241

Counts = float | Sequence[float] | Array
Censored = Literal["", "above", "below"]


@dataclass(frozen=True)
class CurveFit:
    """A law fitted to a retention curve.

    Parameters
    ----------
    law, state: the fitted law, and the state of what was measured; `law.retention(t, state)` is the curve.
    half_life: seconds; infinite where the data only bound it from below, 0 where only from above.
    low, high: 95% likelihood interval of the half-life in seconds; 0 or infinite on an open side.
    censored: `above` if the half-life lies beyond what the delays can show (nothing was forgotten),
        `below` if before (nothing was left), else empty.
    log_likelihood: without the binomial coefficient; n: trials; k: parameters fitted.
    deviance: twice the distance to a curve through every point.
    """

    law: Law
    state: State
    half_life: float
    low: float
    high: float
    censored: Censored
    log_likelihood: float
    deviance: float
    n: float
    k: int

    @property
    def aic(self) -> float:
        """Akaike's criterion, 2k - 2l."""
        return 2.0 * self.k - 2.0 * self.log_likelihood


def fit_curve(
    law: Law,
    delays: Counts,
    recalled: Counts,
    trials: Counts,
    *,
    free: tuple[str, ...] = (),
) -> CurveFit:
    """The maximum-likelihood fit of a law to counts of recalls at delays.

    The time scale is always fitted: the stability, or ACT-R's threshold, or forward decay's rate. Its
    interval is by profile likelihood, exact for the half-life where `free` is empty and at the fitted
    shape otherwise.

    Parameters
    ----------
    law: the law; its shape stays as it is unless freed.
    delays: seconds, shape [points].
    recalled, trials: counts at each delay; points without trials are dropped.
    free: names of shape parameters to fit as well, used only if there are more distinct delays than
        parameters.

    Raises InvalidInput for counts that are not 0 <= recalled <= trials, and if no trial came after a delay.

    >>> from halflife.decay.curves import Exponential
    >>> found = fit_curve(Exponential(), np.array([1.0, 2.0, 3.0]) * DAY, [50, 25, 13], [100, 100, 100])
    >>> round(found.half_life / DAY, 1), found.low < found.half_life < found.high
    (1.0, True)
    >>> fit_curve(Exponential(), [60.0], [20], [20]).censored                # nothing forgotten yet
    'above'
    """
    t, hits, n = _points(delays, recalled, trials)
    shapes = free_parameters(law, free) if len(np.unique(t)) > len(free) + 1 else ()
    low, high = np.log(t[t > 0.0].min()) - 70.0, np.log(t.max()) + 40.0
    # below a ceiling of one half there is no half-life
    box = (
        np.array([low, *(0.02 if s.name == "ceiling" else -5.0 for s in shapes)]),
        np.array([high, *[8.0] * len(shapes)]),
    )

    def at(x: Array) -> tuple[Law, State]:
        values = {one.name: one.outward(v) for one, v in zip(shapes, x[1:], strict=True)}
        return _lasting(replace(law, **values), float(np.exp(x[0])))  # type: ignore[type-var]

    def nll(vectors: Array) -> Array:
        with np.errstate(all="ignore"):  # the search reaches half-lives beyond all reason
            predicted = [law_.retention(t, state) for law_, state in map(at, vectors)]
        return np.array([-_log_likelihood(p, hits, n) for p in predicted])

    asked = np.clip([one.inward(getattr(law, one.name)) for one in shapes], box[0][1:], box[1][1:])
    grid = np.array([[scale, *asked] for scale in np.linspace(low, high, _GRID)])
    x, least = maximise(nll, grid[[nll(grid).argmin()]], box)
    interval = profile(nll, x, least, 0, float("nan"), box)
    fitted, state = at(x)
    ends = fitted.retention(np.array([t.min(), t.max()]), state)
    censored: Censored = ""
    if interval.high == np.inf and ends[1] > 0.5:
        censored = "above"
    elif interval.low == -np.inf and ends[0] < 0.5:
        censored = "below"
    return CurveFit(
        fitted,
        state,
        half_life={"above": float("inf"), "below": 0.0, "": float(np.exp(x[0]))}[censored],
        low=float(np.exp(interval.low)),
        high=float(np.exp(interval.high)),
        censored=censored,
        log_likelihood=-least,
        deviance=max(2.0 * (least + _log_likelihood(hits / n, hits, n)), 0.0),
        n=float(n.sum()),
        k=len(x),
    )


def _points(delays: Counts, recalled: Counts, trials: Counts) -> tuple[Array, Array, Array]:
    counts = (np.asarray(values, dtype=np.float64) for values in (recalled, trials))
    t, hits, n = np.broadcast_arrays(np.atleast_1d(ages(np.asarray(delays, dtype=np.float64))), *counts)
    if not ((hits >= 0.0).all() and (hits <= n).all() and np.isfinite(n).all() and np.isfinite(t).all()):
        raise InvalidInput("A retention curve needs finite delays and 0 <= recalled <= trials.")
    if not (n * t).sum():
        raise InvalidInput("A retention curve needs a trial after a delay.", "Probe the subject later than at 0 s.")
    return t[n > 0.0], hits[n > 0.0], n[n > 0.0]


def _lasting(law: Law, half_life: float) -> tuple[Law, State]:
    """The law and state with this half-life in seconds: through the stability, if the law keeps its scale there."""
    if isinstance(law, ActR):  # one use is recalled half of the time when its activation is the threshold
        return replace(law, threshold=-law.decay * float(np.log(half_life))), law.initial()
    if isinstance(law, ForwardDecay) and law.g == "exponential":
        return replace(law, rate=float(np.log(2.0)) * DAY / half_life), law.initial()
    if isinstance(law, PowerExponential):  # its interference does not scale with stability
        left = np.log(2.0 * law.ceiling) - law.interference / DAY * half_life
        stability = half_life / max(float(np.expm1(max(left, 1e-12) / law.exponent)), 1e-300)
    else:
        stability = half_life / float(law.half_life(replace(law.initial(), stability=1.0)))
    return law, replace(law.initial(), stability=float(np.clip(stability, 1e-300, 1e300)))


def _log_likelihood(p: Array, hits: Array, n: Array) -> float:
    q = np.clip(p, CLIP, 1.0 - CLIP)
    return float((hits * np.log(q) + (n - hits) * np.log1p(-q)).sum())
