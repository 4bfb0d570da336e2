"""Characters, and a back-test that cannot look ahead and pays its costs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from halflife.agent.trading import MARGIN, Backtest, Character
from halflife.errors import InvalidInput

PRICES = st.lists(st.floats(1.0, 1000.0), min_size=2, max_size=40)


@given(PRICES)
def test_holding_without_costs_earns_what_the_price_does(prices):
    result = Backtest(prices, lambda day, seen: 0.0, cost=0.0).hold()
    assert result.cumulative == pytest.approx(prices[-1] / prices[0] - 1.0)


@given(PRICES, st.floats(0.0, 0.05))
def test_a_decision_sees_no_later_price(prices, cost):
    def decide(day, seen):
        assert seen.tolist() == prices[: day + 1]
        assert seen.base is None  # nor can it be reached through the array
        seen[:] = -1.0  # what it does to its own copy is its own affair
        return 1.0 if day % 2 else -1.0

    result = Backtest(prices, decide, cost).run()
    assert len(result.returns) == len(prices) - 1


@given(PRICES, st.floats(0.001, 0.05))
def test_costs_are_paid_for_every_change_of_position(prices, cost):
    def swing(day, seen):
        return 1.0 if day % 2 else -1.0

    free, paid = Backtest(prices, swing, 0.0).run(), Backtest(prices, swing, cost).run()
    assert free.returns.sum() - paid.returns.sum() == pytest.approx(cost * paid.turnover)
    assert paid.turnover == 1.0 + 2.0 * (len(prices) - 2)


def test_metrics_by_hand():
    prices = [100.0, 110.0, 99.0, 99.0, 108.9]
    result = Backtest(prices, lambda day, seen: [1.0, 0.5, 1.0, 0.0][day], cost=0.0).run()
    assert result.returns.tolist() == pytest.approx([0.1, -0.05, 0.0, 0.0])
    assert result.cumulative == pytest.approx(1.1 * 0.95 - 1.0)
    assert result.drawdown == pytest.approx(0.05)
    assert result.hits == 0.5  # of two days with a position and a change
    returns = np.array([0.1, -0.05, 0.0, 0.0])
    assert result.sharpe == pytest.approx(returns.mean() / returns.std(ddof=1) * math.sqrt(252))
    assert result.turnover == pytest.approx(3.0)


def test_a_short_position_gains_when_the_price_falls():
    result = Backtest([100.0, 90.0], lambda day, seen: -1.0, cost=0.0).run()
    assert result.cumulative == pytest.approx(0.1)
    assert result.hits == 1.0
    assert math.isnan(result.sharpe)


def test_doing_nothing_earns_nothing_and_is_never_right():
    result = Backtest([100.0, 90.0, 95.0], lambda day, seen: 0.0).run()
    assert (result.cumulative, result.drawdown, result.turnover) == (0.0, 0.0, 0.0)
    assert math.isnan(result.hits)
    assert math.isnan(result.sharpe)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Backtest([100.0], lambda day, seen: 0.0),
        lambda: Backtest([100.0, 0.0], lambda day, seen: 0.0),
        lambda: Backtest([100.0, math.nan], lambda day, seen: 0.0),
        lambda: Backtest([1.0, 2.0], lambda day, seen: 0.0, cost=-0.1),
        lambda: Backtest([1.0, 2.0], lambda day, seen: 1.5).run(),
        lambda: Backtest([1.0, 2.0], lambda day, seen: math.nan).run(),
        lambda: Character("reckless"),
    ],
)
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(InvalidInput):
        wrong()


@pytest.mark.parametrize("risk", list(MARGIN))
def test_the_averse_need_more_to_act(risk):
    character, margin = Character(risk), MARGIN[risk]
    assert character.act(margin) == character.act(-margin) == "hold"
    assert (character.act(margin + 0.01), character.act(-margin - 0.01)) == ("buy", "sell")
    assert MARGIN["seeking"] < MARGIN["neutral"] < MARGIN["averse"]


def test_a_character_describes_itself():
    said = Character("averse", ("mining", "steel"), "You speak in short sentences.").describe()
    assert "strong evidence" in said
    assert "mining, steel" in said
    assert said.endswith("short sentences.")
