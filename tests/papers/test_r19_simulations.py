"""MemoryBank's simulations do what their descriptions say."""

from __future__ import annotations

import numpy as np
import pytest

from halflife.agent.forgetting import ForgettingCurve
from halflife.papers.r19_simulations import answers, stream, survival


def mean_survival(kind, mode="hazard", seeds=8):
    runs = [survival(ForgettingCurve(kind), seed, mode=mode) for seed in range(seeds)]
    return np.mean([run.core for run in runs]), np.mean([run.other for run in runs])


def test_never_recalled_memories_survive_as_the_curve_says():
    expected = np.mean(np.exp(-np.arange(6, 31) / 5))
    assert mean_survival("ebbinghaus", seeds=20)[1] == pytest.approx(expected, abs=0.015)


def test_recalls_help_by_the_intended_curve_and_harm_by_the_code_as_written():
    core, other = mean_survival("ebbinghaus")
    assert core > other + 0.1
    core, other = mean_survival("code_as_written")
    assert core < other


def test_drawing_anew_each_day_leaves_next_to_nothing():
    core, other = mean_survival("ebbinghaus", mode="draw")
    assert other < 0.01
    assert core < mean_survival("ebbinghaus")[0]


def test_sizes_and_shares_agree():
    run = survival(ForgettingCurve(), seed=0, days=12, per_day=4)
    alive = np.nansum(run.share, axis=0) * 4
    assert alive == pytest.approx(run.size)
    assert (np.nan_to_num(np.diff(run.share, axis=1)) <= 0).all()  # nothing comes back
    assert np.isnan(run.share[5, 4])
    assert run.share[5, 5] == 1


@pytest.fixture(scope="module")
def days():
    return stream(seed=1, days=25)


def test_policies_are_compared_at_equal_size(days):
    bank = answers(days, "memorybank", seed=0)
    for policy in ("fifo", "lru", "random"):
        run = answers(days, policy, seed=0, sizes=bank.size)
        assert (run.size == bank.size).all()
        assert 0 <= run.hit <= 1


def test_keeping_everything_is_the_upper_bound(days):
    everything = answers(days, "none", seed=0)
    assert everything.size[-1] == len(days.written)
    assert everything.hit >= answers(days, "memorybank", seed=0).hit


def test_fifo_answers_only_about_the_newest(days):
    few = np.full(25, 20)
    assert answers(days, "fifo", seed=0, sizes=few).hit == pytest.approx(2 / 25, abs=1 / 25)


def test_a_seed_repeats_the_run(days):
    again = stream(seed=1, days=25)
    assert (again.vectors == days.vectors).all()
    assert answers(days, "memorybank", seed=3).hit == answers(again, "memorybank", seed=3).hit
