"""`halflife learn`."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

pytest.importorskip("torch")
from halflife.cli import main
from halflife.continual.catalogue import METHODS, WRAPPERS, learner

SMALL = ["--per-class", "20"]


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["learn", *words])
    out, err = capsys.readouterr()
    return code, out, err


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_everything_that_there_is_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--list", "--json")
    assert code == 0
    rows = lines(out)
    assert {row["name"] for row in rows if row["kind"] == "method"} == set(METHODS)
    assert {row["name"] for row in rows if row["kind"] == "wrapper"} == set(WRAPPERS)
    assert all(row["about"] for row in rows if row["kind"] in ("method", "wrapper"))
    assert "capacity" in next(row for row in rows if row["name"] == "er")["settings"]
    code, out, _ = run(capsys, "--list")
    assert "der++" in out


@pytest.mark.parametrize("name", [*METHODS, *(f"{wrapper}(er)" for wrapper in WRAPPERS)])
def test_every_name_learns(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--method", name, *SMALL, "--batch-size", "12", "--epochs", "4", "--json")
    assert code == 0, err
    [row] = lines(out)
    assert 0 <= row["metrics"]["accuracy"][0] <= 1
    assert len(row["matrix"]) == 6


def test_methods_are_compared_and_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["--method", "er", "--method", "naive", "--seeds", "2", "--set", "capacity=30", "--evaluate-every", "4"]
    code, out, err = run(capsys, *SMALL, *words, "--out", str(tmp_path / "out"))
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["method", "er", "naive"]
    assert "±" in out
    assert "Rows" in err
    found = {path.name for path in (tmp_path / "out").iterdir()}
    assert found == {"0-er.csv", "0-er.json", "0-er-matrix.svg", "1-naive.csv", "1-naive.json", "1-naive-matrix.svg",
                     "curve.svg"}  # fmt: skip
    assert json.loads((tmp_path / "out" / "0-er.json").read_text())["learner"]["capacity"] == 30
    with (tmp_path / "out" / "0-er.csv").open() as file:
        assert {row["seed"] for row in csv.DictReader(file)} == {"0", "1"}
    assert ElementTree.parse(tmp_path / "out" / "curve.svg").getroot().tag.endswith("svg")


def test_what_is_to_be_expected_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "--method", "ewc", *SMALL)
    assert code == 0
    assert "note: Holding parameters alone does not help" in err
    code, _, err = run(capsys, "--method", "ewc", *SMALL, "--scenario", "permuted-digits", "--scenario-set", "tasks=2")
    assert code == 0
    assert "Holding" not in err


def test_an_interrupted_run_goes_on(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = [*SMALL, "--checkpoint", str(tmp_path), "--json"]
    first, again = run(capsys, *words), run(capsys, *words)
    assert lines(first[1]) == lines(again[1])
    assert (tmp_path / "0-er" / "seed-0.pt").exists()
    code, _, err = run(capsys, *words, "--epochs", "2")
    assert code == 2
    assert "other settings" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--method", "hope"], "There is no method 'hope'"),
        (["--method", "hope(er)"], "There is no method"),
        (["--set", "size=3"], "setting 'size'"),
        (["--set", "capacity"], "no NAME=VALUE"),
        (["--set", "capacity=0"], "holds nothing"),
        (["--scenario", "split-imagenet"], "KIND-DATA"),
        (["--scenario-set", "tasks=3"], "does not take these settings"),
        (["--model", "vgg"], "There is no model"),
        (["--scenario", "task-free-split-digits", "--method", "icarl"], "has to be told"),
    ],
)
def test_mistakes_are_told_before_the_work(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, *SMALL, *words)
    assert code == 2
    assert says in err
    assert out == ""


def test_settings_of_what_is_wrapped() -> None:
    assert learner("er", {"capacity": 7}).config()["capacity"] == 7
    for name in WRAPPERS:
        assert learner(f"{name}(er)", {"method.capacity": 7}).config()["method"]["capacity"] == 7
