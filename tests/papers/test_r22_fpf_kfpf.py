"""The reproduction of FPF: it runs end to end, counts what it spends, and its copies are what a run would give."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from halflife.continual import Naive, run
from halflife.continual.groups import group_parameters
from halflife.continual.methods.fpf import FPF
from halflife.papers import r22_learners as learners
from halflife.papers import r22_parts as parts
from halflife.papers.r22_fpf_kfpf import run as reproduce

AMOUNT = parts.AMOUNTS["smoke"]
SETTINGS = {"model": AMOUNT.model.build, "epochs": AMOUNT.epochs, "batch_size": AMOUNT.batch_size}


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def report(told):
    return reproduce("smoke", 3, lambda step, share: told.append(share))


def test_it_runs_and_tells_how_far_it_is(report, told):
    assert report.seeds == (3, 4)
    assert told == sorted(told)
    assert told[-1] <= 1
    assert {claim.name[0] for claim in report.claims} == {"A", "B", "C"}
    assert all(np.isfinite(claim.measured) for claim in report.claims)


def test_figures_are_drawn(report):
    for figure in report.figures:
        assert "<svg" in figure.svg()


def test_passes_of_arms(report):
    arms = {row[0]: row for row in report.tables[0].rows}
    seen = AMOUNT.epochs * 320
    extra = AMOUNT.steps * AMOUNT.batch_size
    assert arms["SGD"][4:7] == (seen, 0, 0)
    assert arms["SGD + norm + head"][4:7] == (seen, 0, extra)
    assert arms["ER"][4:7] == (seen, seen - AMOUNT.batch_size, 0)
    assert arms["DER++"][5] == 2 * arms["ER"][5]
    assert arms["k-FPF-SGD, k = 2"][4:7] == (seen, 0, 2 * AMOUNT.k_steps * AMOUNT.batch_size)
    assert arms["ER + its own steps"][6] == extra
    more = next(row for arm, row in arms.items() if arm.startswith("ER, "))
    assert more[5] == pytest.approx(arms["ER"][5] + extra, abs=2 * AMOUNT.batch_size)


def test_sensitivities_of_a_stream_sum_to_one(report):
    for name in ("new classes", "rotated pictures"):
        assert sum(row[3] for row in report.tables[1].rows if row[0] == name) == pytest.approx(1)


def test_choices_split_a_model():
    model = AMOUNT.model.build((1, 8, 8), 10)
    groups = group_parameters(model)
    rest = [*parts.members(model, "norm + head"), *parts.members(model, "hidden")]
    assert sorted(rest) == sorted(groups) == sorted(parts.members(model, "all"))
    assert parts.members(model, "norm") == ["norm", "norm statistics"]
    assert set(parts.members(model, "convolutions")) < set(parts.members(model, "hidden"))


def test_watching_leaves_the_training_alone_and_a_copy_is_tested_as_a_run_tests():
    scenario = parts.streams(AMOUNT)[0]
    shelf = learners.Shelf()
    watched = run(scenario, learners.Watched(learners.Keeper(lr=0.05, capacity=40), shelf), [1], **SETTINGS)
    plain = run(scenario, Naive(lr=0.05), [1], **SETTINGS)
    assert np.array_equal(watched.runs[0].seen, plain.runs[0].seen)
    assert parts.tested(scenario, shelf.learner.model, 1, "cpu") == pytest.approx(plain["accuracy"][0])
    kept = run(scenario, FPF(Naive(lr=0.05), capacity=40, steps=1), [1], **SETTINGS)
    assert np.array_equal(kept.runs[0].seen[:-1], plain.runs[0].seen[:-1])
    assert len(shelf.learner.buffer) == 40


class Here:
    """In place of a pool: what goes to a process and comes back is pickled, and runs here."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def map(self, function, *arguments):
        for given in zip(*arguments, strict=True):
            yield pickle.loads(pickle.dumps(function(*pickle.loads(pickle.dumps(given)))))


def test_seeds_in_processes_of_their_own_give_the_same(monkeypatch):
    made = []
    monkeypatch.setattr(parts, "ProcessPoolExecutor", lambda workers, *rest, **more: made.append(workers) or Here())
    small = replace(AMOUNT, per_class=8, test_per_class=5, steps=2, k_steps=2, passes=1)
    here, there = (parts.outcomes(replace(small, workers=n), [5], lambda step, share: None)[0] for n in (1, 2))
    assert made == [2]
    assert {arm: one.accuracy for arm, one in here.arms.items()} == {
        arm: one.accuracy for arm, one in there.arms.items()
    }
    assert here.dynamics == there.dynamics


def test_amounts_can_be_sent_to_a_process():
    assert pickle.loads(pickle.dumps(parts.AMOUNTS["gpu"])).model == parts.AMOUNTS["gpu"].model
