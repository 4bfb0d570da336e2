"""`halflife bench recall` as a user types it."""

# ruff: noqa: F401, F811 (fixtures that are imported)

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run, folder, run
from tests.probe.test_locomo import sample


@pytest.fixture
def data(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("HALFLIFE_DATA", raising=False)
    monkeypatch.setenv("HALFLIFE_EMBEDDER", "hash:64")
    samples = [{**sample(), "sample_id": f"conv-{i}"} for i in range(4)]
    path = folder / "locomo10.json"
    path.write_text(json.dumps(samples))
    return path


def test_a_table(run: Run, data: Path) -> None:
    found = run("bench", "recall", "--on", "locomo", "--data", str(data), "--by-type")
    assert found.code == 0
    lines = found.out.splitlines()
    assert lines[0].split()[:2] == ["system", "recall@5"]
    assert [line.split()[0] for line in lines[1:6]] == ["halflife", "bm25", "dense", "fusion", "rrf"]
    assert "multi-hop (4)" in lines[7]
    assert "8 questions of 4 histories, evidence by turn; 12 questions without evidence not counted." in found.err
    assert "2 tuning histories, 2 of them among those measured" in found.err


def test_json_says_what_was_run_and_where(run: Run, data: Path) -> None:
    options = ("--systems", "halflife,bm25", "--part", "test", "--limit", "1", "-k", "1", "-k", "3", "--json")
    record = run("bench", "recall", "--on", "locomo", "--data", str(data), *options).one
    assert [row["system"] for row in record["rows"]] == ["halflife", "bm25"]
    assert record["ks"] == [1, 3]
    assert record["histories"] == 1
    assert record["settings"] == {"benchmark": "locomo", "part": "test", "limit": 1, "embedder": "hash-1/64"}
    assert {"date", "platform", "cpus", "versions"} <= record["machine"].keys()
    assert {"python", "halflife", "bm25s"} <= record["machine"]["versions"].keys()


def test_a_cache_gives_the_same_scores_and_is_named(run: Run, data: Path) -> None:
    command = ("bench", "recall", "--on", "locomo", "--data", str(data), "--weight", "0.5", "--json")
    plain, first, second = (run(*command, *more).one for more in ((), ("--cache", "v.db"), ("--cache", "v.db")))
    scores = [[row["scores"] for row in record["rows"]] for record in (plain, first, second)]
    assert scores[0] == scores[1] == scores[2]
    assert "times" not in plain["settings"]
    known, _, asked = second["settings"]["times"].removeprefix("with a cache that knew ").split()[:3]
    assert known == asked


def test_files(run: Run, data: Path, folder: Path) -> None:
    command = ("bench", "recall", "--on", "locomo", "--data", str(data), "--systems", "bm25", "--level", "session")
    assert run(*command, "--out", "r.json").code == 0
    assert json.loads((folder / "r.json").read_text())["level"] == "session"
    assert run(*command, "--out", "r.md").code == 0
    assert "| bm25 |" in (folder / "r.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--on", "locomo"), 2, "snap-research/locomo"),
        (("--on", "locomo", "--data", "none.json"), 2, "There is no none.json."),
        (("--on", "triviaqa"), 2, "Invalid value for '--on'"),
        (("--on", "locomo", "--systems", "faiss"), 2, "There is no system 'faiss'"),
        (("--on", "locomo", "--systems", ","), 2, "each system once"),
        (("--on", "locomo", "--embedder", "none"), 2, "There is no embedder 'none'"),
        (("--on", "locomo", "--data", ".", "-k", "0"), 2, "Invalid value for '-k'"),
    ],
)
def test_what_is_wrong_is_said_on_one_line(
    run: Run,
    data: Path,
    arguments: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    found = run("bench", "recall", *arguments)
    assert found.code == code
    assert said in found.err
    assert "Traceback" not in found.err
    assert found.out == ""


def test_help_has_examples(run: Run) -> None:
    assert "halflife bench recall --on locomo --data locomo10.json" in run("bench", "recall", "--help").out
