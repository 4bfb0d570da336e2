"""The reproduction of PRD runs in all sizes' code, and reports what it measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from halflife.continual import class_incremental, load
from halflife.continual import run as train
from halflife.continual.methods.prd import PRD
from halflife.papers.r31_parts import Log, Noise, Watched, turned
from halflife.papers.r31_prd import SETTINGS, reproduction, run
from tests.papers.smoke import reported


@pytest.fixture(scope="module")
def report():
    return reported(run, 0)[0]


def test_every_part_is_reported(report):
    assert [len(table.rows) for table in report.tables] == [7, 6, 2, 3]
    assert len(report.claims) == 5
    assert all(figure.svg().startswith("<?xml") for figure in report.figures)
    names = [row[0] for row in report.tables[0].rows]
    assert names[:4] == ["finetuning", "LwF", "PRD without L_D", "PRD"]


@pytest.mark.filterwarnings("ignore:Prototypes of different")
def test_prd_is_charged_for_its_two_views_and_its_teacher_but_not_for_the_diagnosis():
    data = load("digits").take(20, 10)
    scenario = class_incremental(data, per_task=5)
    log, plain = Log(), PRD(projection=(16, 8))
    settings = {"model": "mlp:16", "batch_size": 20}
    alone = train(scenario, plain, 2, **settings)
    watched = train(scenario, Watched(plain, data.test, log), 2, **settings)
    assert alone.runs[1].passes == watched.runs[1].passes == {"forward": 600, "backward": 400}
    assert np.array_equal(alone.mean_matrix(), watched.mean_matrix())
    assert [[len(after) for after in one] for one in log.told] == [[1, 2], [1, 2]]
    assert [len(task) for one in log.drift for task in one] == [5, 5, 5, 5]
    assert all(one[1] == pytest.approx([1.0] * 5) for one in log.drift)  # the last task's have just been learned
    assert all(0 < value <= 1 for value in log.seen)


def test_quarter_turns_make_classes():
    data = load("digits").take(5, 2)
    many = turned(data, 4)
    assert many.n_classes == 40
    assert (len(many.train), len(many.test)) == (200, 80)
    x, y = many.train.all()
    kept, labels = data.train.all()
    assert torch.equal(x[150:], torch.rot90(kept, 3, (2, 3)))
    assert torch.equal(y[150:], labels + 30)


def test_noise_stays_a_picture():
    x = torch.rand(2, 1, 3, 3)
    one, other = (Noise(0.5)(x, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert 0 <= float(one.min()) <= float(one.max()) <= 1
    assert not torch.equal(one, other)


def test_the_gpu_size_takes_the_same_way():
    tiny = replace(
        SETTINGS["gpu"], data="digits", per_class=3, test_per_class=2, per_task=10, model="resnet18:2", epochs=1,
        batch_size=30, seeds=1, grid=(0.1,), device="cpu",
    )  # fmt: skip
    report = reproduction("gpu", tiny, 0, lambda step, share: None)
    assert len(report.tables[0].rows) == 6
    assert len(report.claims) == 6
    assert all(figure.svg() for figure in report.figures)
