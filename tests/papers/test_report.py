"""Reports: nothing is lost, nothing is half-written, and what failed says so."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from halflife.errors import InvalidInput
from halflife.papers import Claim, Figure, Report, Table, paper
from halflife.papers.gallery import gallery, results
from halflife.papers.report import NOT_REPRODUCED, summary

KEYS = ["number", "slug", "size", "seeds", "versions", "seconds", "table", "claims"]


def make(slug="memorybank", size="cpu", **changes) -> Report:
    fields = {
        "paper": paper(slug),
        "size": size,
        "seeds": (0, 1),
        "claim": "Memories fade.",
        "setup": "Twenty of them.",
        "tables": [Table("Recall", ("method", "hit@6"), [("dense", np.float64(0.89)), ("none", math.nan)])],
        "figures": [Figure("curve", "It falls.", lambda axes: axes.plot([0, 1], [1, 0]), "a falling line")],
        "claims": [
            Claim("good", 0.9, 0.8, ">=", "0.91 (Table 2)"),
            Claim("bad", 0.1, 0.2),
            Claim("gone", math.nan, 0),
        ],
        "notes": ["Small."],
        "versions": {"python": "3.11.0"},
        "seconds": 1.234,
    }
    return Report(**{**fields, **changes})


def test_a_report_is_written_and_read_back(tmp_path):
    folder = make().write(tmp_path)
    assert folder == tmp_path / "19-memorybank" / "cpu"
    assert sorted(file.name for file in folder.iterdir()) == ["curve.svg", "report.md", "result.json"]
    result = json.loads((folder / "result.json").read_text())
    assert list(result) == KEYS
    assert result["seeds"] == [0, 1]
    assert result["seconds"] == 1.23
    assert result["table"] == [
        {"title": "Recall", "columns": ["method", "hit@6"], "rows": [["dense", 0.89], ["none", None]]}
    ]
    assert result["claims"] == [
        {"name": "good", "measured": 0.9, "bound": ">= 0.80", "paper": "0.91 (Table 2)", "holds": True},
        {"name": "bad", "measured": 0.1, "bound": ">= 0.20", "paper": "", "holds": False},
        {"name": "gone", "measured": None, "bound": ">= 0.00", "paper": "", "holds": False},
    ]


def test_the_page_says_everything_and_calls_a_failure_a_failure(tmp_path):
    page = (make().write(tmp_path) / "report.md").read_text()
    for part in (
        "Memories fade.",
        "Twenty of them.",
        "It falls.",
        "(curve.svg)",
        "- Small.",
        "python 3.11.0",
    ):
        assert part in page
    assert "| good | 0.9 | >= 0.80 | 0.91 (Table 2) | holds |" in page
    assert f"| bad | 0.1 | >= 0.20 | – | {NOT_REPRODUCED} |" in page
    assert f"| gone | – | >= 0.00 | – | {NOT_REPRODUCED} |" in page
    assert "1 of 3 claims held; 2 were not reproduced." in page
    assert "halflife reproduce memorybank --size cpu\n" in page


def test_a_definition_of_our_own_is_said_on_the_page():
    assert "own definition" in make("synaptic-resonance").markdown()
    assert "own definition" not in make().markdown()


def test_the_command_repeats_the_seed():
    assert make(seed=7).command == "halflife reproduce memorybank --size cpu --seed 7"


def test_a_second_run_replaces_the_first_as_a_whole(tmp_path):
    make().write(tmp_path)
    folder = make(figures=[], notes=["Later."]).write(tmp_path)
    assert sorted(file.name for file in folder.iterdir()) == ["report.md", "result.json"]
    assert "Later." in (folder / "report.md").read_text()
    assert [entry.name for entry in folder.parent.iterdir()] == ["cpu"]


def test_a_figure_that_cannot_be_drawn_leaves_the_old_report(tmp_path):
    folder = make().write(tmp_path)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    def broken(axes):
        raise RuntimeError("no data")

    with pytest.raises(RuntimeError, match="no data"):
        make(figures=[Figure("curve", "", broken, "")]).write(tmp_path)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


@pytest.mark.parametrize("fail_at", ["write_text", "rename"])
def test_a_full_disk_leaves_the_old_report_and_no_litter(tmp_path, monkeypatch, fail_at):
    folder = make().write(tmp_path)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    real = getattr(Path, fail_at)

    def full(self, *args, **kwargs):
        if self.name == "result.json" or ".new-" in self.name:
            raise OSError(28, "No space left on device")
        return real(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, fail_at, full)
        with pytest.raises(OSError, match="No space"):
            make(notes=["Later."]).write(tmp_path)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert [entry.name for entry in folder.parent.iterdir()] == ["cpu"]


@given(st.floats(), st.floats(allow_nan=False, allow_infinity=False))
def test_of_a_relation_and_its_opposite_one_holds_unless_nothing_was_measured(measured, bound):
    for one, other in (("<=", ">"), (">=", "<")):
        held = [Claim("c", measured, bound, relation).holds for relation in (one, other)]
        assert sum(held) == (0 if math.isnan(measured) else 1)


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_result_is_strict_json_whatever_was_measured(measured):
    report = make(claims=[Claim("c", measured, 0.5)], tables=[Table("t", ("x",), [(np.float64(measured),)])])
    json.dumps(report.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("bound", "text"), [(0.8, ">= 0.80"), (0.125, ">= 0.125"), (2, ">= 2.00"), (-0.05, ">= -0.05")]
)
def test_a_bound_is_written_without_loss(bound, text):
    assert Claim("c", 1.0, bound).bound_text == text


def test_bad_input_is_refused():
    with pytest.raises(InvalidInput, match="relation"):
        Claim("c", 1.0, 1.0, "==")
    with pytest.raises(InvalidInput, match="file name"):
        Figure("../escape", "", "", "")
    with pytest.raises(InvalidInput, match="2 columns"):
        Table("t", ("a", "b"), [(1,)])
    with pytest.raises(InvalidInput, match="share a name"):
        make(claims=[Claim("a", 1, 0), Claim("a", 0, 1)])


def test_a_cell_cannot_break_the_table():
    assert Table("t", ("a",), [("x|y\nz",)]).markdown().splitlines()[-1] == "| x\\|y z |"


def test_the_summary_counts():
    assert summary([]) == "0 of 0 claims held."
    assert summary([Claim("a", 1, 0)]) == "1 of 1 claims held."


def test_the_gallery_lists_what_held_and_what_did_not(tmp_path):
    assert "No reproduction" in gallery(tmp_path)
    make().write(tmp_path)
    make("think-in-memory", "smoke", claims=[Claim("a", 1, 0)]).write(tmp_path)
    text = gallery(tmp_path)
    assert "| [19 MemoryBank](19-memorybank/cpu/report.md) | cpu | 1 | 2 |" in text
    assert "| [35 Think-in-Memory](35-think-in-memory/smoke/report.md) | smoke | 1 | 0 |" in text
    assert "- MemoryBank (cpu): bad: measured 0.1, bound >= 0.20" in text
    assert len(results(tmp_path)) == 2


def test_a_damaged_result_is_named(tmp_path):
    folder = make().write(tmp_path)
    (folder / "result.json").write_text("{")
    with pytest.raises(InvalidInput, match=r"cpu/result\.json"):
        gallery(tmp_path)
