"""NAPA-VQ's reproduction runs end to end on digits, and measures what it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from halflife.continual import class_incremental, load
from halflife.continual.prototypes import PrototypeMemory
from halflife.papers.r38_napa_vq import ARMS, OURS, SETTINGS, reproduction, run, seen_accuracy
from halflife.papers.r38_parts import State, _shuffled, check, features, probe, worlds
from halflife.papers.run import quiet
from tests.papers.smoke import reported


@pytest.fixture(scope="module")
def report():
    return reported(run, 1)[0]


def test_it_reports_every_arm_and_every_claim(report):
    main, pairs, search, agreement, edges = report.tables
    assert [row[0] for row in main.rows] == list(ARMS)
    assert len(pairs.rows) == len(ARMS) - 1
    assert [len(row) for row in search.rows] == [1 + len(SETTINGS["smoke"].grid)] * len(ARMS)
    assert len(agreement.rows) == len(report.seeds) == 2
    assert all(0 < weight <= 1 for *_, weight in edges.rows)
    assert [claim.bound for claim in report.claims] == [0.15, 0.03, 0.0, 0.3, 0.7]
    assert [figure.name for figure in report.figures] == ["seen-accuracy", "graph-and-confusion", "features"]
    assert all(figure.svg().startswith("<?xml") for figure in report.figures)


def test_distillation_and_its_cost_are_as_the_arms_say(report):
    main = {row[0]: dict(zip(report.tables[0].columns, row, strict=True)) for row in report.tables[0].rows}
    assert len({row["1000 backward"] for row in main.values()}) == 1
    assert main["fine-tuning"]["1000 forward"] < main["KD"]["1000 forward"] == main[OURS]["1000 forward"]


def test_the_gpu_size_runs_in_miniature():
    tiny = replace(
        SETTINGS["gpu"], data="digits", per_class=5, test_per_class=2, searched=5, seeds=1, epochs=1, grid=(0.5,),
        model="mlp:8", device="cpu",
    )  # fmt: skip
    found = reproduction("gpu", tiny, 0, quiet)
    assert len(found.tables[0].rows) == len(ARMS)
    assert "40 classes" in found.setup
    assert len(found.seeds) == 1


def test_accuracy_counts_every_class_alike():
    scenario = class_incremental(load("digits").take(4), per_task=3, first=4)
    R = np.array([[0, 0, 0], [1, 0, 0], [0.5, 1, 0], [0.25, 0, 1]])
    assert seen_accuracy(R, scenario).tolist() == pytest.approx([1.0, 5 / 7, 4 / 10])


def test_worlds_are_four_times_the_classes_and_no_rotations():
    data = load("digits").take(3, 2)
    made = worlds(data)
    assert len(made.train) == 4 * len(data.train)
    x, y = made.train.all()
    plain, inverted, sheared, shuffled = x.split(len(data.train))
    assert torch.equal(y[-len(data.train) :] % 10, y[: len(data.train)])
    assert torch.allclose(inverted, 1 - plain)
    turns = [plain.rot90(q, (2, 3)) for q in range(4)]
    assert not any(torch.allclose(one, turn) for one in (sheared, shuffled) for turn in turns)
    assert torch.allclose(shuffled.flatten(1).sort().values, plain.flatten(1).sort().values)  # moved, not changed
    grid = torch.arange(64.0).reshape(1, 1, 8, 8)
    blocks = _shuffled(grid)[0, 0].unfold(0, 2, 2).unfold(1, 2, 2).reshape(16, 4)
    assert sorted(blocks[:, 0].tolist()) == sorted(
        grid[0, 0].unfold(0, 2, 2).unfold(1, 2, 2).reshape(16, 4)[:, 0].tolist()
    )
    assert torch.allclose(blocks - blocks[:, :1], torch.tensor([0.0, 1.0, 8.0, 9.0]).expand(16, 4))


class Pixels(torch.nn.Module):
    """A network whose features are the pixels."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def features(self, x):
        return x.flatten(1)


def state(edges, turns=1):
    train = load("digits").take(60, 30)
    rows = list(range(0, 10 * turns, turns))
    return State(
        Pixels(), list(range(10)), rows, turns, edges, PrototypeMemory(10 * turns), train.train, []
    ), train.test


def test_the_check_finds_a_graph_that_is_the_confusion_and_not_one_that_is_not():
    one, test = state(torch.eye(10))
    seen = torch.tensor(np.nan_to_num(check(one, test).confusion, nan=1.0))
    good = check(replace(one, edges=seen), test)
    assert good.spearman == pytest.approx(1.0)
    assert good.top >= 0.9
    bad = check(replace(one, edges=1.0 - seen + torch.eye(10)), test)
    assert bad.spearman == pytest.approx(-1.0)
    assert bad.top < 0.2
    assert good.chance == pytest.approx(1 / 3)


def test_a_row_without_neighbours_is_no_hit():
    one, test = state(torch.eye(10))
    found = check(one, test)
    assert found.top == 0.0
    assert np.isnan(found.spearman)


def test_features_come_in_all_turns_with_their_rows():
    one, test = state(torch.eye(40), turns=4)
    z, rows = features(one, test.only(torch.arange(3)))
    x, y = test.only(torch.arange(3)).all()
    assert rows.tolist() == [int(c) * 4 + q for q in range(4) for c in y]
    assert torch.equal(z[3:6], x.rot90(1, (2, 3)).flatten(1))


def test_the_probe_separates_what_a_line_separates():
    z = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    rows = (z[:, 0] > 0).long()
    assert float((probe(z, rows, 2)(z) == rows).double().mean()) > 0.95
