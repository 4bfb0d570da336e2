"""Characters of traders, and a back-test of what they decide.

Paper: TradingGPT, arXiv 2309.03736: agents with different attitudes to risk. How far an estimate must be from zero
before an agent acts is this toolkit's choice; the paper only describes its characters in words.

A back-test on past prices is no evidence of profit, least of all with a language model, whose training data may hold
the prices of the test period.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from halflife.decay.law import Array
from halflife.errors import InvalidInput

Risk: TypeAlias = Literal["seeking", "neutral", "averse"]
Decide: TypeAlias = Callable[[int, Array], float]

MARGIN: Mapping[Risk, float] = {"seeking": 0.0, "neutral": 0.1, "averse": 0.25}
_IN_WORDS: Mapping[Risk, str] = {
    "seeking": "You look for large gains and accept large losses on the way to them.",
    "neutral": "You weigh possible gains and losses alike.",
    "averse": "You would rather miss a gain than take a loss, and act on strong evidence only.",
}
TRADING_DAYS = 252  # in a year


@dataclass(frozen=True)
class Character:
    """Who an agent is: what it makes of risk, what it knows, and how it speaks.

    Parameters
    ----------
    risk: `seeking`, `neutral` or `averse`.
    sectors: what it knows best.
    prompt: more about it, in words, for a language model.

    >>> Character("averse", ("mining",)).act(0.2), Character("seeking").act(0.2)
    ('hold', 'buy')
    """

    risk: Risk = "neutral"
    sectors: tuple[str, ...] = ()
    prompt: str = ""

    def __post_init__(self) -> None:
        if self.risk not in get_args(Risk):
            raise InvalidInput(f"risk is {self.risk!r}.", f"Use one of {', '.join(get_args(Risk))}.")

    def act(self, estimate: float) -> str:
        """The action that an estimate in [-1, 1] leads to: none within the margin of its attitude."""
        if abs(estimate) <= MARGIN[self.risk]:
            return "hold"
        return "buy" if estimate > 0.0 else "sell"

    def describe(self) -> str:
        """The character in words, for a language model."""
        sectors = f"You know these sectors best: {', '.join(self.sectors)}." if self.sectors else ""
        return " ".join(part for part in (_IN_WORDS[self.risk], sectors, self.prompt) if part)


@dataclass(frozen=True)
class Result:
    """How a back-test went.

    Parameters
    ----------
    returns: the simple return of each day after costs, shape [days - 1].
    positions: what was held over each of these days, in [-1, 1], shape [days - 1].
    hits: share of the days with a position on which it had the right sign; NaN without one. Days without a change of
        price are left out.
    """

    returns: Array
    positions: Array
    hits: float

    @property
    def cumulative(self) -> float:
        """What 1 has gained or lost at the end."""
        return float(np.prod(1.0 + self.returns) - 1.0)

    @property
    def sharpe(self) -> float:
        """Mean over standard deviation of the daily returns, times the root of 252; NaN if they do not vary."""
        deviation = float(np.std(self.returns, ddof=1)) if len(self.returns) > 1 else 0.0
        return float(np.mean(self.returns)) / deviation * math.sqrt(TRADING_DAYS) if deviation > 1e-15 else math.nan

    @property
    def drawdown(self) -> float:
        """The largest fall from a peak, as a share of the peak; above 1 if a short position lost more than all."""
        wealth = np.concatenate([[1.0], np.cumprod(1.0 + self.returns)])
        return float(np.max(1.0 - wealth / np.maximum.accumulate(wealth)))

    @property
    def turnover(self) -> float:
        """The sum of all changes of position."""
        return float(np.sum(np.abs(np.diff(self.positions, prepend=0.0))))


@dataclass(frozen=True)
class Backtest:
    """A day-by-day walk through the prices of one asset, in which a decision sees no later price.

    Parameters
    ----------
    prices: positive, one a day, shape [days], at least two.
    decide: gives the position in [-1, 1] to hold until tomorrow, from the number of the day and the prices up to it.
    cost: share of the traded value that each change of position costs; 0.001 is 10 basis points.

    Raises
    ------
    InvalidInput: fewer than two prices, or one that is not positive and finite, or a negative cost.

    >>> prices = [100.0, 102.0, 101.0, 104.0]
    >>> always = Backtest(prices, lambda day, seen: 1.0, cost=0.0).run()
    >>> round(always.cumulative, 3), always.hits == 2 / 3, round(always.drawdown, 4)
    (0.04, True, 0.0098)
    """

    prices: Sequence[float] | NDArray[np.floating]
    decide: Decide
    cost: float = 0.001

    def __post_init__(self) -> None:
        prices = np.asarray(self.prices, dtype=np.float64)
        if prices.ndim != 1 or len(prices) < 2 or not (np.isfinite(prices).all() and (prices > 0.0).all()):
            raise InvalidInput("A back-test needs at least two prices, each positive and finite.")
        if not 0.0 <= self.cost < 1.0:
            raise InvalidInput(f"cost must lie in [0, 1), not {self.cost!r}.")

    def run(self) -> Result:
        """Decide on every day but the last. Raises `InvalidInput` for a position outside [-1, 1]."""
        prices = np.array(self.prices, dtype=np.float64)
        positions = np.array([self._position(day, prices[: day + 1].copy()) for day in range(len(prices) - 1)])
        change = np.diff(prices) / prices[:-1]
        returns = positions * change - self.cost * np.abs(np.diff(positions, prepend=0.0))
        told = (positions != 0.0) & (change != 0.0)
        hits = float(np.mean(np.sign(positions[told]) == np.sign(change[told]))) if told.any() else math.nan
        return Result(returns, positions, hits)

    def hold(self) -> Result:
        """The comparison that every back-test needs: buy on the first day, and hold."""
        return Backtest(self.prices, lambda day, seen: 1.0, self.cost).run()

    def _position(self, day: int, seen: Array) -> float:
        position = float(self.decide(day, seen))
        if not -1.0 <= position <= 1.0:  # NaN too
            raise InvalidInput(f"The position on day {day} must lie in [-1, 1], not {position!r}.")
        return position
