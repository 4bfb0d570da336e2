"""The reproduction of power-law environments runs in both forms, and compares what it says it compares."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from halflife.papers.r44_arms import POWER, SCHEDULES
from halflife.papers.r44_power_law import GRIDS, MORE, run
from halflife.papers.r44_surface import Surface, surface


@pytest.fixture(scope="module")
def report():
    return run("smoke", 0, lambda step, share: None)


def test_every_arm_is_reported(report):
    mild, harsh, against, learning, recurrence = report.tables
    names = [row[0].split(", lam")[0].split(", c")[0] for row in mild.rows]
    assert set(names) >= {*SCHEDULES, *MORE, *(name for name, _, _ in GRIDS), "all at once", "none, as many updates"}
    assert len(harsh.rows) == 4
    assert len(against.rows) == 4
    assert len(learning.rows) == 6
    assert len(recurrence.rows) == 1
    assert len(report.claims) == 9
    assert all(figure.svg().startswith("<?xml") for figure in report.figures)


def test_arms_that_are_compared_have_the_same_updates(report):
    columns = list(report.tables[0].columns)
    updates = {row[0]: row[columns.index("updates")] for row in report.tables[0].rows}
    assert len({updates[name] for name in [*SCHEDULES, *MORE, "none, as many updates"] if name != "none"}) == 1
    assert updates["none"] == updates["all at once"] < updates[POWER]


def test_the_grids_span_four_decades():
    for _, _, grid in GRIDS:
        values = next(iter(grid.values()))
        assert max(values) / min(values) == pytest.approx(1e4)


def test_the_surface_takes_the_same_way():
    tiny = Surface("digits", (2, 3), (0.5, 1.0), (8, 16), 6, 2, "cpu")
    report = surface(tiny, 0, lambda step, share: None)
    assert len(report.tables[0].rows) == 2 * 2 + 1
    assert len(report.claims) == 4
    assert report.figures[0].svg().startswith("<?xml")
