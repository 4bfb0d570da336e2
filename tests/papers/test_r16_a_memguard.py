"""A-MemGuard's reproduction: the attack reaches its victims, the parts measure what they say, all of it runs."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from halflife.agent.guard_consensus import Vote
from halflife.errors import InvalidInput
from halflife.llm import HashEmbedder
from halflife.papers import reproduce
from halflife.papers.data import VARIABLE
from halflife.papers.r16_attack import (
    POISON,
    K,
    Precedents,
    answers,
    attack,
    attacked,
    honest,
    nearest,
    properties,
    searches,
    weighted_vote,
)
from halflife.papers.r16_audit import Audit, Characters
from halflife.papers.r16_reinforcement import simulate

FORMS = ("What dose of {} was given?", "When was {} first measured?", "Who wrote the order for {}?")
THINGS = [
    f"{a}{b}" for a in ("asp", "ibu", "hep", "mor", "war", "dig", "ins") for b in ("irin", "profen", "arin", "in")
]


@pytest.fixture(scope="module")
def memory():
    pairs = [(form.format(thing), f"read {form.split()[0]}") for form in FORMS for thing in THINGS]
    return Precedents("hospital", tuple(q for q, _ in pairs), tuple(a for _, a in pairs))


@pytest.fixture(scope="module")
def world(memory):
    return lambda planted, seed=0: attacked(memory, HashEmbedder().embed, seed, planted, tests=20)


@pytest.mark.parametrize("planted", [1, 3, 6])
def test_every_planted_record_is_retrieved_under_the_trigger_and_none_without(world, planted):
    there = world(planted)
    assert {read.actions.count(POISON) for read in there.dirty} == {planted}
    assert {read.actions.count(POISON) for read in there.clean} == {0}
    assert all(len(read.records) == K for read in there.dirty)


def test_questions_asked_are_not_in_the_memory(world, memory):
    there = world(2)
    assert len(there.asked) == 20
    assert len(there.records) == len(memory.questions) - 20 + 2
    assert np.max(there.asked @ there.keys[:-2].T) < 0.999


def test_few_planted_records_beat_the_nearest_but_not_the_guard_and_many_beat_both(world):
    few, many = world(2), world(5)
    assert attack(few, nearest).success == 1.0
    assert attack(few, nearest, Vote()).success == 0.0
    assert attack(few, nearest, Vote()).missed == 0.0
    assert attack(many, nearest, Vote()).success > 0.8
    assert attack(many, weighted_vote).success > 0.8


def test_the_guard_is_measured_on_honest_use_too(world):
    found = honest(world(0), nearest, Vote())
    assert found.right == 1.0
    assert found.empty == 0.0
    assert found.removed < 0.1
    assert np.isnan(attack(world(0), nearest, Vote()).missed)  # nothing was planted


def test_a_unique_right_precedent_is_what_a_vote_drops():
    questions = [f"What dose of drug {i} was given?" for i in range(40)]
    pairs = Precedents("one", tuple(questions), tuple("read" if i % 8 else f"special {i // 16}" for i in range(40)))
    found = honest(attacked(pairs, HashEmbedder().embed, 0, 0, tests=10), nearest, Vote())
    assert found.removed_unique == 1.0 or np.isnan(found.removed_unique)
    assert found.right <= 1.0


def test_the_three_memories_are_read_from_their_rows():
    popqa = [
        {"question": "What is the capital of Kenya?", "data_source": "popqa"},
        {"question": "What is Ann Lee's occupation?", "data_source": "popqa"},
        {"question": "What is Ann Lee's occupation?", "data_source": "nq"},
    ]
    assert properties(popqa).actions == ("look up capital", "look up occupation")
    rows = [{"question": f"Is tea {i}?", "term": "Tea", "answer": i % 2 == 0} for i in range(4)]
    rows.append({"question": "Is it?", "term": "It", "answer": True})
    assert set(searches(rows).actions) == {"search Tea"}
    assert answers(rows).actions == ("answer yes", "answer no", "answer yes", "answer no", "answer yes")


def test_a_record_by_itself_hardly_surprises():
    clean = [f"What dose of {thing} was given to patient {i}? read medication" for i, thing in enumerate(THINGS * 3)]
    model = Characters(clean)
    assert model.surprise(clean[0]) < model.surprise("dlose fo qzx aws")
    assert Audit(clean).missed(["What dose of morin was given to patient 5? read medication"]) == 1.0
    assert Audit(clean).missed(["qqq zzz jjj kkk vvv"]) == 0.0


def test_the_model_of_characters_is_a_distribution():
    model = Characters(["abab", "abba"])
    alphabet = [chr(code) for code in range(32, 128)]
    total = sum(2 ** -(model.surprise("ab" + c) * 3 - model.surprise("ab") * 2) for c in alphabet)
    assert total == pytest.approx(1.0, abs=0.02)


@pytest.fixture(scope="module")
def runs():
    return {arm: [simulate(arm, seed, rounds=150) for seed in range(8)] for arm in ("none", "filter", "lessons")}


def test_a_filter_weakens_the_attack_and_lessons_end_it(runs):
    success = {arm: np.nanmean([run.success for run in some]) for arm, some in runs.items()}
    assert success["none"] > 2 * success["filter"] > 2 * success["lessons"]
    stored = {arm: np.mean([run.stored for run in some]) for arm, some in runs.items()}
    assert stored["none"] > stored["filter"] > stored["lessons"]


def test_a_round_has_a_trigger_or_is_honest(runs):
    for run in runs["none"]:
        assert (np.isnan(run.success) != np.isnan(run.right)).all()
    assert np.nanmean([run.right for run in runs["none"]]) > 0.95


def test_false_alarms_that_are_learnt_cost_accuracy():
    plain, learnt = (
        np.nanmean([simulate(arm, seed, rounds=150, false_alarm=0.05).right for seed in range(4)])
        for arm in ("filter", "lessons")
    )
    assert plain > 0.9
    assert learnt < plain


def test_only_failures_stored_are_all_planted():
    assert simulate("none", 1, rounds=100, stores="failures").stored == 1.0


# -- end to end ---------------------------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path, monkeypatch):
    rows = [{"question": f"What is the capital of place {i}?", "data_source": "popqa"} for i in range(30)]
    rows += [{"question": f"Who is the author of book {i}?", "data_source": "popqa"} for i in range(30)]
    strategy = [
        {"question": f"Does {term} number {i} fly?", "term": term, "answer": i % 3 > 0}
        for term in ("Tea", "Chess", "Oslo")
        for i in range(20)
    ]
    lines = "\n".join(json.dumps(row) for row in rows).encode()
    turns = [{"dia_id": f"D1:{i}", "speaker": "Ann", "text": f"I bought {i} apples."} for i in range(1, 9)]
    talk = {
        "sample_id": "c",
        "conversation": {"session_1": turns, "session_1_date_time": "1:56 pm on 8 May, 2023"},
        "qa": [{"question": "Did Ann buy 3 apples?", "category": 4, "evidence": ["D1:3"], "answer": "yes"}],
    }
    for folder, name, content in (
        ("locomo", "locomo5.json.gz", json.dumps([talk]).encode()),
        ("memento", "deepresearcher.jsonl.gz", lines),
        ("memory_attack", "strategyqa_train_filtered.json.gz", json.dumps(strategy).encode()),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(gzip.compress(content))
    monkeypatch.setenv(VARIABLE, str(tmp_path))


def test_it_runs_and_writes_a_report(data, tmp_path):
    steps = []
    report = reproduce("a-memguard", "smoke", out=tmp_path / "out", progress=lambda step, share: steps.append(share))
    assert steps == sorted(steps)
    assert not any(VARIABLE in note for note in report.notes)
    assert {claim.name[0] for claim in report.claims} == {"A", "B", "C", "D"}
    assert {figure.name for figure in report.figures} == {"cliff", "one-read", "rounds"}
    assert any(table.title.startswith("E:") for table in report.tables)
    result = json.loads((tmp_path / "out" / report.paper.folder / "smoke" / "result.json").read_text())
    assert len(result["claims"]) == 3 * 8 + 3 + 1


def test_without_its_data_it_says_what_was_not_run(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    report = reproduce("a-memguard", "smoke")
    assert sum(VARIABLE in note for note in report.notes) == 3
    assert {claim.name[0] for claim in report.claims} == {"B"}


def test_there_is_no_gpu_size():
    with pytest.raises(InvalidInput, match="no gpu size"):
        reproduce("a-memguard", "gpu")
