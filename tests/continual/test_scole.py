"""Very long streams: which classes come, that it takes no room, group masking, curves, and replay of rare classes."""

from __future__ import annotations

import gc
import itertools
import math
import tracemalloc
import weakref
from collections import Counter

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from halflife.continual import ER, Method, Naive, class_incremental, run, task_free  # noqa: E402
from halflife.continual.methods.frequency_replay import Frequencies, FrequencyReplay  # noqa: E402
from halflife.continual.methods.group_masking import GroupMasking  # noqa: E402
from halflife.continual.results import Run  # noqa: E402
from halflife.continual.scole import (  # noqa: E402
    KACurve,
    class_probabilities,
    combination,
    frequency_correlation,
    group_mask_ce,
    ka_curves,
    ka_gain,
    retention,
    scole,
    time_to,
)
from halflife.errors import InvalidInput  # noqa: E402
from tests.continual.stopped import Stopped, stop_at  # noqa: E402


@pytest.fixture(scope="module")
def small(digits):
    return digits.take(20, 10)


def classes(data, seed=0, **settings):
    stream = scole(data, **settings).stream(seed)
    return [stream[t].classes for t in range(len(stream))]


class Nothing(Method):
    def observe(self, batch):
        return {"loss": 0.0}


# -- probabilities ------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(1, 150), st.floats(0, 8), st.integers(0, 99))
def test_probabilities_are_a_distribution_that_gets_steeper(n, s, seed):
    p = class_probabilities(n, s, seed)
    assert float(p.sum()) == pytest.approx(1)
    assert (p > 0).all()
    assert (p == class_probabilities(n, s, seed)).all()
    more = class_probabilities(n, s + 1, seed)
    assert float(more.max() / more.min()) >= float(p.max() / p.min()) - 1e-9


@pytest.mark.parametrize(("n", "factor"), [(10, 0.05), (100, 0.01)])
def test_probabilities_are_those_of_the_code(n, factor):
    p = np.ones(n) / n - (1 / n) * np.arange(n) * factor
    p /= p.sum()
    p = p**2 / (p**2).sum()
    np.testing.assert_allclose(np.sort(p)[::-1], class_probabilities(n, 2.0).sort(descending=True).values.numpy())


def test_which_class_is_rare_depends_on_the_seed_and_touches_no_global_generator():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    rarest = {int(class_probabilities(10, 2.0, seed).argmin()) for seed in range(20)}
    assert len(rarest) > 4
    assert torch.equal(before, torch.get_rng_state())


# -- streams ------------------------------------------------------------------------------------------------------


def test_tasks_can_be_asked_for_in_any_order(small):
    stream, again = (scole(small, tasks=60, entropy_decrease=2).stream(3) for _ in range(2))
    forward = [stream[t] for t in range(60)]
    for t in reversed(range(60)):
        assert again[t].classes == forward[t].classes
        assert torch.equal(again[t].train.index, forward[t].train.index)
    assert classes(small, seed=4, tasks=60) != classes(small, seed=5, tasks=60)


def test_a_task_has_all_of_its_classes_but_what_is_held_out(small):
    stream = scole(small, tasks=30, per_task=3).stream()
    for t in range(30):
        task = stream[t]
        assert set(task.train.labels.tolist()) == set(task.classes)
        assert len(task.train) == 54
        assert len(set(task.train.index.tolist())) == 54
        assert task.seen == tuple(range(10))
    assert len(scole(small, tasks=1, held_out=0.0).stream()[0].train) == 40
    rows = {row for t in range(30) for row in stream[t].train.index.tolist()}
    assert len(rows) == 200  # over a long stream all of it is trained on


def test_uniform_classes_come_equally_often(small):
    counts = Counter(c for task in classes(small, tasks=2000) for c in task)
    assert all(abs(counts[c] - 400) < 5 * math.sqrt(2000 * 0.2 * 0.8) for c in range(10))
    assert all(len(set(task)) == 2 for task in classes(small, tasks=100))


def test_rare_classes_come_as_often_as_they_should(small):
    p = class_probabilities(10, 4.0, 7).numpy()
    counts = Counter(c for task in classes(small, seed=7, tasks=2000, per_task=1, entropy_decrease=4) for c in task)
    found = np.array([counts[c] for c in range(10)]) / 2000
    assert (abs(found - p) < 5 * np.sqrt(p * (1 - p) / 2000)).all()


def test_probabilities_of_ones_own(small):
    p = [0.0] * 7 + [1.0, 2.0, 1.0]
    assert {c for task in classes(small, tasks=50, p=p) for c in task} == {7, 8, 9}
    with pytest.raises(InvalidInput, match="cannot be drawn from 3"):
        classes(small, tasks=50, per_task=4, p=p)


def test_modes(small):
    assert classes(small, tasks=3, mode="iid") == [tuple(range(10))] * 3
    two = classes(small, tasks=41, mode="incremental")
    assert {c for task in two[:20] for c in task} == set(range(5))
    assert {c for task in two[20:] for c in task} == set(range(5, 10))
    gone = classes(small, tasks=200, mode="forget_half")
    assert {c for task in gone[:101] for c in task} == set(range(10))
    assert {c for task in gone[101:] for c in task} == set(range(5))
    assert (
        classes(small, tasks=100, mode="cycle", change=0.0)
        == list(itertools.combinations(range(10), 2)) * 2 + list(itertools.combinations(range(10), 2))[:10]
    )
    changed = classes(small, tasks=450, mode="cycle", change=0.5)
    same = sum(a == b for a, b in zip(changed, list(itertools.combinations(range(10), 2)) * 10, strict=True)) / 450
    assert 0.15 < same < 0.40  # a quarter keeps both
    assert all(len(set(task)) == 2 for task in changed)
    some = classes(small, tasks=200, mode="pairs", share=0.2)
    assert len(set(some)) == 9
    assert some != classes(small, tasks=200, mode="pairs", share=0.2, seed=1)


@given(st.integers(1, 9), st.data())
def test_combinations_by_number(n, data):
    k = data.draw(st.integers(1, n))
    assert [tuple(combination(i, n, k)) for i in range(math.comb(n, k))] == list(itertools.combinations(range(n), k))


def test_a_combination_of_many_is_found_without_making_them():
    assert combination(math.comb(100, 10) - 1, 100, 10) == list(range(90, 100))


@pytest.mark.parametrize(
    "settings",
    [
        {"tasks": 0},
        {"per_task": 0},
        {"per_task": 11},
        {"mode": "forget_half", "per_task": 6},
        {"mode": "incremental", "per_task": 6},
        {"mode": "sometimes"},
        {"mode": "iid", "entropy_decrease": 1.0},
        {"mode": "forget_half", "entropy_decrease": 1.0},
        {"entropy_decrease": 1.0, "p": [0.1] * 10},
        {"entropy_decrease": -1.0},
        {"p": [0.5, 0.5]},
        {"p": [-1.0] + [1.0] * 9},
        {"held_out": 1.0},
        {"change": 1.5, "mode": "cycle"},
        {"share": 0.0, "mode": "pairs"},
    ],
)
def test_what_cannot_be_drawn_is_refused(small, settings):
    with pytest.raises(InvalidInput):
        classes(small, **{"tasks": 5, **settings})


def test_a_stream_takes_no_more_room_for_more_tasks(small):
    def room(tasks):
        stream = scole(small, tasks=tasks).stream()
        tracemalloc.start()
        for t in range(min(300, tasks)):
            stream[t * (tasks // 300)]
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return held

    room(300)
    assert room(300_000) < room(300) + 50_000


# -- long runs ----------------------------------------------------------------------------------------------------


def test_a_run_has_rows_after_every_so_many_tasks_and_after_the_last(small):
    long = scole(small, tasks=25, by_class=True)
    every, some = (
        run(long, GroupMasking(lr=0.05), model="mlp:16", batch_size=16, evaluate_tasks_every=n) for n in (1, 10)
    )
    assert every.runs[0].after == tuple(range(26))
    assert some.runs[0].after == (0, 10, 20, 25)
    np.testing.assert_array_equal(some.runs[0].seen, every.runs[0].seen[[0, 10, 20, 25]])
    rows = [row for row in some.rows() if row["metric"] == "R"]
    assert {row["after"] for row in rows} == {0, 10, 20, 25}


def test_rows_that_have_the_right_shape_by_chance_are_not_taken_for_a_matrix_of_tasks(small):
    long = scole(small, tasks=20, by_class=True)
    found = run(long, Naive(lr=0.05), model="mlp:16", batch_size=16, evaluate_tasks_every=2)
    assert found.runs[0].seen.shape == (11, 10)
    assert "forgetting" not in found.metrics
    assert found["accuracy"][0] == pytest.approx(found.runs[0].seen[-1].mean())


def test_tests_every_no_task_are_refused(small):
    with pytest.raises(InvalidInput, match="every 0 tasks"):
        run(scole(small, tasks=5), Naive(), evaluate_tasks_every=0)


def test_a_run_keeps_nothing_of_tasks_that_are_over(small):
    rows: list = []

    class Looking(Nothing):
        def before_task(self, task):
            rows.append(weakref.ref(task.train.index))

    run(scole(small, tasks=40), Looking(), model="mlp:8", batch_size=64, evaluate_tasks_every=40)
    gc.collect()
    assert len(rows) == 40
    assert sum(row() is not None for row in rows) <= 1


@pytest.mark.parametrize("method", [GroupMasking(lr=0.05, momentum=0.9), FrequencyReplay(ER(capacity=20), high=0.5)])
def test_resuming_gives_what_a_run_without_interruption_gives(small, tmp_path, method):
    def go(**more):
        return run(scole(small, tasks=12, entropy_decrease=2), method, model="mlp:16", batch_size=10, **more,
                   evaluate_tasks_every=3)  # fmt: skip

    whole = go()
    with pytest.raises(Stopped):
        go(checkpoint=tmp_path, checkpoint_every=3, progress=stop_at(0.6))
    again = go(checkpoint=tmp_path, checkpoint_every=3)
    assert (again.runs[0].seen == whole.runs[0].seen).all()
    assert again.runs[0].after == whole.runs[0].after == (0, 3, 6, 9, 12)
    assert again["forward_passes"] == whole["forward_passes"]


# -- group masking ------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 99))
def test_absent_classes_have_no_gradient_and_logits_stay_as_they_are(n, count, seed):
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, count, generator=rng, requires_grad=True)
    y = torch.randint(0, count, (n,), generator=rng)
    before = logits.detach().clone()
    loss = group_mask_ce(logits, y)
    (gradient,) = torch.autograd.grad(loss, logits)
    absent = [c for c in range(count) if c not in y.tolist()]
    assert (gradient[:, absent] == 0).all()
    assert torch.equal(logits.detach(), before)
    as_in_the_code = before.clone()
    as_in_the_code[:, absent] = -1e9
    torch.testing.assert_close(loss.detach(), F.cross_entropy(as_in_the_code, y))


def test_with_all_classes_it_is_cross_entropy():
    logits, y = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    torch.testing.assert_close(group_mask_ce(logits, y), F.cross_entropy(logits, y))
    torch.testing.assert_close(
        group_mask_ce(logits, y[:1].repeat(6), [0, 1, 2]), F.cross_entropy(logits, y[:1].repeat(6))
    )
    with pytest.raises(InvalidInput, match="not all among"):
        group_mask_ce(logits, y, [0, 1])


def test_masking_is_for_training_alone(small):
    long = scole(small, tasks=4, by_class=True)
    found = run(long, GroupMasking(lr=1e-12), model="mlp:16", batch_size=10)
    np.testing.assert_allclose(found.runs[0].seen[0], found.runs[0].seen[-1])  # as before training: all may be named


def test_a_fresh_optimiser_forgets_its_momentum(small):
    def end(**settings):
        return run(scole(small, tasks=6), GroupMasking(lr=0.02, **settings), model="mlp:16", batch_size=10).runs[0].seen

    assert not np.array_equal(end(momentum=0.9), end(momentum=0.9, fresh_optimizer=True))
    np.testing.assert_array_equal(end(momentum=0.0), end(momentum=0.0, fresh_optimizer=True))


# -- curves -------------------------------------------------------------------------------------------------------


def curve():
    shown = np.zeros((6, 2), bool)
    shown[[0, 1, 3], 0] = True
    shown[[2, 5], 1] = True
    accuracies = np.array([[0.0, 0.0], [0.9, 0.0], [0.9, 0.1], [0.5, 0.8], [0.9, 0.6], [0.7, 0.4], [0.5, 0.9]])
    return KACurve(np.arange(7), accuracies.mean(1), accuracies, shown)


def test_what_is_read_off_a_curve():
    made = curve()
    assert made.occurrences.tolist() == [[0, 0], [1, 0], [2, 0], [2, 1], [3, 1], [3, 1], [3, 2]]
    assert ka_gain(made, first=2, last=2) == pytest.approx((0.55 + 0.7) / 2 - (0.45 + 0.5) / 2)
    assert time_to(made, 0.6) == 3
    assert time_to(made, 0.99) is None
    assert retention(made, of=0) == {0: (pytest.approx(0.9), 3), 1: (pytest.approx(0.6), 2), 2: (0.5, 1)}
    both = retention(made)
    assert {lag: count for lag, (_, count) in both.items()} == {0: 5, 1: 3, 2: 2}
    assert retention(made, of=0, start=4) == {1: (pytest.approx(0.7), 1), 2: (pytest.approx(0.5), 1)}
    assert retention(made, of=0, stop=2) == {0: (pytest.approx(0.9), 2)}
    assert frequency_correlation(made, last=1) == pytest.approx(-1.0)


def test_what_a_curve_does_not_have_it_says():
    made = curve()
    bare = KACurve(made.tasks[[0, 6]], made.accuracy[[0, 6]], None, made.shown)
    with pytest.raises(InvalidInput, match="one test of all"):
        retention(bare)
    with pytest.raises(InvalidInput, match="no test within"):
        ka_gain(bare, first=5)


def test_curves_of_a_run_weigh_classes_by_their_tests(digits):
    long = scole(digits.take(10), tasks=10)
    one = run(long, Naive(lr=0.05), model="mlp:16", batch_size=16, evaluate_tasks_every=5)
    per_class = scole(digits.take(10), tasks=10, by_class=True)
    each = run(per_class, Naive(lr=0.05), model="mlp:16", batch_size=16, evaluate_tasks_every=5)
    (whole,), (parts,) = ka_curves(one, long), ka_curves(each, per_class)
    np.testing.assert_allclose(whole.accuracy, parts.accuracy)
    assert whole.classes is None
    assert parts.classes.shape == (3, 10)
    assert whole.tasks.tolist() == [0, 5, 10]
    assert whole.shown.sum() == 20


def test_knowledge_gathers_although_tasks_are_forgotten(digits):
    long = scole(digits, tasks=90, by_class=True)
    found = run(long, GroupMasking(lr=0.05), model="mlp:50", batch_size=32, evaluate_tasks_every=3)
    (made,) = ka_curves(found, long)
    assert ka_gain(made, first=10, last=20) > 0.3
    kept = retention(made, start=20)
    assert kept[0][0] > kept[8][0]
    naive = run(class_incremental(digits), Naive(lr=0.05), model="mlp:50", batch_size=32)
    assert made.final(20) > naive["accuracy"][0] + 0.3


def test_a_run_of_an_older_kind_has_its_rows():
    made = Run(0, np.zeros((3, 2)), np.zeros(0), (), 0, 0.0, {})
    assert "forgetting" in made.metrics()


# -- replay of rare classes ---------------------------------------------------------------------------------------


def test_classes_outside_the_range_are_not_replayed():
    counts = Frequencies(low=0.05, high=0.3, trigger=2)
    for t in range(40):
        counts.saw([0, *([1] if t % 5 == 0 else []), *([2] if t % 10 == 0 else []), *([3] if t == 7 else []),
                    *([4] if t in (3, 30) else [])])  # fmt: skip
    assert counts.rare([0], 5) == [2, 1]  # 0 comes too often, 3 too seldom, 4 in no more than the lowest share
    assert counts.rare([1], 5) == [2]
    assert counts.rare([0], 1) == [2]


def test_visits_may_count_by_accuracy():
    counts = Frequencies(low=0.0, high=0.5, trigger=0)
    for _ in range(4):
        counts.saw([0, 1], weights=[1.0, 0.25])
    assert counts.rare([], 2) == [1]


def spied(batches):
    class Spy(Naive):
        def observe(self, batch):
            batches.append(batch)
            return super().observe(batch)

    return Spy(lr=0.05)


def test_batches_hold_their_share_of_what_is_kept_of_rare_classes(small):
    batches: list = []
    long = scole(small, tasks=40, entropy_decrease=4)
    run(long, FrequencyReplay(spied(batches), low=0.0, high=0.15, per_class=12), model="mlp:16", batch_size=12,
        evaluate_tasks_every=40)  # fmt: skip
    stream = long.stream(0)
    replayed = Counter()
    for task, of_task in itertools.groupby(batches, key=lambda batch: batch.task):
        labels = torch.cat([batch.y for batch in of_task])
        extra = {c: int((labels == c).sum()) for c in set(labels.tolist()) - set(stream[task].classes)}
        assert set(extra.values()) <= {12}  # all that is kept, once
        assert len(extra) <= 2
        replayed.update(extra.keys())
    shown = Counter(c for t in range(40) for c in stream[t].classes)
    assert replayed
    assert max(shown[c] for c in replayed) < max(shown.values())
    assert len(batches) == 40 * 3  # as many updates as without
    for batch in batches:
        x, y = small.train.x[batch.index], small.train.y[batch.index]
        assert torch.equal(x, batch.raw)
        assert torch.equal(y, batch.y)


def test_random_replay_takes_a_budget(small):
    def passes(**settings):
        long = scole(small, tasks=15)
        found = run(long, FrequencyReplay(Naive(lr=0.05), **settings), model="mlp:16", batch_size=12)
        return found["forward_passes"][0]

    none, half, whole = (passes(choose="random", budget=budget) for budget in (0.0, 0.5, 1.0))
    assert none == 15 * 36
    assert none < half < whole <= 15 * 36 + 14 * 40


def test_replay_needs_to_know_where_a_task_ends(small):
    with pytest.raises(InvalidInput, match="FrequencyReplay"):
        run(task_free(scole(small, tasks=3)), FrequencyReplay(Naive()))


@pytest.mark.parametrize("settings", [{"low": 0.2, "high": 0.1}, {"trigger": -1}, {"per_class": 0}, {"budget": 2.0},
                                      {"choose": "never"}])  # fmt: skip
def test_replay_that_cannot_be_is_refused(settings):
    with pytest.raises(InvalidInput):
        FrequencyReplay(Naive(), **settings)
