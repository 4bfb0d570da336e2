"""Fit a law to a review log by maximum likelihood on binary recalls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from halflife.decay.law import DAY, Array, Law
from halflife.decay.likelihood import Interval, Nll, log_likelihood, maximise, profile, standard_errors
from halflife.decay.models import Model, model
from halflife.decay.reviews import Reviews
from halflife.errors import InvalidInput

_ENOUGH_FOR_FSRS = 512  # with fewer reviews its authors keep the default weights


@dataclass(frozen=True)
class Parameter:
    """A fitted parameter in its own unit.

    Parameters
    ----------
    name: a field of the law, a term of the shared stability (log days), or a weight of FSRS.
    value: the estimate.
    se: its standard error from the inverse Hessian, NaN where that has none or the estimate lies on its
        bound.
    low, high: 95% profile-likelihood interval (Wald for FSRS).
    identified: False where the interval is open on a side: then the value is one of many that fit as well.
        None if no intervals were asked for; `se`, `low` and `high` are then NaN.
    """

    name: str
    value: float
    se: float
    low: float
    high: float
    identified: bool | None


@dataclass(frozen=True)
class Fit:
    """A law fitted to a log.

    Parameters
    ----------
    law: the law with its fitted parameters.
    parameters: the k free parameters.
    log_likelihood: its maximum, over n reviews.
    vector: the free parameters as the optimiser holds them, relative to `start`, the law before the fit.
    """

    law: Law
    parameters: tuple[Parameter, ...]
    log_likelihood: float
    n: int
    vector: Array
    start: Law
    free: tuple[str, ...] | None
    own: bool
    minimum: float

    @property
    def k(self) -> int:
        """How many parameters were fitted."""
        return len(self.parameters)

    @property
    def log_loss(self) -> float:
        """Nats a review, on the reviews fitted to."""
        return -self.log_likelihood / self.n

    @property
    def aic(self) -> float:
        """Akaike's criterion, 2k - 2l."""
        return 2.0 * self.k - 2.0 * self.log_likelihood

    @property
    def aicc(self) -> float:
        """Akaike's criterion corrected for small samples; infinite where n <= k + 1."""
        spare = self.n - self.k - 1
        return self.aic + 2.0 * self.k * (self.k + 1) / spare if spare > 0 else float("inf")

    @property
    def bic(self) -> float:
        """The Bayesian criterion, k ln n - 2l."""
        return self.k * float(np.log(self.n)) - 2.0 * self.log_likelihood

    def predict(self, reviews: Reviews) -> Array:
        """The probability of recall of each of `reviews.scored()`, from the history before it."""
        rows = reviews.scored(self.minimum)
        return model(self.start, reviews, rows, self.free, self.own).predict(self.vector[None])[0]


def fit(
    law: Law,
    reviews: Reviews,
    *,
    free: tuple[str, ...] | None = None,
    own: bool = False,
    until: float = np.inf,
    minimum: float = DAY,
    intervals: bool = True,
    starts: int = 3,
    seed: int = 0,
) -> Fit:
    """The maximum-likelihood fit of a law.

    Curves share one model of stability, h = exp(theta . [1, sqrt(1+right), sqrt(1+wrong), ln(1+streak)])
    days; ACT-R, half-life regression and FSRS have their own.

    Parameters
    ----------
    law: the law; its own parameters are the first start, and stay where they are not free.
    reviews: the log.
    free: names of the law's parameters to fit; None takes the usual ones, () the shared stability alone.
    own: keep the law as it stands, with its own reinforcement: k = 0.
    until: only reviews before this time (seconds) count in the likelihood.
    minimum: only reviews at least this many seconds after the last count; earlier ones change the history.
    intervals: whether to compute standard errors and profile-likelihood intervals.
    starts: how many starts, at least 3 for a report.
    seed: of the scatter of the starts.

    FSRS is fitted from its weights alone, within the published bounds, has Wald intervals (profiles would
    take 42 refits of a replay), and keeps its weights under 512 reviews.

    Source: section 2 of the FSRS benchmark's method for the scored reviews; Venzon & Moolgavkar 1988 for
        profiles.

    >>> from halflife.decay.curves import Exponential
    >>> rng = np.random.default_rng(0)
    >>> item, gap = np.repeat(np.arange(300), 2), np.tile([0.0, 3 * DAY], 300)
    >>> grade = np.where((gap > 0) & (rng.random(600) > np.exp(-1)), 1, 3)   # stability: 3 days
    >>> found = fit(Exponential(), Reviews(item, gap, grade), intervals=False)
    >>> found.k, abs(found.log_loss - 0.658) < 0.03
    (4, True)
    """
    rows = reviews.scored(minimum)
    rows = rows[reviews.time[rows] < until]
    if not len(rows):
        raise InvalidInput(
            f"No review comes {minimum:g} seconds or more after the last of its item.", "Lower `minimum`."
        )
    fsrs = law.name in ("fsrs5", "fsrs6")
    own = own or (fsrs and len(rows) < _ENOUGH_FOR_FSRS)
    model_ = model(law, reviews, rows, None if own else free, own)
    nll = _nll(model_, reviews.recalled[rows])
    rng = np.random.default_rng(seed)
    scattered = model_.starts(rng, 1 if fsrs else max(starts, 1))
    x, least = maximise(nll, scattered, model_.bounds, 40 if fsrs else 300, central=not fsrs)
    parameters = _parameters(model_, nll, x, least, intervals, not fsrs)
    return Fit(model_.law(x), parameters, -least, len(rows), x, law, free, own, minimum)


def _nll(model_: Model, y: Array) -> Nll:
    def nll(vectors: Array) -> Array:
        return np.array([-log_likelihood(p, y).sum() for p in model_.predict(vectors)])

    return nll


def _parameters(
    model_: Model, nll: Nll, x: Array, least: float, intervals: bool, profiles: bool
) -> tuple[Parameter, ...]:
    if not len(x):
        return ()
    if not intervals:
        nan = float("nan")
        values = [model_.natural(j, float(v)) for j, v in enumerate(x)]
        return tuple(Parameter(*pair, nan, nan, nan, None) for pair in zip(model_.names, values, strict=True))
    low, high = model_.bounds
    inside = (x > low + 1e-6) & (x < high - 1e-6)
    errors = np.full(len(x), np.nan)
    errors[inside] = standard_errors(_inner(nll, x, inside), x[inside])
    found = []
    for j, name in enumerate(model_.names):
        se = float(errors[j])
        if profiles:
            edge = profile(nll, x, least, j, se, model_.bounds)
        else:
            edge = Interval(x[j] - 1.96 * se, x[j] + 1.96 * se)
        ends = [model_.natural(j, end) for end in (edge.low, edge.high)]
        value = model_.natural(j, float(x[j]))
        slope = (model_.natural(j, x[j] + 1e-5) - model_.natural(j, x[j] - 1e-5)) / 2e-5
        found.append(Parameter(name, value, float(se * slope), ends[0], ends[1], edge.identified))
    return tuple(found)


def _inner(nll: Nll, x: Array, inside: NDArray[np.bool_]) -> Nll:
    """The likelihood over the parameters that do not lie on a bound."""

    def inner(vectors: Array) -> Array:
        full = np.repeat(x[None], len(vectors), axis=0)
        full[:, inside] = vectors
        return nll(full)

    return inner
