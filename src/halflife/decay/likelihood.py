"""Maximum likelihood: the maximum, standard errors, profile intervals, and what the data cannot identify.

A negative log-likelihood takes a stack of parameter vectors [m, k] and gives m values, so that a model
which can evaluate many at once (FSRS replays the whole log) does so for finite differences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from halflife.decay.law import Array

Nll = Callable[[Array], Array]
Bounds = tuple[Array, Array]

CLIP = 1e-4  # probabilities are kept this far from 0 and 1, so that one surprise costs at most 9.2 nats
HALF_CHI2 = 0.5 * 3.841458820694124  # 95% point of chi-squared with one degree of freedom, halved
_STEP = 1e-4


def log_likelihood(p: Array, y: Array) -> Array:
    """Per review: y ln p + (1 - y) ln(1 - p), with p clipped to [1e-4, 1 - 1e-4]."""
    q = np.clip(p, CLIP, 1.0 - CLIP)
    return np.asarray(np.log(np.where(y > 0.0, q, 1.0 - q)))


@dataclass(frozen=True)
class Interval:
    """A 95% profile-likelihood interval; infinite on a side where the profile never rises far enough."""

    low: float
    high: float

    @property
    def identified(self) -> bool:
        """Whether the data bound the parameter on both sides."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))


def maximise(
    nll: Nll, starts: Array, bounds: Bounds, iterations: int = 300, central: bool = True
) -> tuple[Array, float]:
    """The best vector over the starts (L-BFGS-B on differences) and its negative log-likelihood.

    Differences in one direction halve the cost where a likelihood is dear.
    """
    best, least = starts[0], float(nll(starts[:1])[0])
    if starts.shape[1]:
        for start in starts:
            x, value = _descend(nll, start, bounds, iterations, central)
            if value < least:
                best, least = x, value
    return best, least


def standard_errors(nll: Nll, x: Array) -> Array:
    """From the inverse Hessian at the maximum; NaN for every parameter where it cannot be inverted."""
    k = len(x)
    eye = np.eye(k) * 1e-3
    pairs = [(i, j) for i in range(k) for j in range(i, k)]
    corners = [x + a * eye[i] + b * eye[j] for i, j in pairs for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
    values = nll(np.array(corners)).reshape(-1, 4) if pairs else np.empty((0, 4))
    hessian = np.zeros((k, k))
    for (i, j), v in zip(pairs, values, strict=True):
        hessian[i, j] = hessian[j, i] = (v[0] - v[1] - v[2] + v[3]) / 4e-6
    try:
        variances = np.diag(np.linalg.inv(hessian))
    except np.linalg.LinAlgError:
        return np.full(k, np.nan)
    with np.errstate(invalid="ignore"):
        return np.sqrt(variances)


def profile(nll: Nll, x: Array, least: float, j: int, se: float, bounds: Bounds) -> Interval:
    """Where the likelihood, maximised over all other parameters, falls 1.92 below its maximum."""
    step = 1.96 * se if np.isfinite(se) and se > 0.0 else 0.5
    return Interval(*(_edge(nll, x, least, j, sign * min(step, 2.0), bounds) for sign in (-1.0, 1.0)))


def _descend(
    nll: Nll, start: Array, bounds: Bounds, iterations: int, central: bool = True, tolerance: float = 2e-9
) -> tuple[Array, float]:
    from scipy.optimize import Bounds as Box
    from scipy.optimize import minimize

    k, low, high = len(start), *bounds

    def with_gradient(x: Array) -> tuple[float, Array]:
        up = np.minimum(x + _STEP * np.eye(k), high)
        down = np.maximum(x - _STEP * np.eye(k), low)
        if not central:  # one side, the one with room
            up = np.where(np.diag(high - x < _STEP), down, up)
            values = nll(np.concatenate([x[None], up]))
            return float(values[0]), (values[1:] - values[0]) / np.diag(up - x)
        values = nll(np.concatenate([x[None], up, down]))
        return float(values[0]), (values[1 : k + 1] - values[k + 1 :]) / np.diag(up - down)

    found = minimize(
        with_gradient,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=Box(low, high),
        options={"maxiter": iterations, "ftol": tolerance},
    )
    return np.asarray(found.x), float(found.fun)


def _edge(nll: Nll, x: Array, least: float, j: int, step: float, bounds: Bounds) -> float:
    """Step outwards until the profile is high enough, then close in on the crossing."""
    excess = _Excess(nll, least, j, bounds, [(float(x[j]), np.delete(x, j))])
    inside, inside_value = float(x[j]), -HALF_CHI2
    limit = float(bounds[0][j] if step < 0.0 else bounds[1][j])
    for _ in range(10):
        outside = x[j] + step
        if (outside - limit) * step >= 0.0:
            outside = limit
        outside_value = excess(outside)
        if outside_value > 0.0:
            return _cross(excess, (inside, inside_value), (outside, outside_value))
        if outside == limit:
            break
        inside, inside_value, step = outside, outside_value, step * 2.0
    return float(np.copysign(np.inf, step))


@dataclass
class _Excess:
    """How far the profile at a value of parameter j lies above the 95% line.

    The other parameters start from the nearest known optimum, or from the line through the two nearest: along a
    ridge the second stays on top, where the first may fall onto a plateau without a gradient.
    """

    nll: Nll
    least: float
    j: int
    bounds: Bounds
    known: list[tuple[float, Array]]

    def __call__(self, value: float) -> float:
        def fixed(vectors: Array) -> Array:
            return self.nll(np.insert(vectors, self.j, value, axis=1))

        low, high = (np.delete(bound, self.j) for bound in self.bounds)
        starts = np.clip(self._starts(value), low, high)
        best, height = starts[0], float(fixed(starts[:1])[0])
        if len(best):
            start = starts[fixed(starts).argmin()]
            best, height = _descend(fixed, start, (low, high), 60, tolerance=1e-7)
        self.known.append((value, best))
        return height - self.least - HALF_CHI2

    def _starts(self, value: float) -> Array:
        near = sorted(self.known, key=lambda point: abs(point[0] - value))[:2]
        if len(near) < 2:
            return near[0][1][None]
        (v0, rest0), (v1, rest1) = near
        return np.array([rest0, rest0 + (rest1 - rest0) * (value - v0) / (v1 - v0)])


def _cross(excess: Callable[[float], float], a: tuple[float, float], b: tuple[float, float]) -> float:
    """The zero between two points; the square root of the excess is nearly linear in the parameter."""
    middle = b[0]
    for _ in range(12):
        root_a, root_b, root = (np.sqrt(max(v + HALF_CHI2, 0.0)) for v in (a[1], b[1], 0.0))
        weight = np.clip((root - root_a) / max(root_b - root_a, 1e-12), 0.05, 0.95)
        middle = a[0] + weight * (b[0] - a[0])
        value = excess(middle)
        if abs(value) < 0.02:
            return float(middle)
        a, b = (a, (middle, value)) if value > 0.0 else ((middle, value), b)
    return float(middle)
