"""Reading environments and learning off their traces: how often tasks come back, and how soon new ones are learned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats
from scipy.optimize import minimize_scalar
from scipy.special import zeta

from halflife.continual.evaluator import Point
from halflife.errors import InvalidInput

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def intervals(tasks: Sequence[int]) -> NDArray[np.int64]:
    """The numbers of episodes from each practice of a task to its next, of all tasks together.

    >>> intervals([0, 1, 0, 0, 1]).tolist()
    [2, 1, 3]
    """
    last: dict[int, int] = {}
    found = []
    for now, task in enumerate(tasks):
        if task in last:
            found.append(now - last[task])
        last[task] = now
    return np.array(found, dtype=np.int64)


def survival(values: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The distinct values, and the share of all that are at least as large: a line on logarithmic axes for a power law.

    >>> values, shares = survival([1, 1, 2, 4])
    >>> values.tolist(), shares.tolist()
    ([1, 2, 4], [1.0, 0.5, 0.25])
    """
    found, counts = np.unique(np.asarray(values, dtype=np.int64), return_counts=True)
    return found, counts[::-1].cumsum()[::-1] / counts.sum()


@dataclass(frozen=True)
class PowerLawFit:
    """A power law fitted to intervals, and how it stands against an exponential.

    Parameters
    ----------
    exponent: a of `P(x) ~ x^-a`, x >= least. low, high: its 95 % interval (profile likelihood).
    rate: of the exponential `P(x) ~ exp(-rate x)` on the same intervals.
    ratio: the log-likelihood of the power law above that of the exponential. z: over its standard error (Vuong 1989);
        above 2 the power law is the better, below -2 the exponential. p: two-sided.
    count: intervals that were used. least: the smallest.
    """

    exponent: float
    low: float
    high: float
    rate: float
    ratio: float
    z: float
    p: float
    count: int
    least: int


def fit_power_law(values: ArrayLike, least: int = 1) -> PowerLawFit:
    """Fit a discrete power law by maximum likelihood, and compare it with a discrete exponential.

    Parameters
    ----------
    values: whole numbers, such as `intervals`. least: those below are left out.

    Source: Clauset, Shalizi and Newman 2009, sections 3 and 5 and appendix C.

    Raises
    ------
    InvalidInput: fewer than three values, all of them alike, or one below 1.

    >>> rng = np.random.default_rng(0)
    >>> heavy, light = fit_power_law(rng.zipf(2.5, 2000)), fit_power_law(rng.geometric(0.2, 2000))
    >>> heavy.low < 2.5 < heavy.high, heavy.z > 2, light.z < -2
    (True, True, True)
    """
    x = np.asarray(values, dtype=np.float64)
    if least < 1 or (x < 1).any() or (x != np.floor(x)).any():
        raise InvalidInput("Intervals are whole numbers from 1.", "Count episodes, and take least >= 1.")
    x = x[x >= least]
    if len(x) < 3 or x.min() == x.max():
        raise InvalidInput(f"{len(x)} intervals that differ too little cannot be fitted.", "Watch for longer.")
    logs, count = np.log(x), len(x)

    def loss(a: float) -> float:
        return float(a * logs.sum() + count * np.log(zeta(a, least)))

    best = minimize_scalar(loss, bounds=(1 + 1e-6, 20.0), method="bounded", options={"xatol": 1e-8})
    a, reach = float(best.x), float(stats.chi2.ppf(0.95, 1)) / 2
    rate = float(np.log1p(1 / (x.mean() - least)))
    power = -a * logs - np.log(zeta(a, least))
    exponential = np.log(-np.expm1(-rate)) - rate * (x - least)
    difference = power - exponential
    ratio, sd = float(difference.sum()), float(difference.std(ddof=0))
    z = ratio / (np.sqrt(count) * sd) if sd > 0 else 0.0
    low, high = _edge(loss, a, best.fun + reach, -1), _edge(loss, a, best.fun + reach, 1)
    return PowerLawFit(a, low, high, rate, ratio, float(z), float(2 * stats.norm.sf(abs(z))), count, least)


def _edge(loss: Callable[[float], float], a: float, level: float, side: int) -> float:
    """Where the loss crosses a level on one side of its least."""
    inside, outside = a, a + side * (0.5 if side > 0 else a - 1 - 1e-9)
    while side > 0 and loss(outside) < level:
        outside = a + 2 * (outside - a)
    for _ in range(60):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if loss(middle) < level else (inside, middle)
    return inside


@dataclass(frozen=True)
class Learning:
    """How a new task was learned.

    Parameters
    ----------
    task: which. updates: until its accuracy first reached the criterion; if it never did, those that were watched.
    reached: whether it did; otherwise `updates` is a lower bound (censored). area: its mean accuracy over the tests.
    """

    task: int
    updates: int
    reached: bool
    area: float


def forward_facilitation(points: Iterable[Point], criterion: float, within: int | None = None) -> list[Learning]:
    """How soon each new task was learned: fewer updates for later tasks than for the first is facilitation.

    The first task is that of a fresh network. Growing weights confound it: compare with a run without rehearsal too.

    Parameters
    ----------
    points: the curve of a run with `evaluate_every`. criterion: accuracy to reach, in (0, 1].
    within: watch so many updates of each task; None: as long as it is being learned.

    Raises
    ------
    InvalidInput: a criterion out of range.

    >>> curve = [Point(10, 0, 0, 0.5), Point(20, 0, 0, 0.8), Point(30, 1, 1, 0.6)]
    >>> [(one.updates, one.reached) for one in forward_facilitation(curve, 0.7)]
    [(20, True), (10, False)]
    """
    if not 0 < criterion <= 1:
        raise InvalidInput(f"The criterion is {criterion}.", "Use an accuracy above 0, at most 1.")
    own: dict[int, list[tuple[int, float]]] = {}
    ends: dict[int, int] = {}
    for point in points:
        ends[point.learning] = point.update
        if point.task == point.learning:
            own.setdefault(point.task, []).append((point.update, point.accuracy))
    found = []
    for task, tests in sorted(own.items()):
        start = ends.get(task - 1, 0)
        watched = [(update - start, a) for update, a in tests if within is None or update - start <= within]
        if not watched:
            continue
        reached = [since for since, a in watched if a >= criterion]
        area = float(np.mean([a for _, a in watched]))
        found.append(Learning(task, reached[0] if reached else watched[-1][0], bool(reached), area))
    return found
