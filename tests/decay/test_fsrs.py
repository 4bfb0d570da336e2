"""FSRS against the published package, state by state."""

from datetime import UTC, datetime, timedelta

import fsrs
import numpy as np
import pytest

from halflife.decay import AGAIN, DAY, EASY, FSRS5, FSRS6, GOOD, HARD
from halflife.decay.fsrs import WEIGHTS6


def published(weights: tuple[float, ...], gaps: np.ndarray, grades: np.ndarray) -> list[tuple[float, float, float]]:
    """(stability in days, difficulty, retention just before) after each review, by the package."""
    scheduler = fsrs.Scheduler(parameters=weights, enable_fuzzing=False)
    card, now, states = fsrs.Card(card_id=1), datetime(2024, 1, 1, tzinfo=UTC), []
    for gap, grade in zip(gaps, grades, strict=True):
        now += timedelta(seconds=float(gap))
        retention = scheduler.get_card_retrievability(card, now)
        card, _ = scheduler.review_card(card, fsrs.Rating(int(grade)), now)
        assert card.stability is not None
        assert card.difficulty is not None
        states.append((card.stability, card.difficulty, retention))
    return states


@pytest.mark.parametrize("seed", range(20))
def test_whole_days_equal_the_published_package(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = tuple(np.array(WEIGHTS6) * rng.uniform(0.9, 1.0, 21)) if seed else WEIGHTS6
    weights = (*weights[:7], max(weights[7], 0.001), *weights[8:16], max(weights[16], 1.0), *weights[17:])
    gaps = np.round(rng.choice([300.0, 0.7 * DAY, DAY, 3.6 * DAY, 40 * DAY], size=25) * rng.uniform(0.5, 1.5, 25))
    gaps[0] = 0.0
    grades = rng.choice([AGAIN, HARD, GOOD, EASY], size=25, p=[0.3, 0.1, 0.5, 0.1])
    law, state = FSRS6(weights, whole_days=True), None
    for i, (stability, difficulty, retention) in enumerate(published(weights, gaps, grades)):
        if state is None:
            state = law.initial(grades[i])
        else:
            assert law.retention(gaps[i], state) == pytest.approx(retention, rel=1e-12)
            state = law.reinforce(state, gaps[i], grades[i])
        assert state.stability / DAY == pytest.approx(stability, rel=1e-10)
        assert state.difficulty == pytest.approx(difficulty, rel=1e-10)


def test_fractions_of_a_day_count_unless_told_otherwise() -> None:
    exact, whole = FSRS6(), FSRS6(whole_days=True)
    state = exact.initial()
    assert exact.retention(1.5 * DAY, state) < exact.retention(DAY, state) == whole.retention(1.5 * DAY, state)
    assert whole.retention(0.99 * DAY, state) == 1.0


def test_version_5_multiplies_by_one_factor_on_the_same_day() -> None:
    law = FSRS5()
    state = law.initial()
    again = law.reinforce(state, 600.0, HARD)
    assert again.stability / state.stability == pytest.approx(np.exp(0.51655 * (2 - 3 + 0.6621)))
    assert law.half_life(state) == pytest.approx(3.173 * DAY * 81 / 19 * 3)


def test_version_6_never_weakens_a_success_on_the_same_day() -> None:
    law = FSRS6()
    state = law.initial(np.array([1, 2, 3, 4]))
    for grade in (HARD, GOOD, EASY):
        after = law.reinforce(state, 600.0, grade)
        assert (np.asarray(after.stability) >= np.asarray(state.stability)).all()
    assert (np.asarray(law.reinforce(state, 600.0, AGAIN).stability) < np.asarray(state.stability)).all()


def test_a_lapse_shortens_and_waiting_for_a_success_lengthens_more() -> None:
    law = FSRS6()
    state = law.initial()
    gains = law.reinforce(state, np.array([1.0, 2.0, 8.0, 30.0]) * DAY).stability
    assert (np.diff(np.asarray(gains)) > 0).all()
    assert law.reinforce(state, 2 * DAY, AGAIN).stability < state.stability


def test_stability_and_difficulty_stay_in_their_bounds() -> None:
    law, state = FSRS6(), FSRS6().initial(np.array([AGAIN, EASY]))
    for _ in range(60):
        state = law.reinforce(state, np.array([2 * DAY, 4000 * DAY]), np.array([AGAIN, EASY]))
        assert (np.asarray(state.stability) >= 0.001 * DAY).all()
        assert (np.asarray(state.stability) <= 36_500 * DAY).all()
        assert ((np.asarray(state.difficulty) >= 1) & (np.asarray(state.difficulty) <= 10)).all()
    assert state.stability[1] == 36_500 * DAY
