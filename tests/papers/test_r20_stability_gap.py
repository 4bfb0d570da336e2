"""The reproduction of the stability gap runs, and reports what it measured."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

pytest.importorskip("torch")

from halflife.papers.r20_stability_gap import SETTINGS, arms, reproduction, run


@pytest.fixture(scope="module")
def report():
    return run("smoke", 0, lambda step, share: None)


def test_every_part_is_reported(report):
    assert [len(table.rows) for table in report.tables] == [6, 3]
    parts = {re.split(r"[: ]", claim.name)[0] for claim in report.claims}
    assert parts == {"A", "B", "C", "D", "Rank"}
    assert len(report.claims) == 10
    assert all(figure.svg().startswith("<?xml") for figure in report.figures)


def test_the_gap_is_seen_in_miniature(report):
    claims = {claim.name: claim for claim in report.claims}
    assert claims["A: ACC over min-ACC, ER, w = 0.3"].holds
    assert claims["C: gap, full replay, w = 0.5"].holds


def test_full_replay_holds_every_example():
    for size in ("smoke", "cpu"):
        method, _ = arms(size, SETTINGS[size])["full replay, w = 0.5"]
        assert method.capacity == 10 * SETTINGS[size].per_class


def test_the_gpu_size_takes_the_same_way():
    tiny = replace(
        SETTINGS["gpu"], data="digits", per_class=20, test_per_class=5, model="resnet18:2", epochs=1, batch_size=20,
        memory=20, seeds=1, device="cpu",
    )  # fmt: skip
    report = reproduction("gpu", tiny, 0, lambda step, share: None)
    assert [row[0] for row in report.tables[0].rows] == ["ER, w = 0.7", "LwF"]
    assert len(report.claims) == 8
    assert all(figure.svg() for figure in report.figures)
