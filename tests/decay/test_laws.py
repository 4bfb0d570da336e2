"""What every law promises, whatever its formula."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import gamma

from halflife.decay import (
    AGAIN,
    DAY,
    EASY,
    LAWS,
    ActR,
    Exponential,
    ForwardDecay,
    HalfLifeRegression,
    Law,
    LayeredExponential,
    Power,
    PowerExponential,
    PurePower,
    Savings,
    State,
    Stretched,
    law,
    law_from_dict,
)
from halflife.errors import InvalidInput

EVERY: list[Any] = [
    *(law(name) for name in LAWS),
    Exponential(unit=3.0, ceiling=0.8, cap=5.0),
    Power(exponent=2.0, ceiling=0.4),
    PowerExponential(exponent=0.1, interference=0.0),
    Stretched(shape=2.0, ceiling=0.9),
    ActR(decay=1.0, threshold=-11.0, noise=1.0),
    HalfLifeRegression.leitner(),
    HalfLifeRegression.pimsleur(),
    ForwardDecay(rate=2.0, g="polynomial"),
    law("fsrs6", whole_days=True),
]
SMOOTH = [one for one in EVERY if not getattr(one, "whole_days", False)]


def named(one: Any) -> str:
    return f"{one.name}-{EVERY.index(one)}"


def practised(one: Law, gaps: list[float], grades: list[int]) -> State:
    state = one.initial()
    for gap, grade in zip(gaps, grades, strict=False):
        state = one.reinforce(state, gap, grade)
    return state


HISTORIES = (
    st.lists(st.floats(0.0, 100 * DAY), max_size=6),
    st.lists(st.integers(1, 4), min_size=6, max_size=6),
)


@pytest.mark.parametrize("one", EVERY, ids=named)
@settings(max_examples=20, deadline=None)
@given(*HISTORIES)
def test_retention_starts_at_its_ceiling_and_never_rises(one: Law, gaps: list[float], grades: list[int]) -> None:
    state = practised(one, gaps, grades)
    curve = one.retention(np.concatenate([[0.0], np.geomspace(1e-3, 1e11, 200)]), state)
    assert ((curve >= 0.0) & (curve <= 1.0)).all()
    assert (np.diff(curve) <= 1e-12).all()
    if not isinstance(one, ActR):
        assert curve[0] == pytest.approx(getattr(one, "ceiling", 1.0))


@pytest.mark.parametrize("one", SMOOTH, ids=named)
@settings(max_examples=20, deadline=None)
@given(*HISTORIES, st.floats(0.01, 0.999))
def test_time_to_inverts_retention(one: Law, gaps: list[float], grades: list[int], target: float) -> None:
    state = practised(one, gaps, grades)
    at = one.time_to(target, state)
    if one.retention(0.0, state) <= target:
        assert at == 0.0
    elif np.isfinite(at):
        assert one.retention(at, state) == pytest.approx(target, rel=1e-6)
    assert one.time_to(0.5, state) == one.half_life(state)


@pytest.mark.parametrize("one", EVERY, ids=named)
def test_no_target_gives_nan(one: Law) -> None:
    times = one.time_to(np.array([0.0, 0.5, 1.0]), one.initial())
    assert not np.isnan(times).any()
    assert times[0] >= times[1] >= times[2] == 0.0


@pytest.mark.parametrize("one", EVERY, ids=named)
def test_the_plain_form_is_json_and_reads_back(one: Law) -> None:
    assert law_from_dict(json.loads(json.dumps(one.to_dict()))) == one
    assert isinstance(one, Law)


@pytest.mark.parametrize("one", EVERY, ids=named)
def test_arrays_and_numbers_agree(one: Law) -> None:
    gaps, grades = np.array([60.0, 2 * DAY, 40 * DAY]), np.array([1, 3, 4])
    together = one.reinforce(one.initial(np.array([3, 1, 4])), gaps, grades)
    elapsed = np.array([[0.0], [DAY], [30 * DAY]])
    table = one.retention(elapsed, together)
    assert table.shape == (3, 3)
    assert one.half_life(together).shape == (3,)
    for i, first in enumerate((3, 1, 4)):
        alone = one.reinforce(one.initial(first), float(gaps[i]), int(grades[i]))
        assert all(np.ndim(v) == 0 for v in vars(alone).values())
        for name, value in vars(alone).items():
            assert getattr(together, name)[i] == pytest.approx(value), name
        assert table[:, i] == pytest.approx([float(one.retention(float(t), alone)) for t in elapsed[:, 0]])


@pytest.mark.parametrize("one", EVERY, ids=named)
def test_one_state_meets_many_recalls(one: Law) -> None:
    state = one.reinforce(one.initial(), np.array([DAY, 2 * DAY]), np.array([[3], [1], [4]]))
    assert {np.shape(v) for v in vars(state).values()} == {(3, 2)}
    assert one.retention(DAY, state).shape == (3, 2)


@pytest.mark.parametrize("one", EVERY, ids=named)
@pytest.mark.parametrize("elapsed", [-1.0, float("nan"), np.array([1.0, np.nan]), np.array([0.0, -1e-9])])
def test_time_does_not_run_backwards(one: Law, elapsed: Any) -> None:
    with pytest.raises(InvalidInput, match="Elapsed"):
        one.retention(elapsed, one.initial())
    with pytest.raises(InvalidInput, match="Elapsed"):
        one.reinforce(one.initial(), elapsed)


@pytest.mark.parametrize("one", [one for one in EVERY if one.name != "act-r"], ids=named)
@pytest.mark.parametrize("stability", [0.0, -1.0, float("nan"), float("inf"), np.array([1.0, np.nan])])
def test_a_strength_must_be_positive(one: Law, stability: Any) -> None:
    for call in (one.half_life, lambda s: one.retention(1.0, s)):
        with pytest.raises(InvalidInput, match="Stability"):
            call(State(stability, difficulty=5.0))


def test_actr_needs_its_counts() -> None:
    with pytest.raises(InvalidInput, match="uses"):
        ActR().retention(1.0, State(1.0, uses=0.0))


@pytest.mark.parametrize("one", EVERY, ids=named)
def test_bad_grades_and_targets_are_refused(one: Law) -> None:
    for grade in (0, 5, 2.5, float("nan")):
        with pytest.raises(InvalidInput, match="grade"):
            one.initial(grade)
        with pytest.raises(InvalidInput, match="grade"):
            one.reinforce(one.initial(), 1.0, grade)
    for target in (-0.1, 1.1, float("nan")):
        with pytest.raises(InvalidInput, match="target"):
            one.time_to(target, one.initial())


@pytest.mark.parametrize("one", EVERY, ids=named)
def test_no_traces_is_no_error(one: Law) -> None:
    state = one.initial(np.empty(0))
    assert one.retention(np.empty(0), state).shape == (0,)
    assert one.half_life(one.reinforce(state, np.empty(0), np.empty(0))).shape == (0,)


@pytest.mark.parametrize("one", EVERY, ids=named)
def test_retention_leaves_its_arguments_alone(one: Law) -> None:
    elapsed, state = np.array([1.0, DAY]), one.initial(np.array([3, 4]))
    before = elapsed.copy(), np.array(state.stability)
    one.retention(elapsed, state)
    assert (elapsed == before[0]).all()
    assert (np.asarray(state.stability) == before[1]).all()


@pytest.mark.parametrize("one", EVERY, ids=named)
def test_counts_are_kept_alike_by_every_law(one: Law) -> None:
    state = practised(one, [DAY, 2 * DAY, 3 * DAY], [3, AGAIN, EASY])
    assert (state.uses, state.lapses, state.span) == (4.0, 1.0, 6 * DAY)
    assert one.initial(AGAIN).lapses == 1.0


@pytest.mark.parametrize("one", EVERY, ids=named)
def test_a_recall_makes_memory_last(one: Law) -> None:
    if isinstance(one, LayeredExponential) or (isinstance(one, ForwardDecay) and one.g == "exponential"):
        return  # their strength is the layer's, or the stream's
    state = one.initial()
    kept = one.reinforce(state, 2 * DAY)
    lost = one.reinforce(state, 2 * DAY, AGAIN)
    at = max(one.half_life(state), 60.0)
    assert one.retention(at, kept) > one.retention(at, state)
    assert one.retention(at, lost) <= one.retention(at, kept)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("exponential", {"unit": 0.0}),
        ("exponential", {"ceiling": 1.5}),
        ("exponential", {"cap": -1.0}),
        ("power", {"exponent": float("nan")}),
        ("power-exponential", {"interference": -1.0}),
        ("act-r", {"threshold": float("inf")}),
        ("hlr", {"features": "words"}),
        ("fsrs6", {"weights": [1.0] * 19}),
        ("fsrs5", {"weights": [-1.0] * 19}),
        ("forward", {"g": "linear"}),
        ("exponential", {"halflife": 3.0}),
        ("ebbinghaus", {}),
    ],
)
def test_a_law_refuses_parameters_without_meaning(name: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        law(name, **wrong)


def test_memorybank_adds_one_unit_a_recall() -> None:
    one = Exponential(cap=3.0)
    state, days = one.initial(), []
    for _ in range(4):
        days.append(float(state.stability) / DAY)
        state = one.reinforce(state, DAY)
    assert days == [1.0, 2.0, 3.0, 3.0]
    assert one.retention(2 * DAY, one.initial()) == pytest.approx(np.exp(-2.0))


def test_stability_of_each_form_in_terms_of_the_half_life() -> None:
    state = State(10.0)
    assert Exponential().half_life(state) == pytest.approx(10 * np.log(2))
    assert Power(exponent=0.5).half_life(state) == pytest.approx(10 * (2**2 - 1))
    assert law("fsrs6").time_to(0.9, state) == pytest.approx(10.0)
    assert law("fsrs5").time_to(0.9, state) == pytest.approx(10.0)
    assert law("hlr").half_life(state) == pytest.approx(10.0)
    assert Power(ceiling=0.4).half_life(state) == 0.0


def test_a_crowd_of_exponentials_is_a_power_law() -> None:
    """Rates distributed as Gamma(k, theta) average to (1 + theta t)^-k exactly."""
    k, theta = 0.7, 0.3
    for t in (0.1, 1.0, 10.0, 100.0):
        # with u = rate^k the density of the rates has no singularity at zero
        total = quad(lambda u, t=t: np.exp(-(u ** (1 / k)) * (t + 1 / theta)), 0, np.inf)[0]
        mean = total / (gamma(k + 1) * theta**k)
        assert Power(exponent=k).retention(t, State(1.0 / theta)) == pytest.approx(mean, abs=1e-7)


def test_power_exponential_contains_both_its_parents() -> None:
    t, state = np.geomspace(1.0, 1e7, 50), State(DAY)
    assert PowerExponential(0.5, 0.0).retention(t, state) == pytest.approx(Power(0.5).retention(t, state))
    nearly = PowerExponential(exponent=1e-12, interference=1.0)
    assert nearly.retention(t, state) == pytest.approx(Exponential().retention(t, state))


def test_savings_reads_minutes_whatever_form_it_takes() -> None:
    minutes = np.array([0.2, 1.0, 19.0, 1440.0])
    expected = 1.84 / (np.log10(np.maximum(minutes, 1.0)) ** 1.25 + 1.84)
    assert Savings().retention(minutes * 60, Savings().initial()) == pytest.approx(expected)
    wixted = PurePower.from_amplitude(0.818, 0.13, unit_seconds=60)
    assert wixted.retention(minutes[1:] * 60, wixted.initial()) == pytest.approx(0.818 * minutes[1:] ** -0.13)


def test_layers_have_a_stability_each() -> None:
    one = LayeredExponential()
    state = one.initial(np.array([3, 3, 3]), layer=["short", "mid", "long"])
    assert one.retention(14 * DAY, state) == pytest.approx(np.exp(-14 / np.array([14.0, 90.0, 365.0])))
    assert one.promote(state, "long").stability == 365 * DAY
    with pytest.raises(InvalidInput, match="deep"):
        one.stability("deep")


def test_pimsleur_starts_at_five_seconds_and_leitner_halves_on_failure() -> None:
    pimsleur, leitner = HalfLifeRegression.pimsleur(), HalfLifeRegression.leitner()
    assert pimsleur.half_life(pimsleur.initial()) == pytest.approx(5.0, rel=0.03)
    state = practised(leitner, [DAY, DAY], [3, 3])
    assert leitner.half_life(leitner.reinforce(state, DAY, AGAIN)) == leitner.half_life(state) / 2
