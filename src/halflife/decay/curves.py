"""Laws that are one curve with one time scale, from the exponential to the power law and their product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from halflife.decay.base import (
    ScaleLaw,
    ages,
    first,
    fractions,
    grades,
    require_ceiling,
    require_positive,
    stabilities,
    used,
)
from halflife.decay.law import DAY, GOOD, Array, ArrayLike, State
from halflife.errors import InvalidInput


@dataclass(frozen=True)
class Exponential(ScaleLaw):
    """R = ceiling * exp(-t/S), with MemoryBank's reinforcement S <- S + unit.

    Parameters
    ----------
    unit: days; the stability of a new trace, and what each successful recall adds.
    ceiling: retention at age zero, in (0, 1].
    cap: days; the largest stability, or None.

    Source: Ebbinghaus as used by MemoryBank (arXiv 2305.10250, section 2.3). The fall back to one unit
    after a failed recall is this toolkit's choice; the paper has no failures.

    >>> law = Exponential()
    >>> state = law.reinforce(law.initial(), 3600.0)
    >>> float(state.stability) / 86_400, round(float(law.half_life(state)) / 86_400, 3)
    (2.0, 1.386)
    """

    name: ClassVar[str] = "exponential"
    unit: float = 1.0
    ceiling: float = 1.0
    cap: float | None = None

    def __post_init__(self) -> None:
        require_positive(self, "unit")
        require_ceiling(self, self.ceiling)
        if self.cap is not None:
            require_positive(self, "cap")

    def _fall(self, x: Array) -> None:
        np.negative(x, out=x)
        np.exp(x, out=x)

    def _rise(self, r: Array) -> Array:
        return -np.log(r)

    def _strengthen(self, stability: Array) -> Array:
        return np.minimum(stability + self.unit * DAY, np.inf if self.cap is None else self.cap * DAY)


@dataclass(frozen=True)
class Stretched(ScaleLaw):
    """R = ceiling * exp(-(t/S)^shape): the stretched exponential (Weibull); shape < 1 has a heavy tail.

    Parameters
    ----------
    shape: the exponent, > 0; 1 is the exponential.
    unit: days; the stability of a new trace.
    gain: what a successful recall multiplies stability by (this toolkit's choice).
    ceiling: retention at age zero, in (0, 1].

    >>> law = Stretched(shape=0.5, unit=1.0)
    >>> round(float(law.retention(4 * 86_400.0, law.initial())), 4)          # exp(-2)
    0.1353
    """

    name: ClassVar[str] = "stretched"
    shape: float = 0.566
    unit: float = 7.0
    gain: float = 2.0
    ceiling: float = 1.0

    def __post_init__(self) -> None:
        require_positive(self, "shape", "unit", "gain")
        require_ceiling(self, self.ceiling)

    def _fall(self, x: Array) -> None:
        with np.errstate(over="ignore"):
            np.power(x, self.shape, out=x)
        np.negative(x, out=x)
        np.exp(x, out=x)

    def _rise(self, r: Array) -> Array:
        return np.asarray((-np.log(r)) ** (1.0 / self.shape))

    def _strengthen(self, stability: Array) -> Array:
        return stability * self.gain


@dataclass(frozen=True)
class Power(ScaleLaw):
    """R = ceiling * (1 + t/S)^-exponent: a power law that is defined at age zero.

    Parameters
    ----------
    exponent: psi > 0. With probes at t >> S only S^psi and psi are identified, not S itself.
    unit: days; the stability 1/beta of a new trace.
    gain: what a successful recall multiplies stability by (this toolkit's choice; there is no canonical
        rule).
    ceiling: lambda, retention at age zero, in (0, 1].

    Source: Wixted & Ebbesen 1991; Wickelgren 1974 without interference. A population of exponentials whose
    rates are Gamma distributed follows this curve exactly, so it says nothing about one trace.

    >>> law = Power(exponent=1.0, unit=2.0)
    >>> float(law.half_life(law.initial())) / 86_400
    2.0
    """

    name: ClassVar[str] = "power"
    exponent: float = 0.5
    unit: float = 1.0
    gain: float = 2.0
    ceiling: float = 1.0

    def __post_init__(self) -> None:
        require_positive(self, "exponent", "unit", "gain")
        require_ceiling(self, self.ceiling)

    def _fall(self, x: Array) -> None:
        np.log1p(x, out=x)
        x *= -self.exponent
        np.exp(x, out=x)

    def _rise(self, r: Array) -> Array:
        return np.expm1(np.log(r) / -self.exponent)

    def _strengthen(self, stability: Array) -> Array:
        return stability * self.gain


@dataclass(frozen=True)
class PurePower(ScaleLaw):
    """R = a * t^-exponent for t >= t0 = a^(1/exponent), and 1 before: Wixted's two-parameter power law.

    Parameters
    ----------
    exponent: b > 0.
    unit: days; the stability t0 of a new trace, up to which nothing is lost.
    gain: what a successful recall multiplies stability by (this toolkit's choice).

    Source: Wixted & Ebbesen 1991. `from_amplitude` takes the usual `a`.

    >>> law = PurePower.from_amplitude(0.818, 0.130, unit_seconds=60)   # Ebbinghaus's savings, by minutes
    >>> round(float(law.retention(1440 * 60.0, law.initial())), 3)
    0.318
    """

    name: ClassVar[str] = "pure-power"
    exponent: float = 0.25
    unit: float = 0.1
    gain: float = 2.0

    def __post_init__(self) -> None:
        require_positive(self, "exponent", "unit", "gain")

    @classmethod
    def from_amplitude(cls, a: float, exponent: float, unit_seconds: float = DAY) -> PurePower:
        """The law a * t^-exponent with t in units of `unit_seconds`."""
        return cls(exponent=exponent, unit=float(a ** (1.0 / exponent)) * unit_seconds / DAY)

    def _fall(self, x: Array) -> None:
        np.maximum(x, 1.0, out=x)
        np.power(x, -self.exponent, out=x)

    def _rise(self, r: Array) -> Array:
        return np.asarray(r ** (-1.0 / self.exponent))

    def _strengthen(self, stability: Array) -> Array:
        return stability * self.gain


@dataclass(frozen=True)
class Savings(ScaleLaw):
    """Q = k / (log10(t)^c + k), t in minutes >= 1: Ebbinghaus's savings in relearning, no recall probability.

    Parameters
    ----------
    k, c: the constants of the law, > 0.
    unit: days; what counts as "one minute" for a new trace. One minute is Ebbinghaus's law.
    gain: what a successful recall multiplies the unit by (this toolkit's choice).

    Source: Ebbinghaus 1885, section 29.

    >>> law = Savings()
    >>> [round(float(law.retention(m * 60.0, law.initial())), 2) for m in (19, 1440, 44640)]
    [0.58, 0.3, 0.21]
    """

    name: ClassVar[str] = "savings"
    k: float = 1.84
    c: float = 1.25
    unit: float = 60.0 / DAY
    gain: float = 2.0

    def __post_init__(self) -> None:
        require_positive(self, "k", "c", "unit", "gain")

    def _fall(self, x: Array) -> None:
        np.maximum(x, 1.0, out=x)
        np.log10(x, out=x)
        np.power(x, self.c, out=x)
        x += self.k
        np.divide(self.k, x, out=x)

    def _rise(self, r: Array) -> Array:
        return np.asarray(10.0 ** ((self.k * (1.0 / r - 1.0)) ** (1.0 / self.c)))

    def _strengthen(self, stability: Array) -> Array:
        return stability * self.gain


@dataclass(frozen=True)
class PowerExponential(ScaleLaw):
    """R = ceiling * (1 + t/S)^-exponent * exp(-interference * t): Wickelgren's power-exponential law.

    Parameters
    ----------
    exponent: psi > 0.
    interference: pi >= 0, per day; it does not scale with stability.
    unit: days; the stability 1/beta of a new trace.
    gain: what a successful recall multiplies stability by (this toolkit's choice).
    ceiling: lambda, the initial strength, in (0, 1].

    Source: Wickelgren 1974, equation 2.

    >>> law = PowerExponential(exponent=0.5, interference=0.01)
    >>> state = law.initial()
    >>> round(float(law.retention(law.half_life(state), state)), 9)
    0.5
    """

    name: ClassVar[str] = "power-exponential"
    exponent: float = 0.5
    interference: float = 0.01
    unit: float = 1.0
    gain: float = 2.0
    ceiling: float = 1.0

    def __post_init__(self) -> None:
        require_positive(self, "exponent", "unit", "gain")
        require_ceiling(self, self.ceiling)
        if not 0.0 <= self.interference < np.inf:
            raise InvalidInput(f"{self.name}: interference must be >= 0 per day, not {self.interference!r}.")

    def retention(self, elapsed: ArrayLike, state: State) -> Array:
        """How much is left `elapsed` seconds after the last reinforcement."""
        t = ages(elapsed)
        x = np.asarray(np.divide(t, stabilities(state.stability)))
        np.log1p(x, out=x)
        x *= -self.exponent
        if self.interference:
            x -= t * (self.interference / DAY)
        np.exp(x, out=x)
        if self.ceiling != 1.0:
            x *= self.ceiling
        return x[()]

    def time_to(self, target: ArrayLike, state: State) -> Array:
        """Seconds until retention falls to `target`.

        With u = 1 + t/S and a = pi*S/psi the law reads u * exp(a*u) = exp(a - ln(target/ceiling)/psi), so
        a*u is Wright's omega function; a Newton step then removes the cancellation of u - 1 at small t.
        """
        from scipy.special import wrightomega

        s = stabilities(state.stability)
        rate = self.interference / DAY
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            drop = -np.log(np.minimum(fractions(target) / self.ceiling, 1.0))
            if rate == 0.0:
                return np.asarray(s * np.expm1(drop / self.exponent))[()]
            a = rate * s / self.exponent
            t = s * np.maximum(wrightomega(np.log(a) + drop / self.exponent + a) / a - 1.0, 0.0)
            excess = self.exponent * np.log1p(t / s) + rate * t - drop
            polished = np.maximum(t - excess / (self.exponent / (s + t) + rate), 0.0)
        return np.where(np.isfinite(drop), polished, np.inf)[()]

    def _strengthen(self, stability: Array) -> Array:
        return stability * self.gain


@dataclass(frozen=True)
class LayeredExponential(ScaleLaw):
    """R = exp(-t/Q), one Q a layer: short, mid and long; a use resets the age, promotion changes the layer.

    Parameters
    ----------
    short, mid, long: days; the stability of each layer.

    Source: TradingGPT (arXiv 2309.03736), S_recency; the defaults are two weeks, a quarter, a year.

    >>> law = LayeredExponential()
    >>> state = law.initial(layer="mid")
    >>> [float(s.stability) / 86_400 for s in (state, law.promote(state, "long"))]
    [90.0, 365.0]
    """

    name: ClassVar[str] = "layered"
    short: float = 14.0
    mid: float = 90.0
    long: float = 365.0

    def __post_init__(self) -> None:
        require_positive(self, "short", "mid", "long")

    def stability(self, layer: str | Sequence[str]) -> ArrayLike:
        """Seconds of stability of a layer, or of each in a sequence of layers."""
        table = {"short": self.short, "mid": self.mid, "long": self.long}
        try:
            if isinstance(layer, str):
                return table[layer] * DAY
            return np.array([table[name] for name in layer]) * DAY
        except KeyError as error:
            raise InvalidInput(f"There is no layer {error.args[0]!r}.", "Use short, mid or long.") from None

    def initial(self, grade: ArrayLike = GOOD, layer: str | Sequence[str] = "short") -> State:
        """The state of a trace just written into a layer; the grade only counts a lapse."""
        return first(grade, self.stability(layer))

    def promote(self, state: State, layer: str | Sequence[str]) -> State:
        """The state after a move to another layer; the caller sets the trace's last use to now."""
        return replace(state, stability=self.stability(layer))

    def reinforce(self, state: State, elapsed: ArrayLike, grade: ArrayLike = GOOD) -> State:
        """The state after a use: the counts grow, the stability stays the layer's."""
        return used(state, ages(elapsed), grades(grade), stabilities(state.stability))

    def _fall(self, x: Array) -> None:
        np.negative(x, out=x)
        np.exp(x, out=x)

    def _rise(self, r: Array) -> Array:
        return -np.log(r)
