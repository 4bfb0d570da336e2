"""The Task Memory Engine's dialogues: gold states, generated truth, and the report."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from halflife.agent.task_baselines import FlatHistory, GraphTracker, ReActHistory
from halflife.errors import InvalidInput, ModelNotFound
from halflife.llm import HashEmbedder, MiniLM
from halflife.papers import reproduce
from halflife.papers.data import VARIABLE
from halflife.papers.r49_cases import CASES, GOLD, UNSEEN, dialogue, score_graph, score_linear, unseen
from halflife.papers.r49_dialogues import ACTS, ARMS, Truth, play, turns


@pytest.fixture(params=["no embedder", "hash", "minilm"])
def embedder(request):
    if request.param != "minilm":
        return HashEmbedder() if request.param == "hash" else None
    try:
        return MiniLM(threads=1)
    except ModelNotFound as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", CASES)
def test_the_graph_is_right_after_every_turn_of_a_released_dialogue(name, embedder):
    said = dialogue(name)
    if said is None:
        pytest.skip(f"tme_cases is not here; set {VARIABLE}")
    done = score_graph(said, GOLD[name], embedder)
    assert done.wrong == []
    assert (done.states, done.answers) == (done.turns, done.asked)
    assert done.conflicts == (name == "trip_planning")
    linear = [
        score_linear(memory, said, [gold.state for gold in GOLD[name]]) for memory in (FlatHistory(), ReActHistory())
    ]
    assert all(one.states < done.states for one in linear)


@pytest.mark.parametrize("name", UNSEEN)
def test_unseen_dialogues_are_read_without_an_error(name):
    said, gold = unseen(name)
    done = score_graph(said, gold)
    assert done.turns == len(said) == len(gold)
    assert done.states + len(done.wrong) == done.turns


def test_the_acts_are_shares():
    assert sum(ACTS.values()) == pytest.approx(1.0)


def test_the_truth_goes_back_in_its_own_way():
    truth = Truth()
    for value in ("a", "b", None, "c"):
        truth.put("slot", value)
    assert (truth.now["slot"], truth.was["slot"]) == ("c", ["a", "b"])
    assert (truth.back("slot", 1), truth.back("slot", 2), truth.back("slot", 3)) == ("b", "a", None)


def test_the_same_dialogue_is_told_at_every_error_rate():
    exact, noisy = (list(turns((3, 7), 60, error)) for error in (0.0, 0.3))
    assert [turn.text for turn in exact] == [turn.text for turn in noisy]
    assert [turn.truth for turn in exact] == [turn.truth for turn in noisy]
    assert all(turn.heard == turn.meant for turn in exact)
    changes = [turn for turn in noisy if turn.meant.kind not in ("check", "share")]
    misheard = np.mean([turn.heard != turn.meant for turn in changes])
    assert 0.1 < misheard < 0.5


def test_a_graph_that_hears_everything_is_never_wrong_and_the_others_are():
    marks = (20, 60)
    found = [play((5, i), 0.0, marks) for i in range(12)]
    for mark in marks:
        assert all(one["task graph"][mark].wrong == one["task graph"][mark].missed == 0 for one in found)
    errors = {arm: sum(one[arm][60].wrong for one in found) for arm in ARMS}
    assert errors["last 10 turns"] > errors["all turns"] > 0
    assert sum(one["task graph"][60].tokens for one in found) < sum(one["all turns"][60].tokens for one in found)


def test_counts_grow_with_the_turns():
    found = play((0, 0), 0.2, (10, 20, 30))
    for marks in found.values():
        for small, large in pairwise(marks.values()):
            assert large.checks >= small.checks
            assert large.missed >= small.missed


def test_a_tracker_ignores_what_cannot_be_done():
    tracker = GraphTracker()
    for turn in turns((1, 1), 60, 1.0):
        tracker.note(turn.text, turn.heard)
    assert tracker.value("no such/slot") is None
    assert tracker.context("no such/slot") == ""


def test_the_report_is_written_with_the_data_and_without(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    report = reproduce("task-memory-engine", "smoke", out=tmp_path / "out")
    assert report.notes[0].startswith("A: ")
    assert {claim.name[0] for claim in report.claims} == {"B"}
    assert {figure.name for figure in report.figures} == {"turns", "misheard"}
    monkeypatch.delenv(VARIABLE)
    if dialogue("cooking") is not None:
        report = reproduce("task-memory-engine", "smoke", out=tmp_path / "out")
        assert {claim.name[0] for claim in report.claims} == {"A", "B"}
        assert "cooking" in {figure.name for figure in report.figures}


def test_there_is_no_gpu_size():
    with pytest.raises(InvalidInput, match="no gpu size"):
        reproduce("task-memory-engine", "gpu")
