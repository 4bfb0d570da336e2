"""What fitting a law to a review log means: its free parameters, and the recalls they predict.

A curve gets its stability from the history, h = exp(theta . [1, sqrt(1 + right), sqrt(1 + wrong), ln(1 +
streak)]) days, the same for every curve, so that only the shapes differ. ACT-R, half-life regression and
FSRS bring their own rule for the history.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from halflife.decay.actr import ActR
from halflife.decay.curves import Exponential, Power, PowerExponential, PurePower, Savings, Stretched
from halflife.decay.fsrs import LOWER6, UPPER6, curve, first_difficulty, step
from halflife.decay.hlr import HalfLifeRegression
from halflife.decay.law import DAY, Array, Law, State
from halflife.decay.likelihood import Bounds
from halflife.decay.reviews import Reviews, Rows, replay
from halflife.errors import InvalidInput

STABILITY_TERMS = ("intercept", "right", "wrong", "streak")


@dataclass(frozen=True)
class Free:
    """A parameter of a law that is fitted: on a log or logit scale if it is positive or a fraction."""

    name: str
    scale: str = "log"

    def inward(self, value: float) -> float:
        """The unconstrained form of a value."""
        if self.scale == "log":
            return float(np.log(max(value, 1e-6)))
        if self.scale == "logit":
            value = min(max(value, 1e-3), 0.98)  # a ceiling of 1 is the edge, where there is no slope
            return float(np.log(value / (1.0 - value)))
        return value

    def outward(self, x: float) -> float:
        """The value of an unconstrained form."""
        if self.scale == "log":
            return float(np.exp(x))
        return float(1.0 / (1.0 + np.exp(-x))) if self.scale == "logit" else float(x)


# Each law's parameters that can be fitted; the second list is what is fitted unless said.
_FREE: dict[type, tuple[tuple[Free, ...], tuple[str, ...]]] = {
    Exponential: ((Free("ceiling", "logit"),), ()),
    Stretched: ((Free("shape"), Free("ceiling", "logit")), ("shape",)),
    Power: ((Free("exponent"), Free("ceiling", "logit")), ("exponent",)),
    PurePower: ((Free("exponent"),), ("exponent",)),
    PowerExponential: (
        (Free("exponent"), Free("interference"), Free("ceiling", "logit")),
        ("exponent", "interference"),
    ),
    Savings: ((Free("k"), Free("c")), ("c",)),
    ActR: ((Free("decay"), Free("threshold", "linear"), Free("noise")), ("decay", "threshold", "noise")),
    HalfLifeRegression: (
        (Free("bias", "linear"), Free("right", "linear"), Free("wrong", "linear")),
        ("bias", "right", "wrong"),
    ),
}


def free_parameters(law: Law, names: tuple[str, ...] | None) -> tuple[Free, ...]:
    """The parameters of a law to fit, by name, or those fitted unless said."""
    known, usual = _FREE.get(type(law), ((), ()))
    table = {one.name: one for one in known}
    unknown = [name for name in names or () if name not in table]
    if unknown:
        raise InvalidInput(f"{law.name} has no parameter {unknown[0]!r} to fit.", f"It has: {', '.join(table)}.")
    return tuple(table[name] for name in (usual if names is None else names))


class Model(Protocol):
    """A law to be fitted to a log."""

    names: tuple[str, ...]
    bounds: Bounds

    def starts(self, rng: np.random.Generator, count: int) -> Array:
        """Start vectors, shape [count, k]; the first is the law as it stands."""
        ...

    def predict(self, vectors: Array) -> list[Array]:
        """Recall of each scored review, for each vector."""
        ...

    def law(self, vector: Array) -> Law:
        """The law with fitted parameters."""
        ...

    def natural(self, j: int, x: float) -> float:
        """Parameter j in its own unit."""
        ...


def model(law: Law, reviews: Reviews, rows: Rows, free: tuple[str, ...] | None, own: bool) -> Model:
    """The model of a law on the scored rows of a log."""
    if own:
        return _Own(law, reviews, rows)
    if law.name in ("fsrs5", "fsrs6"):
        if free is not None:
            raise InvalidInput("FSRS is fitted whole.", "Leave `free` out, or pass own=True.")
        return _Fsrs(law, reviews, rows)
    if type(law) not in _FREE:
        raise InvalidInput(
            f"{law.name} predicts no recall that could be fitted.",
            "Fit exponential or power, or pass own=True.",
        )
    return _Shape(law, reviews, rows, free_parameters(law, free))


class _Own:
    """A law as it stands, with its own reinforcement: nothing to fit."""

    names: tuple[str, ...] = ()
    bounds: Bounds = (np.empty(0), np.empty(0))

    def __init__(self, law: Law, reviews: Reviews, rows: Rows) -> None:
        self._law, self._predicted = law, replay(law, reviews)[rows]

    def starts(self, rng: np.random.Generator, count: int) -> Array:
        return np.empty((1, 0))

    def predict(self, vectors: Array) -> list[Array]:
        return [self._predicted] * len(vectors)

    def law(self, vector: Array) -> Law:
        return self._law

    def natural(self, j: int, x: float) -> float:
        raise IndexError(j)


class _Shape:
    """A law whose state follows from counts of the history and a vector of parameters."""

    def __init__(self, law: Law, reviews: Reviews, rows: Rows, free: tuple[Free, ...]) -> None:
        history = reviews.history
        self._law, self._free = law, free
        self._elapsed = history.elapsed[rows]
        right, wrong = history.right[rows], history.wrong[rows]
        self._counts = State(1.0, 0.0, right + wrong, wrong, history.span[rows])
        shared = not isinstance(law, ActR | HalfLifeRegression)
        terms = [
            np.ones(len(rows)),
            np.sqrt(1.0 + right),
            np.sqrt(1.0 + wrong),
            np.log1p(history.streak[rows]),
        ]
        self._terms = np.stack(terms, axis=1) if shared else np.empty((len(rows), 0))
        self._shared = self._terms.shape[1]
        self.names = (*STABILITY_TERMS[: self._shared], *(one.name for one in free))
        self.bounds = (np.full(len(self.names), -20.0), np.full(len(self.names), 20.0))

    def starts(self, rng: np.random.Generator, count: int) -> Array:
        theta = [1.0, *np.zeros(3)][: self._shared]
        first = np.array([*theta, *(one.inward(getattr(self._law, one.name)) for one in self._free)])
        noise = rng.normal(scale=0.3, size=(count, len(first)))
        noise[0] = 0.0
        return np.clip(first + noise, *self.bounds)

    def law(self, vector: Array) -> Law:
        values = {f.name: f.outward(x) for f, x in zip(self._free, vector[self._shared :], strict=True)}
        fitted: Law = replace(self._law, **values)  # type: ignore[type-var]
        return fitted

    def predict(self, vectors: Array) -> list[Array]:
        return [self._one(vector) for vector in vectors]

    def natural(self, j: int, x: float) -> float:
        return x if j < self._shared else self._free[j - self._shared].outward(x)

    def _one(self, vector: Array) -> Array:
        law, state = self.law(vector), self._counts
        if isinstance(law, HalfLifeRegression):
            state = replace(state, stability=law.stability(state.uses, state.lapses))
        elif self._shared:
            days = np.exp(np.clip(self._terms @ vector[: self._shared], -30.0, 30.0))
            state = replace(state, stability=days * DAY)
        return law.retention(self._elapsed, state)


class _Fsrs:
    """All weights of FSRS within their published bounds, by replaying the log for many vectors at once."""

    def __init__(self, law: Any, reviews: Reviews, rows: Rows) -> None:
        self._law, self._reviews, self._rows = law, reviews, rows
        k = law.length
        self._unit = np.maximum(np.abs(law.weights), 0.05)  # a step of one matters alike for each
        self.names = tuple(f"w{i}" for i in range(k))
        self.bounds = (np.array(LOWER6[:k]) / self._unit, np.array(UPPER6[:k]) / self._unit)

    def starts(self, rng: np.random.Generator, count: int) -> Array:
        first: Array = np.array(self._law.weights) / self._unit
        noise = rng.normal(scale=0.1, size=(count, len(first)))
        noise[0] = 0.0
        return np.asarray(np.clip(first + noise, *self.bounds))

    def law(self, vector: Array) -> Law:
        fitted: Law = replace(self._law, weights=tuple((vector * self._unit).tolist()))
        return fitted

    def natural(self, j: int, x: float) -> float:
        return float(x * self._unit[j])

    def predict(self, vectors: Array) -> list[Array]:
        log, w = self._reviews, [column[:, None] for column in (vectors * self._unit).T]
        decay = w[20] if len(w) == 21 else 0.5
        days = log.history.elapsed / DAY
        if self._law.whole_days:
            days = np.floor(days)
        predicted = np.full((len(vectors), len(log)), np.nan)
        state: tuple[Array, Array] | None = None
        for rows in log.by_rank:
            grade = log.grade[rows]
            if state is None:
                stability = np.concatenate(w[:4], axis=1)[:, grade.astype(int) - 1]
                state = (stability, np.clip(first_difficulty(w, grade), 1.0, 10.0))
                continue
            state = (state[0][:, : len(rows)], state[1][:, : len(rows)])
            predicted[:, rows] = curve(days[rows] / state[0], decay)
            state = step(w, decay, state, days[rows], grade)
        return list(predicted[:, self._rows])
