"""Every reproduction runs end to end, with its data and without, and what is committed is what a run writes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from halflife.errors import InvalidInput
from halflife.papers import paper, reproduce
from halflife.papers.data import VARIABLE, data_file, read_json
from halflife.papers.gallery import results
from halflife.papers.r19_retrieval import dated_questions
from halflife.papers.r35_speed import speed

SLUGS = ("memorybank", "think-in-memory")
COMMITTED = Path(__file__).parents[2] / "docs" / "reproductions"


def pack(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(json.dumps(data).encode()))


@pytest.fixture
def data(tmp_path, monkeypatch):
    """The two data sets in miniature, in their own schemas."""
    bank = tmp_path / "memorybank"
    history = {
        f"2023-05-0{d}": [{"query": f"On day {d} I did {what} {i}.", "response": "Fine."} for i in range(3)]
        for d, what in enumerate(("sailing", "baking", "chess", "judo"), start=1)
    }
    pack(bank / "memory_bank_en.json.gz", {" Ivy ": {"name": "Ivy", "history": history}})
    questions = ["What baking did I do on May 2nd?", "Do I like chess?", "On May 4th, did I do judo?"]
    (bank / "probing_questions_en.jsonl").write_text(json.dumps({"Ivy": questions}) + "\n")
    observation = {
        f"session_{s}_observation": {"Ann": [[f"Ann bought {s * 10 + i} apples.", f"D{s}:{i}"] for i in range(12)]}
        for s in range(3)
    }
    qa = [{"question": f"How many apples did Ann buy, {i}?"} for i in range(5)]
    pack(tmp_path / "locomo" / "locomo5.json.gz", [{"observation": observation, "qa": qa}])
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("slug", SLUGS)
def test_a_reproduction_runs_and_writes_a_report(slug, data, tmp_path):
    steps = []
    report = reproduce(slug, "smoke", seed=1, out=tmp_path / "out", progress=lambda step, share: steps.append(share))
    assert steps == sorted(steps)
    assert not any(VARIABLE in note for note in report.notes)
    assert {claim.name[0] for claim in report.claims} >= {"A", "B", "C"}
    folder = tmp_path / "out" / report.paper.folder / "smoke"
    assert json.loads((folder / "result.json").read_text())["seeds"] == list(report.seeds)
    assert {f"{figure.name}.svg" for figure in report.figures} < {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(("slug", "part"), [("memorybank", "A"), ("think-in-memory", "C")])
def test_without_its_data_a_part_is_left_out_and_the_report_says_so(slug, part, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    report = reproduce(slug, "smoke")
    assert any(note.startswith(f"{part}: ") and VARIABLE in note for note in report.notes)
    assert not any(claim.name.startswith(f"{part}:") for claim in report.claims)
    assert len(report.claims) >= 4


def test_a_seed_repeats_all_but_the_time(data):
    first, again = (reproduce("think-in-memory", "smoke", seed=5).claims[:-2] for _ in range(2))
    assert first == again


@pytest.mark.parametrize("slug", SLUGS)
def test_there_is_no_gpu_size(slug):
    with pytest.raises(InvalidInput, match="no gpu size"):
        reproduce(slug, "gpu")


def test_data_are_looked_for_where_the_user_says(data):
    assert data_file("memorybank", "nothing.json") is None
    path = data_file("memorybank", "probing_questions_en.jsonl")
    assert path is not None
    found = dated_questions(read_json(path))
    assert [question.day for question in found] == ["2023-05-02", "2023-05-04"]


def test_speed_is_measured_where_recall_suffices():
    *tried, chosen = speed(0, n=2000, m=20)
    setting = next(t for t in tried if (t.n_buckets, t.probes) == (chosen.n_buckets, chosen.probes))
    assert setting.recall >= 0.7
    assert all(t.ratio > 0 for t in tried)


@pytest.mark.parametrize(
    ("folder", "result"), results(COMMITTED), ids=lambda value: value.parent.name if isinstance(value, Path) else ""
)
def test_what_is_committed_is_a_whole_run(folder, result):
    entry = paper(result["number"])
    assert (folder.parent.name, folder.name) == (entry.folder, result["size"])
    report = (folder / "report.md").read_text()
    for claim in result["claims"]:
        assert claim["name"] in report
    figures = {path.name for path in folder.glob("*.svg")}
    assert figures == {name.split(")")[0] for name in report.split("](") if name.split(")")[0].endswith(".svg")}
    assert VARIABLE not in report
