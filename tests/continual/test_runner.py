"""Runs: the same from the same seed, through an interruption, and with or without tests in between."""

from __future__ import annotations

import csv
import json
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from halflife.continual import (
    AGEM,
    DER,
    ER,
    ERACE,
    EWC,
    L2,
    MAS,
    SI,
    Batch,
    DERpp,
    GDumb,
    ICaRL,
    Joint,
    LwF,
    Method,
    Naive,
    class_incremental,
    online,
    permuted,
    run,
    task_free,
    zipf,
)
from halflife.continual.transforms import Shift
from halflife.continual.tuning import changed, tune
from halflife.errors import Diverged, InvalidInput
from tests.continual.stopped import Stopped, stop_after

METHODS = [
    AGEM(capacity=30), DER(capacity=30), DERpp(capacity=30), ER(capacity=30), ER(capacity=30, policy="class_balanced"),
    ERACE(capacity=30), EWC(lam=1.0), EWC(lam=1.0, mode="online"), GDumb(capacity=30, passes=3), ICaRL(capacity=30),
    Joint(), L2(), LwF(), MAS(), Naive(momentum=0.9, lr=0.01), Naive(optimizer="adam", lr=0.001), SI(),
]  # fmt: skip


@pytest.fixture(scope="module")
def small(digits):
    return class_incremental(digits.take(24, 10))


def quietly(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return run(*args, **kwargs)


def same(a, b):
    for x, y in zip(a.runs, b.runs, strict=True):
        assert np.array_equal(x.seen, y.seen)
        assert np.array_equal(x.told, y.told)
        assert x.curve == y.curve
        assert (x.updates, x.passes, x.buffer) == (y.updates, y.passes, y.buffer)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: repr(method.config())[12:40])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(small, method, tmp_path, monkeypatch):
    settings = {"batch_size": 10, "epochs": 2, "evaluate_every": 4, "augment": Shift(1), "model": "mlp:20"}
    straight = quietly(small, method, **settings)
    for saves in (2, 5):
        stop_after(monkeypatch, saves)
        with pytest.raises(Stopped):
            quietly(small, method, checkpoint=tmp_path / str(saves), checkpoint_every=7, **settings)
        resumed = quietly(small, method, checkpoint=tmp_path / str(saves), checkpoint_every=7, **settings)
        same(straight, resumed)


def test_dropout_and_batch_norm_resume_too(small, tmp_path, monkeypatch):
    def build(shape, n_classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.BatchNorm1d(20), nn.Dropout(0.3), nn.Linear(20, 10))

    settings = {"batch_size": 10, "epochs": 2, "model": build}
    straight = run(small, ER(capacity=20), **settings)
    stop_after(monkeypatch, 3)
    with pytest.raises(Stopped):
        run(small, ER(capacity=20), checkpoint=tmp_path, checkpoint_every=5, **settings)
    torch.rand(7)  # the global generator has moved on in the meantime
    same(straight, run(small, ER(capacity=20), checkpoint=tmp_path, checkpoint_every=5, **settings))


def test_a_finished_run_is_read_back(small, tmp_path):
    first = run(small, ER(capacity=20), checkpoint=tmp_path)
    again = run(small, ER(capacity=20), checkpoint=tmp_path)
    same(first, again)
    assert again.runs[0].seconds == first.runs[0].seconds


def test_a_checkpoint_of_other_settings_is_refused(small, tmp_path):
    run(small, ER(capacity=20), checkpoint=tmp_path)
    with pytest.raises(InvalidInput, match="other settings"):
        run(small, ER(capacity=21), checkpoint=tmp_path)


def test_testing_leaves_no_trace(small):
    def build(shape, n_classes):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.BatchNorm1d(20), nn.Dropout(0.3), nn.Linear(20, 10))

    often = run(small, ER(capacity=20), model=build, evaluate_every=1)
    never = run(small, ER(capacity=20), model=build)
    assert np.array_equal(often.runs[0].seen, never.runs[0].seen)
    assert often.runs[0].passes == never.runs[0].passes
    updates, values = often.curve(0)
    assert updates.tolist() == list(range(1, often.runs[0].updates + 1))
    assert values.shape == (1, often.runs[0].updates)


def test_the_last_point_of_a_curve_is_the_matrix(small):
    found = run(small, Naive(), evaluate_every=1, subset=None).runs[0]
    last = [point.accuracy for point in found.curve if point.update == found.updates]
    assert last == found.seen[-1].tolist()


def test_a_seed_decides_and_nothing_else(small):
    torch.manual_seed(1)
    a = run(small, DERpp(capacity=20), seeds=[3, 4])
    torch.manual_seed(2)
    b = run(small, DERpp(capacity=20), seeds=[4, 3])
    assert np.array_equal(a.runs[0].seen, b.runs[1].seen)
    assert np.array_equal(a.runs[1].seen, b.runs[0].seen)
    assert not np.array_equal(a.runs[0].seen, a.runs[1].seen)


def test_the_caller_keeps_generator_method_and_settings(small):
    method = ER(capacity=20)
    before = torch.get_rng_state()
    run(small, method)
    assert torch.equal(before, torch.get_rng_state())
    assert not hasattr(method, "buffer")


def test_where_the_task_is_told_only_its_classes_count(small):
    found = quietly(small, Naive(), epochs=5).runs[0]
    assert (found.told >= found.seen - 1e-12).all()
    assert found.told.shape == found.seen.shape == (6, 5)
    assert quietly(permuted(small.data, 2), Naive()).runs[0].told.size == 0


def test_passes_are_counted(small):
    count = len(small.data.train)
    naive = run(small, Naive(), epochs=2).runs[0]
    assert naive.passes == {"forward": 2 * count, "backward": 2 * count}
    teacher = quietly(small, LwF(), epochs=1).runs[0]
    assert teacher.passes["backward"] == count
    assert count < teacher.passes["forward"] < 2 * count  # the teacher's, from the second task on
    er = run(small, ER(capacity=100), epochs=1).runs[0]
    assert er.passes["forward"] == 2 * count - min(10, len(small.stream()[0].train))  # an empty buffer at first
    assert er.buffer["examples"] == 100


@pytest.mark.parametrize("make", [lambda d: online(class_incremental(d)), lambda d: task_free(class_incremental(d)),
                                  lambda d: zipf(d, 1.0, 200)])  # fmt: skip
def test_other_streams_run(small, make):
    found = run(make(small.data), ER(capacity=20))
    assert 0 <= found["accuracy"][0] <= 1


def test_a_stream_that_does_not_tell_needs_a_method_that_does_not_ask(small):
    for method in (EWC(), LwF(), ICaRL()):
        with pytest.raises(InvalidInput, match="has to be told"):
            quietly(task_free(small), method)
    with pytest.raises(InvalidInput, match="passes once"):
        run(online(small), ER(), epochs=2)


@dataclass(eq=False, kw_only=True)
class Broken(Method):
    def observe(self, batch: Batch) -> dict[str, float]:
        return self.step(F.cross_entropy(self.model(batch.x), batch.y) * float("nan"))


def test_what_cannot_run_says_what_to_do(small):
    with pytest.raises(Diverged, match="Lower the learning rate"):
        run(small, Broken())
    with pytest.raises(InvalidInput, match="nothing to run"):
        run(small, ER(), seeds=0)
    with pytest.raises(InvalidInput, match="nothing to run"):
        run(small, ER(), epochs=0)
    with pytest.raises(InvalidInput, match="There is no model"):
        run(small, ER(), model="vgg")
    with pytest.raises(InvalidInput, match="does not take inputs of shape"):
        run(small, ER(), model=lambda shape, n: nn.Sequential(nn.Flatten(), nn.Linear(7, n)))
    with pytest.raises(InvalidInput, match="should give logits"):
        run(small, ER(), model=lambda shape, n: nn.Sequential(nn.Flatten(), nn.Linear(64, n + 1)))
    with pytest.raises(InvalidInput, match="cannot train"):
        ER(lr=-1)
    with pytest.raises(InvalidInput, match="no optimiser"):
        ER(optimizer="lbfgs")
    with pytest.raises(InvalidInput, match="no mode"):
        quietly(small, EWC(mode="both"))
    with pytest.raises(InvalidInput, match="holds nothing"):
        run(small, ER(capacity=0))


def test_a_buffer_smaller_than_a_batch_works(small):
    assert run(small, DERpp(capacity=3)).runs[0].buffer["examples"] == 3


def test_rows_are_tidy_and_the_configuration_whole(small, tmp_path):
    found = run(small, ER(capacity=20), seeds=2, evaluate_every=5)
    found.write(tmp_path / "a.csv")
    found.write(tmp_path / "a.parquet")
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found.rows())
    accuracy = [float(row["value"]) for row in rows if row["metric"] == "accuracy"]
    assert accuracy == found["accuracy"]
    config = json.loads((tmp_path / "a.json").read_text())
    assert config["learner"] == {"learner": "ER", "lr": 0.1, "momentum": 0.0, "weight_decay": 0.0, "optimizer": "sgd",
                                 "clip": None, "capacity": 20, "minibatch": None, "policy": "reservoir"}  # fmt: skip
    assert config["hash"] == rows[0]["config"] == found.hash
    import pyarrow.parquet

    assert pyarrow.parquet.read_table(tmp_path / "a.parquet").num_rows == len(rows)
    with pytest.raises(InvalidInput, match="neither"):
        found.write(tmp_path / "a.xlsx")
    assert {path.name for path in tmp_path.iterdir()} == {"a.csv", "a.parquet", "a.json"}
    with pytest.raises(InvalidInput, match="no measure"):
        found["acc"]


def test_pictures_can_be_drawn(small):
    from matplotlib.figure import Figure

    found = run(small, ER(capacity=20), seeds=2, evaluate_every=5)
    figure = Figure()
    found.plot_matrix(figure.add_subplot(1, 2, 1))
    found.plot_curve(figure.add_subplot(1, 2, 2))
    assert len(figure.axes[0].texts) == 30
    assert len(figure.axes[1].lines) == 1
    with pytest.raises(InvalidInput, match="no curve"):
        run(small, Naive()).curve()


def test_progress_goes_to_the_end(small):
    told = []
    run(small, Naive(), seeds=2, progress=lambda step, share: told.append(share))
    assert told == sorted(told)
    assert 0.8 < told[-1] <= 1


def test_settings_are_chosen_without_the_tests(small):
    seen = []

    @dataclass(eq=False, kw_only=True)
    class Watched(ER):
        def logits(self, x):
            seen.append(x)
            return super().logits(x)

    found = tune(small, Watched(capacity=100), {"lr": [1e-6, 0.1, 1e30]}, epochs=5)
    assert found.settings == {"lr": 0.1}
    assert [score is None for _, score in found.scores] == [False, False, True]  # the last diverged
    tested = {tuple(row.flatten().tolist()) for x in seen for row in x}
    real = {tuple(row.flatten().tolist()) for row in small.data.test.all()[0]}
    train = {tuple(row.flatten().tolist()) for row in small.data.train.all()[0]}
    assert not tested & (real - train)
    with pytest.raises(InvalidInput, match="no setting"):
        changed(ER(), {"rate": 1})


@pytest.mark.parametrize("norm", [False, True])
def test_batches_in_one_pass_are_as_one_each(small, norm):
    from halflife.continual import MLP

    seen = {}

    @dataclass(eq=False, kw_only=True)
    class Looking(Naive):
        def observe(self, batch: Batch) -> dict[str, float]:
            parts = [batch.x[:4], batch.x[4:]]
            seen["each"], seen["alone"] = self.each(*parts), [self.model(x) for x in parts]
            return super().observe(batch)

    run(small, Looking(), model=MLP((20,), norm=norm))
    for a, b in zip(seen["each"], seen["alone"], strict=True):
        assert torch.allclose(a, b, atol=1e-5)
