"""MemoryBank's curve and its three ways to forget."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from halflife.agent.forgetting import ForgettingCurve, forgotten
from halflife.decay import DAY
from halflife.errors import InvalidInput

STRENGTHS, DAYS = [1, 1, 1, 3, 6], [1, 5, 10, 5, 10]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("paper", [0.368, 0.007, 0.000, 0.189, 0.189]),
        ("code_as_written", [0.819, 0.368, 0.135, 0.050, 0.000]),
        ("ebbinghaus", [0.819, 0.368, 0.135, 0.717, 0.717]),
    ],
)
def test_the_three_curves_have_their_known_values(kind, expected):
    assert ForgettingCurve(kind).retention(DAYS, STRENGTHS).round(3).tolist() == expected


@given(st.floats(0, 1e4), st.integers(1, 50), st.floats(0.1, 100))
def test_a_recall_slows_forgetting_except_in_the_code_as_written(t, strength, unit):
    for kind in ("ebbinghaus", "paper"):
        curve = ForgettingCurve(kind, unit)
        assert curve.retention(t, strength + 1) >= curve.retention(t, strength)
    slip = ForgettingCurve("code_as_written", unit)
    assert slip.retention(t, strength + 1) <= slip.retention(t, strength)


@pytest.mark.parametrize("kind", ["ebbinghaus", "paper", "code_as_written"])
def test_half_is_left_at_the_half_life(kind):
    curve = ForgettingCurve(kind)
    assert curve.retention(curve.half_life([1, 4]), [1, 4]) == pytest.approx([0.5, 0.5])


def test_the_same_day_and_a_clock_gone_backwards_lose_nothing():
    assert ForgettingCurve().retention([0.0, -3.0], 1).tolist() == [1.0, 1.0]


def test_as_a_law_it_is_the_same_curve():
    curve = ForgettingCurve()
    state = curve.law.reinforce(curve.law.initial(), 0.0)
    assert curve.law.retention(7 * DAY, state) == pytest.approx(float(curve.retention(7.0, 2)))
    with pytest.raises(InvalidInput, match="ebbinghaus"):
        _ = ForgettingCurve("code_as_written").law


def test_bad_input_is_refused():
    with pytest.raises(InvalidInput, match="ebbinghaus, paper"):
        ForgettingCurve("ebinghaus")
    for unit in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidInput, match="unit_days"):
            ForgettingCurve(unit_days=unit)
    for strength in (0, float("nan")):
        with pytest.raises(InvalidInput, match="strength"):
            ForgettingCurve().retention(1.0, strength)
    with pytest.raises(InvalidInput, match="threshold, draw, hazard"):
        forgotten([0.5], "coin")
    with pytest.raises(InvalidInput, match="threshold"):
        forgotten([0.5], threshold=2)
    for mode in ("draw", "hazard"):
        with pytest.raises(InvalidInput, match="rng"):
            forgotten([0.5], mode)


def survivors(mode: str, checks: int, n: int = 40_000) -> float:
    """Share of n memories of strength 1 that are alive after 5 days with so many equally spaced checks."""
    curve, rng = ForgettingCurve(), np.random.default_rng(0)
    alive, before = np.ones(n, dtype=bool), np.ones(n)
    for day in np.linspace(0, 5, checks + 1)[1:]:
        now = np.full(n, float(curve.retention(day, 1)))
        alive &= ~forgotten(now, mode, before=before, rng=rng)
        before = now
    return float(alive.mean())


@pytest.mark.parametrize("checks", [1, 5, 50])
def test_hazard_follows_the_curve_however_often_it_is_checked(checks):
    assert survivors("hazard", checks) == pytest.approx(np.exp(-1), abs=0.01)


def test_drawing_anew_at_each_check_compounds():
    assert survivors("draw", 1) == pytest.approx(np.exp(-1), abs=0.01)
    # exp(-(1 + 2 + 3 + 4 + 5) / 5)
    assert survivors("draw", 5) == pytest.approx(np.exp(-3), abs=0.01)


def test_a_threshold_needs_no_chance():
    assert forgotten([0.09, 0.1, 0.11]).tolist() == [True, False, False]


@pytest.mark.parametrize("mode", ["draw", "hazard"])
def test_certainties_stay_certain(mode):
    rng = np.random.default_rng(0)
    assert not forgotten(np.ones(1000), mode, rng=rng).any()
    assert forgotten(np.zeros(1000), mode, before=0.0, rng=rng).all()
