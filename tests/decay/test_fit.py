"""Fitting: the truth is found again, doubt is reported, and degenerate data get a sensible answer."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from halflife.decay import (
    DAY,
    FSRS6,
    LAWS,
    ActR,
    Candidate,
    Exponential,
    ForwardDecay,
    HalfLifeRegression,
    Law,
    Pavlik,
    Power,
    Reviews,
    Savings,
    State,
    Stretched,
    compare,
    fit,
    fit_curve,
    law,
    spacing,
)
from halflife.decay.compare import auc, reliability
from halflife.errors import InvalidInput


def simulated(one: Law, seed: int, items: int = 400, probes: int = 6, days: float = 2.0) -> Reviews:
    """A log drawn from a law whose stability is `days` times sqrt(1 + right); delays span three decades."""
    rng = np.random.default_rng(seed)
    time, right = np.zeros((items, probes + 1)), np.ones(items)
    grade = np.full((items, probes + 1), 3.0)
    for j in range(1, probes + 1):
        gap = DAY * 10 ** rng.uniform(0.0, 3.0, items)
        time[:, j] = time[:, j - 1] + gap
        recalled = rng.random(items) < one.retention(gap, State(days * DAY * np.sqrt(1.0 + right)))
        grade[:, j] = np.where(recalled, 3, 1)
        right += recalled
    return Reviews(np.repeat(np.arange(items), probes + 1), time.ravel(), grade.ravel())


def test_the_fit_finds_the_shape_again_within_its_interval() -> None:
    found = fit(Power(), simulated(Power(exponent=0.6), 0, items=200))
    exponent = found.parameters[-1]
    assert exponent.name == "exponent"
    assert exponent.identified
    assert exponent.low < 0.6 < exponent.high
    assert exponent.low < exponent.value < exponent.high
    assert exponent.se == pytest.approx((exponent.high - exponent.low) / 3.92, rel=0.4)
    assert isinstance(found.law, Power)
    assert found.law.exponent == exponent.value


@pytest.mark.parametrize("truth", [Exponential(), Power(exponent=0.5)])
def test_the_true_law_predicts_best(truth: Law) -> None:
    """With the power law's exponent fixed: freed, it contains the exponential as a limit."""
    rivals = [Candidate(one.name, one, free=()) for one in (Exponential(), Power(exponent=0.5))]
    for seed in range(3):
        assert compare(rivals, simulated(truth, seed, items=200), resamples=10).rows[0].label == truth.name


def test_criteria_follow_their_definitions() -> None:
    found = fit(Exponential(), simulated(Exponential(), 1, items=60), intervals=False)
    k, n, loglik = found.k, found.n, found.log_likelihood
    assert (k, n) == (4, 360)
    assert found.aic == pytest.approx(8 - 2 * loglik)
    assert found.aicc == pytest.approx(found.aic + 2 * k * (k + 1) / (n - k - 1))
    assert found.bic == pytest.approx(k * np.log(n) - 2 * loglik)
    assert found.log_loss == pytest.approx(-loglik / n)


def test_the_fit_is_a_maximum_and_starts_do_not_matter() -> None:
    log = simulated(Stretched(), 2, items=150)
    one, other = (fit(Stretched(), log, intervals=False, seed=seed) for seed in (0, 1))
    assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-3)
    y = log.recalled[log.scored()]
    p = np.clip(one.predict(log), 1e-4, 1 - 1e-4)
    assert np.log(np.where(y > 0, p, 1 - p)).sum() == pytest.approx(one.log_likelihood)


def test_what_the_data_cannot_identify_is_said() -> None:
    """At one delay only, with a stability of its own, no curve has an identified shape."""
    rng = np.random.default_rng(0)
    item, time = np.repeat(np.arange(300), 2), np.tile([0.0, 5 * DAY], 300)
    grade = np.where((time > 0) & (rng.random(600) < 0.4), 1, 3).astype(float)
    found = {p.name: p for p in fit(Power(), Reviews(item, time, grade)).parameters}
    assert found["exponent"].identified is False
    assert found["intercept"].identified is False


@pytest.mark.parametrize("one", [ActR(), HalfLifeRegression()])
def test_laws_with_their_own_history_are_fitted_by_their_own_parameters(one: Law) -> None:
    log = simulated(Power(), 3, items=150)
    found = fit(one, log, intervals=False)
    assert found.k == 3
    assert found.log_loss < fit(one, log, own=True).log_loss
    assert type(found.law) is type(one)


def test_fsrs_keeps_its_weights_on_a_short_log_and_improves_them_on_a_long_one() -> None:
    short = fit(FSRS6(), simulated(Power(), 4, items=50))
    assert (short.k, short.law) == (0, FSRS6())
    log = simulated(Power(exponent=0.3), 4, items=150)
    found = fit(FSRS6(), log, intervals=False)
    assert found.k == 21
    assert found.log_loss < fit(FSRS6(), log, own=True).log_loss
    one = found.law
    assert isinstance(one, FSRS6)
    own = fit(one, log, own=True)
    assert own.log_loss == pytest.approx(found.log_loss)
    assert found.predict(log) == pytest.approx(own.predict(log))


def test_later_reviews_do_not_leak_into_a_fit() -> None:
    log = simulated(Power(), 5, items=100)
    cut = float(np.median(log.time))
    changed = Reviews(log.item, log.time, np.where(log.time >= cut, 1.0, log.grade))
    one, other = (fit(Power(), each, until=cut, intervals=False) for each in (log, changed))
    assert one.log_likelihood == other.log_likelihood


def test_what_cannot_be_fitted_is_refused() -> None:
    log = simulated(Power(), 6, items=20)
    with pytest.raises(InvalidInput, match="no recall"):
        fit(ForwardDecay(), log)
    with pytest.raises(InvalidInput, match="no parameter 'cap'"):
        fit(Exponential(), log, free=("cap",))
    with pytest.raises(InvalidInput, match="whole"):
        fit(FSRS6(), simulated(Power(), 6, items=150), free=("weights",))
    with pytest.raises(InvalidInput, match="No review"):
        fit(Exponential(), log, until=0.0)
    with pytest.raises(InvalidInput, match="label"):
        compare([Power(), Power(exponent=1.0)], log)
    with pytest.raises(InvalidInput, match="split"):
        compare([Power()], log, train=0.0)


def test_a_comparison_holds_its_parts_together() -> None:
    log = simulated(Power(), 7, items=120)
    table = compare([Power(), Candidate("hlr as is", HalfLifeRegression(), own=True)], log, resamples=200)
    assert [row.test for row in table.rows] == sorted(row.test for row in table.rows)
    assert table.n_train + table.n_test == len(log.scored())
    average = table["AVG"]
    assert (average.k, average.auc, average.gain) == (1, 0.5, 0.0)
    for row in table.rows:
        assert row.gain == pytest.approx(average.test - row.test)
        assert row.gain_low <= row.gain <= row.gain_high
        assert row.reliability.count.sum() == table.n_test
        assert row.label in table.markdown()
    assert table.difference("AVG", "power")[0] == pytest.approx(table["power"].gain)
    with pytest.raises(InvalidInput, match="called 'sm2'"):
        table["sm2"]


def test_auc_and_reliability_by_hand() -> None:
    p, y = np.array([0.1, 0.4, 0.4, 0.8]), np.array([0.0, 0.0, 1.0, 1.0])
    assert auc(p, y) == (1 + 1 + 0.5 + 1) / 4
    assert auc(p, np.ones(4)) == 0.5
    bins = reliability(p, y, bins=2)
    assert bins.predicted == pytest.approx([0.25, 0.6])
    assert bins.observed.tolist() == [0.0, 1.0]


# Ebbinghaus 1885: minutes, and the savings in relearning.
MINUTES = np.array([19.0, 63.0, 525.0, 1440.0, 2880.0, 8640.0, 44640.0])
SAVINGS = np.array([0.582, 0.442, 0.358, 0.337, 0.278, 0.254, 0.211])


def aicc(curve: Any, start: list[float]) -> float:
    found = least_squares(lambda x: curve(np.exp(x)) - SAVINGS, np.log(start))
    n, k = len(SAVINGS), len(start)
    return float(n * np.log(2 * found.cost / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1))


def test_ebbinghaus_savings_are_no_exponential() -> None:
    t = MINUTES * 60.0
    power = aicc(lambda x: x[0] * MINUTES ** -x[1], [0.8, 0.1])
    savings = aicc(lambda x: Savings(k=float(x[0]), c=float(x[1])).retention(t, State(60.0)), [1.84, 1.25])
    exponential = aicc(lambda x: Exponential().retention(t, State(float(x[0]))), [1e5])
    assert exponential - savings > 15
    assert exponential - power > 15
    assert savings < power


DELAYS = np.array([1.0, 4.0, 16.0, 64.0]) * 3600


@pytest.mark.parametrize("name", sorted(LAWS))
def test_a_curve_gives_its_half_life_back(name: str) -> None:
    one = law(name)
    counts = np.full(4, 1e6)
    truth = fit_curve(one, DELAYS, [20, 15, 8, 2], [20] * 4)
    again = fit_curve(one, DELAYS, counts * truth.law.retention(DELAYS, truth.state), counts)
    assert again.half_life == pytest.approx(truth.half_life, rel=1e-3)
    assert truth.law.half_life(truth.state) == pytest.approx(truth.half_life, rel=1e-6)
    assert again.low < again.half_life < again.high < 1.05 * again.low or name == "savings"
    assert truth.low < truth.half_life < truth.high


@pytest.mark.parametrize("name", sorted(LAWS))
def test_curves_without_a_slope_are_censored(name: str) -> None:
    one = law(name)
    above = fit_curve(one, DELAYS, [20] * 4, [20] * 4)
    assert (above.censored, above.half_life, above.high) == ("above", np.inf, np.inf)
    assert above.low > DELAYS[-1]
    below = fit_curve(one, DELAYS, [0] * 4, [20] * 4)
    assert (below.censored, below.half_life, below.low) == ("below", 0.0, 0.0)
    assert below.high < DELAYS[0]
    point = fit_curve(one, 3600.0, 10, 20)
    assert point.censored == ""
    assert point.half_life == pytest.approx(3600.0, rel=1e-3)
    assert point.low < 3600.0 < point.high


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from([(Exponential(), ("ceiling",)), (Power(), ("exponent",)), (FSRS6(), ()), (ActR(), ())]),
    st.lists(st.tuples(st.floats(0.0, 1e8), st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=5),
)
def test_no_curve_gives_nan(case: tuple[Law, tuple[str, ...]], points: list[tuple[float, int, int]]) -> None:
    t = np.array([max(p[0], 1e-3) if p[0] else 0.0 for p in points] + [60.0])
    hits = np.array([p[1] for p in points] + [1])
    trials = hits + np.array([p[2] for p in points] + [1])
    found = fit_curve(case[0], t, hits, trials, free=case[1])
    assert not np.isnan([found.half_life, found.low, found.high, found.deviance, found.aic]).any()
    assert 0.0 <= found.low <= found.high


def test_a_freed_shape_is_used_only_where_there_are_delays_enough() -> None:
    assert fit_curve(Power(), DELAYS[:2], [9, 5], [10, 10], free=("exponent",)).k == 1
    assert fit_curve(Power(), DELAYS[:3], [9, 5, 4], [10, 10, 10], free=("exponent",)).k == 2


def test_bad_counts_are_refused() -> None:
    for hits, trials in (([3], [2]), ([-1], [2]), ([0], [0]), ([1], [float("nan")])):
        with pytest.raises(InvalidInput, match="retention curve"):
            fit_curve(Exponential(), [60.0], hits, trials)
    with pytest.raises(InvalidInput, match="later"):
        fit_curve(Exponential(), [0.0], [1], [2])


def test_spacing_helps_as_each_law_says() -> None:
    lags, month = np.geomspace(0.02, 300.0, 60) * DAY, 30 * DAY
    flat = spacing(Exponential(), lags, month)
    assert flat == pytest.approx(np.full(60, flat[0]))
    assert (np.diff(spacing(ActR(), lags, month)) < 0).all()
    late = [spacing(FSRS6(), lags[lags > DAY], interval) for interval in (month, 10 * month)]
    assert all((np.diff(curve) > 0).all() for curve in late)
    tested = spacing(FSRS6(), lags, month, tested=True)
    assert (tested <= spacing(FSRS6(), lags, month) + 1e-12).all()


def test_the_best_lag_is_interior_and_grows_with_the_interval() -> None:
    lags, intervals = np.geomspace(1.01, 300.0, 300) * DAY, np.array([3.0, 30.0, 180.0]) * DAY
    uses = np.stack([np.zeros_like(lags), lags], axis=1)
    for recall in (
        lambda interval: spacing(FSRS6(), lags, interval, tested=True),
        lambda interval: Pavlik().recall(uses, lags + interval),
    ):
        best = [int(recall(interval).argmax()) for interval in intervals]
        assert 0 < best[0] < best[1] < best[2] < len(lags) - 1
