"""The stability gap's measures: fed or from arrays the same numbers, and the gradient split leaves no trace."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from halflife.continual import ER, Naive, class_incremental, rotated, run
from halflife.continual.evaluator import Point
from halflife.continual.gradient_split import GradientSplit
from halflife.continual.methods.weighted_er import WeightedER
from halflife.continual.stability import (
    LCA,
    Acc,
    Curves,
    Forgetting,
    MinAcc,
    WCAcc,
    WindowedForgetting,
    WindowedPlasticity,
    feed,
    metrics_from_curves,
)
from halflife.errors import InvalidInput
from tests.continual.stopped import Stopped, stop_after


@pytest.fixture(scope="module")
def small(digits):
    return class_incremental(digits.take(24, 10))


def objects(windows=(10, 100), beta=10):
    found = {"acc": Acc(), "forgetting": Forgetting(), "min_acc": MinAcc(), "wc_acc": WCAcc(), "lca": LCA(beta)}
    for m in windows:
        found |= {f"wf{m}": WindowedForgetting(m), f"wp{m}": WindowedPlasticity(m)}
    return found


@st.composite
def trainings(draw):
    """Accuracies of a training of a few tasks, tested every so many updates, tasks seen so far alone."""
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    every = draw(st.integers(1, 4))
    ends = np.cumsum(lengths)
    steps = np.arange(every, ends[-1] + 1, every)
    learning = np.searchsorted(ends, steps).tolist()
    grid = st.integers(0, 20).map(lambda n: n / 20)
    acc = np.full((len(steps), len(lengths)), np.nan)
    for row, k in enumerate(learning):
        acc[row, : k + 1] = draw(st.lists(grid, min_size=k + 1, max_size=k + 1))
    return acc, ends.tolist(), steps.tolist(), learning


def points(acc, steps, learning):
    return [
        Point(s, k, i, acc[row, i])
        for row, (s, k) in enumerate(zip(steps, learning, strict=True))
        for i in range(k + 1)
    ]


@given(trainings(), st.integers(1, 5), st.integers(1, 4))
def test_streaming_and_array_forms_agree_exactly(training, window, beta):
    acc, ends, steps, learning = training
    metrics = objects((window, 100), beta)
    feed(points(acc, steps, learning), list(metrics.values()))
    found = metrics_from_curves(acc, ends, steps, (window, 100), beta)
    assert {name: metric.result() for name, metric in metrics.items()} == found


@given(trainings(), st.integers(1, 6))
def test_laws_of_the_measures(training, window):
    acc, ends, steps, learning = training
    found = metrics_from_curves(acc, ends, steps, (window, window + 1))
    if (
        found["wc_acc"] is not None
        and learning
        and learning[-1] == len(ends) - 1
        and set(learning) == set(range(len(ends)))
    ):
        assert found["wc_acc"] <= found["acc"] + 1e-12
    if found["min_acc"] is not None:
        coarse = Curves.of(points(acc, steps, learning)).at_ends().metrics()["min_acc"]
        assert found["min_acc"] <= coarse + 1e-12
    for kind in ("wf", "wp"):
        if found[f"{kind}{window}"] is not None:
            assert 0 <= found[f"{kind}{window}"] <= found[f"{kind}{window + 1}"]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 8))
def test_windows_hold_every_pair_within_reach(values, m):
    pairs = [(a, b) for b in range(len(values)) for a in range(max(0, b - m + 1), b)]
    for metric, sign in ((WindowedForgetting(m), 1), (WindowedPlasticity(m), -1)):
        for step, value in enumerate(values):
            metric.update(step, 0, {0: value})
        assert metric.result() == max([0.0, *(sign * (values[a] - values[b]) for a, b in pairs)])


def test_the_first_task_has_no_worst_case_of_old_ones():
    found = metrics_from_curves([[0.5], [0.3]], task_ends=[2])
    assert found["min_acc"] is None
    assert found["wc_acc"] == 0.3
    assert found["forgetting"] is None


def test_the_minimum_excludes_the_time_in_which_the_task_was_learned():
    acc = [[0.1, np.nan], [0.9, np.nan], [0.6, 0.0], [0.8, 0.7]]
    assert metrics_from_curves(acc, [2, 4])["min_acc"] == 0.6


def test_windows_go_on_across_a_switch():
    acc = [[0.9, np.nan], [0.2, 0.5]]
    assert metrics_from_curves(acc, [1, 2], windows=(2,))["wf2"] == pytest.approx(0.35)


def test_lca_is_of_tasks_with_enough_tests():
    acc = [[0.2, np.nan], [0.4, np.nan], [0.6, np.nan], [0.6, 0.9]]
    assert metrics_from_curves(acc, [3, 4], beta=2)["lca"] == pytest.approx(0.3)
    assert metrics_from_curves(acc, [3, 4], beta=4)["lca"] is None


def test_a_gap_and_its_recovery():
    task1 = [0.9, 0.5, 0.2, 0.6, 0.79, 0.8]
    curve = [Point(3, 0, 0, 0.9)] + [Point(3 + n, 1, 0, a) for n, a in enumerate(task1[1:], 1)]
    (gap,) = Curves.of(curve).gaps(window=3)
    assert (gap.before, gap.lowest, gap.after, gap.at, gap.recovery) == (0.9, 0.2, 0.8, 2, 4)
    assert (gap.size, gap.recovered) == (pytest.approx(0.7), pytest.approx(0.6))
    (short,) = Curves.of(curve).gaps(window=1)
    assert (short.lowest, short.at) == (0.5, 1)


def test_shapes_that_do_not_fit_are_refused():
    for arguments in (
        ([[0.5]], [1, 2]),
        ([[0.5], [0.5]], [1]),
        ([[0.5, 0.5]], [2, 1]),
        ([[0.5]], [1], [1, 2]),
        ([[0.5], [0.6]], [5], [2, 2]),
    ):
        with pytest.raises(InvalidInput):
            metrics_from_curves(*arguments)
    for wrong in (lambda: WindowedForgetting(0), lambda: LCA(0), lambda: Curves.of([])):
        with pytest.raises(InvalidInput):
            wrong()


# -- weighted replay --------------------------------------------------------------------------------------------------


def test_the_memory_is_filled_at_the_end_of_a_task_with_all_classes_alike(small):
    sizes, held = [], []

    class Watched(WeightedER):
        def observe(self, batch):
            sizes.append(len(self.buffer))
            return super().observe(batch)

        def after_task(self, task):
            assert len({*sizes}) == 1  # it did not grow within the task
            sizes.clear()
            super().after_task(task)
            held.append(self.buffer.counts())

    run(small, Watched(capacity=40), batch_size=16)
    assert [max(counts.values()) - min(counts.values()) for counts in held] == [0, 0, 1, 0, 0]
    assert set(held[-1].values()) == {4}


def test_the_loss_is_the_weighted_sum_of_its_parts(small):
    seen = []

    class Watched(WeightedER):
        def losses(self, batch):
            found = super().losses(batch)
            seen.append(found)
            return found

    found = run(small, Watched(capacity=40, weight=0.3), batch_size=16, evaluate_every=1).runs[0]
    assert seen[0][0] is None
    for (stability, plasticity), logged in zip(seen, found.logged, strict=True):
        assert logged["loss"] == pytest.approx(plasticity.item() + (0.0 if stability is None else stability.item()))


def test_with_all_weight_on_the_new_it_is_training_without_memory(small):
    alone = run(small, Naive(lr=0.05), batch_size=16)
    weighted = run(small, WeightedER(capacity=40, weight=1.0, lr=0.05), batch_size=16)
    assert np.allclose(alone.runs[0].seen, weighted.runs[0].seen)


@pytest.mark.parametrize("weight", [0.0, 1.5])
def test_a_weight_outside_its_range_is_refused(small, weight):
    with pytest.raises(InvalidInput, match="weight"):
        run(small, WeightedER(weight=weight))


# -- runs -------------------------------------------------------------------------------------------------------------


def norm_net(shape, n_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.BatchNorm1d(20), nn.Dropout(0.3), nn.Linear(20, 10))


@pytest.mark.parametrize("every", [1, 3])
def test_training_is_the_same_with_tests_and_with_the_gradient_split(small, every):
    settings = {"batch_size": 16, "model": norm_net}
    plain = run(small, WeightedER(capacity=40), **settings).runs[0]
    tested = run(small, WeightedER(capacity=40), evaluate_every=every, subset=7, **settings).runs[0]
    split = run(small, GradientSplit(WeightedER(capacity=40)), evaluate_every=every, subset=7, **settings).runs[0]
    assert np.array_equal(plain.seen, tested.seen)
    assert np.array_equal(plain.seen, split.seen)
    assert tested.curve == split.curve


def test_the_norms_are_those_of_the_gradients_of_the_step(small):
    norms = []

    class Watched(WeightedER):
        def step(self, loss):
            logged = super().step(loss)
            norms.append(sum(p.grad.square().sum().item() for p in self.model.parameters()) ** 0.5)
            return logged

    found = run(small, GradientSplit(Watched(capacity=40)), batch_size=16, evaluate_every=1).runs[0]
    first = [one for one in found.logged if one["stability_grad_norm"] == 0]
    assert len(first) == 3  # the first task, in which nothing is old
    for one, norm in zip(found.logged, norms, strict=True):
        new, old = one["plasticity_grad_norm"], one["stability_grad_norm"]
        assert abs(new - old) - 1e-5 <= norm <= new + old + 1e-5
        if old == 0:
            assert norm == pytest.approx(new, rel=1e-4)


def test_a_method_with_one_loss_cannot_be_split():
    with pytest.raises(InvalidInput, match="two losses"):
        GradientSplit(ER())


def test_an_interrupted_run_goes_on_bit_for_bit(small, tmp_path, monkeypatch):
    method, settings = GradientSplit(WeightedER(capacity=40)), {"batch_size": 10, "evaluate_every": 2}
    straight = run(small, method, **settings).runs[0]
    stop_after(monkeypatch, 4)
    with pytest.raises(Stopped):
        run(small, method, checkpoint=tmp_path, checkpoint_every=3, **settings)
    resumed = run(small, method, checkpoint=tmp_path, checkpoint_every=3, **settings).runs[0]
    assert np.array_equal(straight.seen, resumed.seen)
    assert straight.curve == resumed.curve
    assert straight.logged == resumed.logged


def test_what_was_logged_is_among_the_rows(small):
    results = run(small, GradientSplit(WeightedER(capacity=40)), batch_size=16, evaluate_every=5)
    rows = [row for row in results.rows() if row["metric"] == "stability_grad_norm"]
    assert [row["update"] for row in rows] == [one["update"] for one in results.runs[0].logged]
    assert [row["value"] for row in rows] == [one["stability_grad_norm"] for one in results.runs[0].logged]


def test_the_gap_is_there_and_tests_at_ends_hide_it(digits):
    method = WeightedER(capacity=100, weight=0.3, lr=0.1, momentum=0.9)
    results = run(class_incremental(digits.take(60, 20)), method, epochs=3, batch_size=32, evaluate_every=1)
    curves = Curves.of(results.runs[0].curve)
    found, coarse = curves.metrics(), curves.at_ends().metrics()
    assert found["acc"] == coarse["acc"]
    assert found["min_acc"] < coarse["min_acc"] - 0.1
    first = curves.gaps()[0]
    assert first.size > 0.2
    assert first.recovered > 0.2


def test_a_subset_that_was_made_once_gives_what_the_test_gives(digits):
    tasks = rotated(digits.take(20, 10), angles=(0.0, 40.0))
    found = run(tasks, WeightedER(capacity=40), batch_size=16, evaluate_every=1, subset=None).runs[0]
    last = [point.accuracy for point in found.curve if point.update == found.updates]
    assert last == found.seen[-1].tolist()
