"""Generated histories keep LongMemEval's schema and its rules."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halflife.errors import InvalidInput
from halflife.probe.benchmarks import longmemeval
from halflife.probe.benchmarks.generate import APART, KINDS, instances, world, write
from halflife.probe.benchmarks.generate_texts import EVENTS, EXPENSES, FACTS, TASTES
from halflife.store.text import query_ids
from halflife.store.timeparse import parse_time
from halflife.store.timerange import time_range

WORLD = world(3, questions=40, chats=40)
ROWS = list(instances(WORLD, 3, sessions=60))


def test_a_world_can_be_read_as_it_would_be_published(tmp_path):
    write(iter(ROWS), tmp_path / "longmemeval_s.json.gz")
    histories = list(longmemeval.read(tmp_path / "longmemeval_s.json.gz"))
    assert Counter(h.questions[0].kind for h in histories) == dict.fromkeys(KINDS, 8)
    for history, row in zip(histories, ROWS, strict=True):
        (question,) = history.questions
        assert question.gold_sessions == set(row["answer_session_ids"])
        assert len(question.gold) == len(question.gold_sessions)
        assert bool(question.gold) != question.id.endswith("_abs")
        assert row["haystack_dates"] == sorted(row["haystack_dates"])
    assert sum(not h.questions[0].gold for h in histories) == 2


@given(st.integers(0, 10**6))
@settings(max_examples=5, deadline=None)
def test_a_seed_repeats_a_world(seed):
    one, again = (list(instances(world(seed, questions=5, chats=15), seed, sessions=10)) for _ in range(2))
    assert json.dumps(one) == json.dumps(again)
    assert json.dumps(one) != json.dumps(list(instances(world(seed + 1, questions=5, chats=15), seed, sessions=10)))


def test_no_filler_tells_of_what_is_asked():
    attribute = {session.turns: session.attribute for session in WORLD.sessions.values()}
    for row, case in zip(ROWS, WORLD.cases, strict=True):
        assert len(row["haystack_sessions"]) == 60
        mine = {*case.evidence, *case.others}
        for id, turns in zip(row["haystack_session_ids"], row["haystack_sessions"], strict=True):
            text = tuple((turn["role"], turn["content"]) for turn in turns)
            assert (id.removeprefix("answer_") in mine) == (attribute[text] == case.attribute)
            assert any("has_answer" in turn for turn in turns) == id.startswith("answer_")


def test_time_goes_as_it_should():
    for row, case in zip(ROWS, WORLD.cases, strict=True):
        if row["question_id"].endswith("_abs"):
            continue
        dates = dict(zip(row["haystack_session_ids"], map(parse_time, row["haystack_dates"]), strict=True))
        told = [dates[f"answer_{id}"] for id in case.evidence]
        assert told == sorted(told)
        found = time_range(row["question"], parse_time(row["question_date"]))
        assert (found is not None) == (case.kind == "temporal-reasoning")
        if found:
            assert found.start <= told[0] < found.end
            assert all(abs(dates[id] - told[0]) >= APART * 86_400 for id in case.others)


def test_the_answer_is_in_the_evidence():
    for row in ROWS:
        said = [turn["content"] for turns in row["haystack_sessions"] for turn in turns if turn.get("has_answer")]
        if row["question_type"] in ("single-session-user", "temporal-reasoning") and said:
            assert row["answer"] in said[0]
        if row["question_type"] == "knowledge-update" and said:
            assert row["answer"] in said[-1]
            assert row["answer"] not in said[0]


def test_questions_share_few_words_with_what_answers_them():
    shared = [
        len(set(query_ids(question)) & set(query_ids(told)))
        for table in (FACTS, TASTES, EXPENSES, EVENTS)
        for attribute in table
        for question in attribute.asked
        for told in (*attribute.told, *attribute.changed)
    ]
    assert sum(shared) / len(shared) < 0.15


def test_what_cannot_be_made_is_said():
    with pytest.raises(InvalidInput, match="A world of 0 questions"):
        world(0, questions=0)
    with pytest.raises(InvalidInput, match="more chats"):
        list(instances(WORLD, 0, sessions=500))
