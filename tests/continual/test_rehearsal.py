"""Rehearsal schedules, the environments made of them, and what is read off their traces."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from halflife.continual import EWC, Naive, class_incremental, permuted, run
from halflife.continual.evaluator import Point
from halflife.continual.recurrence import fit_power_law, forward_facilitation, intervals, survival
from halflife.continual.rehearsal import (
    ExponentialSchedule,
    NeedProbabilityStream,
    PowerLawSchedule,
    RecentSchedule,
    UniformSchedule,
    needed,
    rehearsed,
    together,
)
from halflife.errors import InvalidInput

SCHEDULES = [
    PowerLawSchedule(0.0), PowerLawSchedule(1.0), PowerLawSchedule(300.0), PowerLawSchedule(-2.0, reverse=True),
    ExponentialSchedule(1.0), ExponentialSchedule(1e-3), UniformSchedule(), RecentSchedule(),
]  # fmt: skip
schedules = st.sampled_from(SCHEDULES)
times = st.lists(st.integers(0, 1000), min_size=1, max_size=60)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def base(digits):
    return permuted(digits.take(12, 5), 4)


# -- schedules --------------------------------------------------------------------------------------------------------


@given(schedules, times)
def test_weights_are_shares(schedule, last):
    shares = schedule.weights(1000, last)
    assert shares.dtype == np.float64
    assert shares.shape == (len(last),)
    assert (shares >= 0).all()
    assert shares.sum() == pytest.approx(1.0)


@given(schedules, times, st.integers(0, 500), st.none() | st.integers(0, 9))
def test_a_budget_is_shared_out_whole(schedule, last, budget, seed):
    counts = schedule.allocate(budget, 1000, last, None if seed is None else rng(seed))
    assert counts.sum() == budget
    assert (counts >= 0).all()
    if seed is None:
        assert (np.abs(counts - budget * schedule.weights(1000, last)) < 1).all()
    else:
        assert counts.tolist() == schedule.allocate(budget, 1000, last, rng(seed)).tolist()


@given(st.floats(0, 5), times)
def test_the_power_law_is_a_power_of_the_lag(d, last):
    lags = np.maximum(1000 - np.array(last, dtype=float), 1)
    shares = PowerLawSchedule(d).weights(1000, last)
    assert shares == pytest.approx(lags**-d / (lags**-d).sum())


def test_the_ends_of_the_power_law_are_uniform_and_most_recent():
    last = [0, 3, 7]
    assert PowerLawSchedule(0.0).weights(8, last) == pytest.approx(UniformSchedule().weights(8, last))
    assert PowerLawSchedule(1e4).weights(8, last) == pytest.approx(RecentSchedule().weights(8, last))
    assert np.argmax(PowerLawSchedule(-1.0, reverse=True).weights(8, last)) == 0


def test_the_recent_schedule_shares_between_those_seen_last_together():
    assert RecentSchedule().weights(5, [1, 4, 4]).tolist() == [0, 0.5, 0.5]


def test_lags_below_one_count_as_one():
    assert PowerLawSchedule(1.0).weights(3, [3, 2]).tolist() == [0.5, 0.5]


def test_no_old_task_means_no_rehearsal():
    for schedule in SCHEDULES:
        assert schedule.allocate(10, 0, []).tolist() == []
        assert schedule.sample([], 3, 0, rng()).tolist() == []


def test_a_small_budget_leaves_tasks_out_and_says_so(caplog):
    with caplog.at_level("DEBUG", logger="halflife.continual.rehearsal"):
        counts = PowerLawSchedule(1.0).allocate(2, 10, range(10))
    assert counts.sum() == 2
    assert "not rehearsed" in caplog.text


@given(schedules, times, st.integers(0, 80), st.integers(0, 9))
def test_a_sample_of_a_store_takes_nothing_twice(schedule, last, k, seed):
    found = schedule.sample(last, k, 1000, rng(seed)).tolist()
    assert len(found) == len(set(found)) == min(k, int((schedule.weights(1000, last) > 0).sum()))
    assert all(0 <= position < len(last) for position in found)


def test_wrong_settings_are_refused():
    wrong = [
        lambda: PowerLawSchedule(-1.0), lambda: PowerLawSchedule(float("nan")), lambda: ExponentialSchedule(0.0),
        lambda: UniformSchedule().weights(3, [4]), lambda: UniformSchedule().weights(float("inf"), [4]),
        lambda: UniformSchedule().allocate(-1, 3, [1]), lambda: NeedProbabilityStream([]),
        lambda: NeedProbabilityStream([5], p_new=0.0), lambda: NeedProbabilityStream([5, 0]),
    ]  # fmt: skip
    for make in wrong:
        with pytest.raises(InvalidInput):
            make()


# -- environments -----------------------------------------------------------------------------------------------------


def parts(experience, base, seed):
    """How often each task's transform is shown, by position."""
    stream = base.stream(seed)
    orders = [stream[j].train.transforms[0].order for j in range(len(stream))]
    train = experience.train
    views = torch.zeros(len(train), dtype=torch.long) if train.view is None else train.view
    mine = [next(j for j, order in enumerate(orders) if torch.equal(one.order, order)) for one in train.transforms]
    return torch.tensor(mine)[views]


@pytest.mark.parametrize("passes", [1, 3])
def test_a_block_of_old_examples_follows_the_new_ones(base, passes):
    stream = rehearsed(base, PowerLawSchedule(1.0), 30, passes=passes, exact=True).stream(5)
    for t, experience in enumerate(stream):
        tasks, new = parts(experience, base, 5), 120 * passes
        assert (tasks[:new] == t).all()
        assert len(tasks) == new + (30 * passes if t else 0)
        expected = PowerLawSchedule(1.0).allocate(30, t, np.arange(t)) * passes
        assert torch.bincount(tasks[new:], minlength=t).tolist() == expected.tolist()
        index = experience.train.index
        for one in range(passes):
            assert sorted(index[120 * one : 120 * (one + 1)].tolist()) == sorted(base.data.train.index.tolist())


def test_every_example_is_seen_as_its_task_shows_it(base):
    stream, plain = rehearsed(base, UniformSchedule(), 20).stream(2), base.stream(2)
    x, y = stream[3].train.all()
    tasks = parts(stream[3], base, 2)
    for j in range(4):
        rows = (tasks == j).nonzero()[:, 0]
        raw = base.data.train.x[stream[3].train.index[rows]]
        assert torch.equal(x[rows], plain[j].train.transforms[0](raw))
    assert torch.equal(y, base.data.train.y[stream[3].train.index])


def test_mixing_shows_the_same_examples_in_another_order(base):
    apart = rehearsed(base, PowerLawSchedule(), 40).stream(1)[3]
    mixed = rehearsed(base, PowerLawSchedule(), 40, mixed=True).stream(1)[3]
    shown = [sorted(zip(parts(one, base, 1).tolist(), one.train.index.tolist(), strict=True)) for one in (apart, mixed)]
    assert shown[0] == shown[1]
    assert (parts(mixed, base, 1)[120:] == 3).any()


def test_without_a_schedule_the_block_is_of_the_new_task(base):
    stream = rehearsed(base, None, 30).stream(0)
    assert [len(one.train) for one in stream] == [120, 150, 150, 150]
    assert all((parts(one, base, 0) == t).all() for t, one in enumerate(stream))


def test_more_than_a_task_has_is_rehearsed_in_rounds(base):
    train = rehearsed(base, RecentSchedule(), 300).stream(0)[1].train
    assert torch.bincount(train.index[120:]).max() == 3


def test_the_same_seed_is_the_same_environment(base):
    for make in (lambda: rehearsed(base, PowerLawSchedule(), 40), lambda: needed(base, p_new=0.5, episode=20)):
        a, b, other = make().stream(3)[3].train, make().stream(3)[3].train, make().stream(4)[3].train
        assert torch.equal(a.index, b.index)
        assert torch.equal(a.view, b.view)
        assert len(a) != len(other) or not torch.equal(a.index, other.index)


def test_all_at_once_is_every_example_of_every_task(base):
    stream = together(base, passes=2).stream(0)
    assert len(stream) == 1
    assert torch.bincount(parts(stream[0], base, 0)).tolist() == [240] * 4
    assert len(stream.tests) == 4


def test_the_environment_is_the_same_for_the_validation_split(base):
    trial = rehearsed(base, PowerLawSchedule(), 40).validation(0.25)
    assert [len(one.train) for one in trial.stream(0)] == [90, 130, 130, 130]
    assert trial.described()["schedule"] == repr(PowerLawSchedule())


def test_new_classes_can_be_followed_by_old_ones_too(digits):
    stream = rehearsed(class_incremental(digits.take(12, 5)), UniformSchedule(), 10).stream(0)
    assert set(stream[2].classes) <= set(stream[2].seen)
    assert stream[2].seen == class_incremental(digits.take(12, 5)).stream(0)[2].seen


def test_any_method_learns_in_it_and_the_order_is_kept(base):
    run(rehearsed(base, PowerLawSchedule(), 30), EWC(lam=1.0, samples=20), batch_size=20)
    shown = []

    class Watched(Naive):
        def observe(self, batch):
            shown.append(batch.index)
            return super().observe(batch)

    environment = rehearsed(base, PowerLawSchedule(), 30)
    run(environment, Watched(), seeds=[6], batch_size=16)
    assert torch.cat(shown).tolist() == [i for one in environment.stream(6) for i in one.train.index.tolist()]
    with pytest.raises(InvalidInput, match="passes once"):
        run(environment, Naive(), epochs=2)


def test_rehearsal_keeps_what_is_lost_without(digits):
    tasks = permuted(digits.take(60, 20), 4)
    learner = Naive(lr=0.1, momentum=0.9)
    bare = run(rehearsed(tasks, None, 0, passes=3), learner, batch_size=20)
    kept = run(rehearsed(tasks, PowerLawSchedule(), 150, passes=3), learner, batch_size=20)
    assert kept["accuracy"][0] > bare["accuracy"][0] + 0.03


# -- by need ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.floats(0.2, 1.0), st.integers(1, 15), st.integers(0, 5))
def test_all_new_material_is_shown_once_and_in_order(sizes, p_new, episode, seed):
    new, seen = {task: [] for task in range(len(sizes))}, 0
    for task, indices in NeedProbabilityStream(sizes, 1.0, p_new, episode, seed=seed):
        assert 1 <= len(indices) <= episode
        assert len(set(indices.tolist())) == len(indices)
        assert task <= seen
        if task == seen:
            new[task] += indices.tolist()
            seen += len(new[task]) == sizes[task]
    assert all(sorted(shown) == list(range(size)) for shown, size in zip(new.values(), sizes, strict=True))


def test_a_stream_goes_on_where_it_was():
    def fresh():
        return NeedProbabilityStream([30, 30, 30], p_new=0.4, episode=7, passes=2, seed=3)

    whole = [(task, indices.tolist()) for task, indices in fresh()]
    first = fresh()
    start = [next(first) for _ in range(9)]
    resumed = fresh()
    resumed.load_state_dict(first.state_dict())
    rest = list(resumed)
    assert [(task, indices.tolist()) for task, indices in [*start, *rest]] == whole


def test_an_old_task_that_was_practised_is_recent_again():
    stream = NeedProbabilityStream([10] * 3, d=5.0, p_new=0.5, episode=10, seed=0)
    last: dict[int, int] = {}
    wins, draws = 0, 0
    for now, (task, _) in enumerate(stream):
        if task in last and len(last) > 1:
            draws += 1
            wins += task == max(last, key=lambda j: last[j])
        last[task] = now
    assert draws == 0 or wins / draws > 0.5


def test_experiences_begin_with_their_new_task(base):
    stream = needed(base, p_new=0.5, episode=20).stream(0)
    for t, experience in enumerate(stream):
        tasks = parts(experience, base, 0)
        assert tasks[0] == t
        assert (tasks <= t).all()
        assert (tasks == t).sum() >= 120


def test_recurrences_by_need_are_heavy_tailed_and_uniform_ones_are_less():
    fits = {}
    for d in (1.0, 0.0):
        practice = [one.task for one in NeedProbabilityStream([20] * 80, d, 0.25, 10, seed=1)]
        values, shares = survival(intervals(practice))
        inner = values <= 50
        slope = np.polyfit(np.log(values[inner]), np.log(shares[inner]), 1)[0]
        fits[d] = (fit_power_law(intervals(practice)), slope)
    assert fits[1.0][0].z > 2
    assert -1.6 < fits[1.0][1] < -0.4
    assert fits[0.0][0].exponent < fits[1.0][0].exponent


# -- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [1.8, 2.5, 3.5])
def test_a_power_law_is_found_again(exponent):
    draws = np.random.default_rng(7).zipf(exponent, 3000)
    fit = fit_power_law(draws)
    assert fit.low < exponent < fit.high
    assert fit.high - fit.low < 0.4
    assert fit.z > 2
    assert fit.count == 3000


def test_an_exponential_is_told_from_a_power_law():
    fit = fit_power_law(np.random.default_rng(7).geometric(0.1, 3000))
    assert fit.z < -2
    assert fit.p < 0.05
    assert fit.rate == pytest.approx(-np.log(0.9), rel=0.1)


def test_least_leaves_small_values_out():
    draws = np.random.default_rng(7).zipf(2.5, 5000)
    fit = fit_power_law(draws, least=3)
    assert fit.count == (draws >= 3).sum()
    assert fit.low < 2.5 < fit.high


def test_what_cannot_be_fitted_is_refused():
    for values in ([1, 2], [3, 3, 3, 3], [0, 1, 2], [1.5, 2, 3]):
        with pytest.raises(InvalidInput):
            fit_power_law(values)


@given(st.lists(st.integers(0, 5), max_size=50))
def test_intervals_are_the_time_between_two_practices(practice):
    found = sorted(intervals(practice).tolist())
    expected = []
    for task in set(practice):
        expected += np.diff([i for i, one in enumerate(practice) if one == task]).tolist()
    assert found == sorted(expected)


def test_facilitation_counts_from_the_switch_and_tells_what_was_not_reached():
    curve = [
        Point(2, 0, 0, 0.3), Point(4, 0, 0, 0.8), Point(6, 1, 0, 0.8), Point(6, 1, 1, 0.7), Point(8, 2, 2, 0.1),
        Point(10, 2, 2, 0.2),
    ]  # fmt: skip
    found = forward_facilitation(curve, 0.7)
    assert [(one.task, one.updates, one.reached) for one in found] == [(0, 4, True), (1, 2, True), (2, 4, False)]
    assert found[0].area == pytest.approx(0.55)
    assert [one.reached for one in forward_facilitation(curve, 0.7, within=2)] == [False, True, False]
    with pytest.raises(InvalidInput):
        forward_facilitation(curve, 0.0)
