"""What the methods reach on digits in five tasks, frozen with their seeds: a change that breaks one is seen here."""

from __future__ import annotations

import pytest

from halflife.continual import AGEM, ER, EWC, DERpp, GDumb, ICaRL, Joint, LwF, Naive, class_incremental, permuted, run
from halflife.continual.metrics import paired

SETTINGS = {"seeds": 3, "batch_size": 16, "epochs": 10, "model": "mlp:100,100"}


@pytest.fixture(scope="module")
def results(digits):
    """Method -> results, each run once."""
    split = class_incremental(digits)
    methods = {
        "naive": Naive(lr=0.1), "joint": Joint(lr=0.1), "er": ER(capacity=100, lr=0.1),
        "er50": ER(capacity=50, lr=0.1), "derpp": DERpp(capacity=100, alpha=0.2, beta=1.0, lr=0.1),
        "lwf": LwF(lr=0.1), "icarl": ICaRL(capacity=100, lr=0.1), "gdumb": GDumb(capacity=100),
    }  # fmt: skip
    made = {}
    for name, method in methods.items():
        with pytest.warns(UserWarning, match="Holding") if method.expected else _quiet():
            made[name] = run(split, method, **SETTINGS)
    return made


def _quiet():
    from contextlib import nullcontext

    return nullcontext()


def test_naive_forgets_all_but_the_last_task(results):
    assert 0.17 <= results["naive"].interval("accuracy").mean <= 0.22
    assert results["naive"].interval("learning_accuracy").mean > 0.95
    assert results["naive"].interval("forgetting").mean > 0.9


def test_joint_keeps_everything(results):
    assert results["joint"].interval("accuracy").mean >= 0.92


def test_replay_lies_between(results):
    naive, er50, er, derpp = (results[name].interval("accuracy").mean for name in ("naive", "er50", "er", "derpp"))
    assert er >= 0.78
    assert derpp >= er
    assert naive < er50 < er < results["joint"].interval("accuracy").mean


def test_other_memories_work_too(results):
    assert results["icarl"].interval("accuracy").mean >= 0.75
    assert results["gdumb"].interval("accuracy").mean >= 0.8


def test_distillation_helps_where_the_task_is_told(results):
    assert results["lwf"].interval("task_accuracy").mean >= results["naive"].interval("task_accuracy").mean - 0.01
    assert results["lwf"].interval("accuracy").mean <= 0.3


def test_ewc_is_of_no_use_in_class_incremental_streams_and_says_so(digits):
    with pytest.warns(UserWarning, match="1 / tasks"):
        found = run(class_incremental(digits), EWC(lam=100.0, lr=0.1), **SETTINGS)
    assert found.interval("accuracy").mean <= 0.30


def test_ewc_helps_where_the_inputs_change(digits):
    settings = {**SETTINGS, "seeds": 3, "epochs": 6}
    stream = permuted(digits, tasks=4)
    ewc = run(stream, EWC(lam=30.0, lr=0.03), **settings)
    naive = run(stream, Naive(lr=0.03), **settings)
    assert paired(ewc["accuracy"], naive["accuracy"]).mean > 0.02


def test_agem_keeps_more_of_the_told_task(digits, results):
    found = run(class_incremental(digits), AGEM(capacity=100, lr=0.1), **SETTINGS)
    assert found.interval("task_accuracy").mean >= results["naive"].interval("task_accuracy").mean
