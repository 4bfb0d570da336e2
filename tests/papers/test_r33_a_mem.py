"""A-MEM's reproduction runs end to end on invented conversations, and measures what it says."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from halflife.errors import InvalidInput
from halflife.llm.hashing import HashEmbedder
from halflife.papers.data import VARIABLE
from halflife.papers.r33_a_mem import interval, run
from halflife.papers.r33_parts import (
    ARMS,
    CONTROL,
    RAW,
    SUMMED,
    arms,
    build,
    found,
    joined,
    plain,
    recall,
    similar,
    spread,
)
from halflife.papers.r33_talks import CHOSEN, invented, shipped

TALK = invented(1, talks=1, sessions=5)[0]


@pytest.fixture(scope="module")
def report():
    steps = []
    made = run("smoke", 1, lambda step, share: steps.append(share))
    assert steps == sorted(steps)
    assert 0 <= steps[0] <= steps[-1] <= 1
    return made


def test_it_writes_a_whole_report(report, tmp_path):
    folder = report.write(tmp_path)
    assert {path.name for path in folder.iterdir()} == {"report.md", "result.json", "recall-k.svg", "links.svg"}
    assert [claim.name[0] for claim in report.claims] == ["A", "A", "B"]
    assert len(report.tables) == 6
    assert [row[0] for row in report.tables[0].rows] == list(ARMS)
    assert "MiniLM" not in report.setup


def test_a_seed_repeats_it(report):
    assert run("smoke", 1, lambda step, share: None).to_dict()["table"] == report.to_dict()["table"]


def test_there_is_no_gpu_size():
    with pytest.raises(InvalidInput, match="no gpu size"):
        run("gpu", 0, lambda step, share: None)


def test_without_the_data_it_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(InvalidInput, match=r"locomo5\.json\.gz not found"):
        shipped(0)


def test_observations_go_to_the_turns_that_they_are_from(tmp_path, monkeypatch):
    sample = {
        "sample_id": CHOSEN[0],
        "conversation": {
            "session_1_date_time": "1:00 pm on 1 May, 2023",
            "session_1": [{"speaker": "Ann", "dia_id": f"D1:{t}", "text": f"Turn {t}."} for t in (1, 2, 3)],
        },
        "qa": [{"question": "Which?", "answer": "2", "category": 4, "evidence": ["D1:2"]}],
        "observation": {"session_1_observation": {"Ann": [["One and three.", ["D1:1", "D1:3"]], ["One.", "D1:1"]]}},
        "session_summary": {"session_1_summary": "It was said. It was heard."},
    }
    path = tmp_path / "locomo" / "locomo5.json.gz"
    path.parent.mkdir()
    path.write_bytes(gzip.compress(json.dumps([sample]).encode()))
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    [talk] = shipped(0)
    assert talk.contexts == [["One and three.", "One."], [], ["One and three."]]
    assert [len(of) for of in talk.controls] == [2, 0, 1]
    assert {one for of in talk.controls for one in of} <= {"It was said.", "It was heard."}
    assert found(talk, {}).gold == [frozenset({1})]


def test_what_only_an_observation_says_is_found_by_enriched_keys_alone():
    of = arms(TALK, HashEmbedder())
    assert of.recall(SUMMED, 5).mean() > of.recall(RAW, 5).mean() + 0.2
    assert of.recall(SUMMED, 5).mean() > of.recall(CONTROL, 5).mean() + 0.2


def test_recall_grows_with_k_and_is_whole_at_last():
    of = arms(TALK, HashEmbedder())
    turns = len(TALK.history.items)
    for arm in ARMS:
        values = [of.recall(arm, k).mean() for k in (1, 5, 20, turns)]
        assert values == sorted(values)
        assert values[-1] == 1
    twice = joined([of, of])
    assert twice.recall(RAW, 3).mean() == pytest.approx(of.recall(RAW, 3).mean())


def test_links_are_of_other_turns_and_take_no_turn_twice():
    vectors = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    links = similar(vectors, tau=0.5)
    assert links == [[1], [0, 2], [1]]
    assert spread([0, 2], links) == [0, 2, 1]
    assert recall([spread([0, 2], links)], [frozenset({1})], 3).tolist() == [1.0]


def test_the_system_is_asked_for_turns():
    built = build(TALK, HashEmbedder(), contexts=True)
    rankings = built.rankings(TALK, 5)
    turns = range(len(TALK.history.items))
    assert all(len(ranking) == 5 == len(set(ranking)) and set(ranking) <= set(turns) for ranking in rankings)
    assert recall(rankings, found(TALK, {}).gold, 5).mean() > 0.8
    strongest, links = built.edges()
    assert all(a != b for a, b in strongest)
    assert 0 < len(strongest) <= links
    assert any(note.version > 1 for note in built.notes())
    assert recall(plain(TALK, HashEmbedder(), 5), found(TALK, {}).gold, 5).mean() > 0.3
    still = build(TALK, HashEmbedder(), contexts=True, evolve=False)
    assert all(note.version == 1 for note in still.notes())


def test_an_interval_holds_the_mean():
    low, high = interval(np.array([0.0, 0.0, 1.0, 0.0]), seed=0)
    assert low <= 0.25 <= high
    assert all(np.isnan(interval(np.zeros(0), seed=0)))
