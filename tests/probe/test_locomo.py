"""LoCoMo as its repository publishes it."""

from __future__ import annotations

from typing import Any

import pytest

from halflife.errors import InvalidInput
from halflife.probe.benchmarks import locomo
from halflife.store.timeparse import parse_time
from tests.probe.conftest import DAY, Real, Write


def sample(**more: Any) -> dict[str, Any]:
    conversation = {
        "speaker_a": "Ann",
        "speaker_b": "Bob",
        "session_2_date_time": "9:00 am on 10 May, 2023",
        "session_2": [
            {"speaker": "Bob", "dia_id": "D2:1", "text": "Look!", "blip_caption": "a photo of a dog", "img_url": ["x"]}
        ],
        "session_1_date_time": "1:56 pm on 8 May, 2023",
        "session_1": [
            {"speaker": "Ann", "dia_id": "D1:1", "text": "Hi."},
            {"speaker": "Bob", "dia_id": "D1:2", "text": "Hello."},
        ],
        "session_10_date_time": "1:56 pm on 8 May, 2024",  # announced, never held
    }
    questions = [
        {"question": "When?", "answer": 2022, "category": 2, "evidence": ["D1:1; D2:01"]},
        {"question": "What?", "answer": "b", "category": 1, "evidence": ["D:1:2", "D", "D9:9"]},
        {"question": "Which?", "answer": "c", "category": 4, "evidence": ["D7:1"]},
        {"question": "Why?", "adversarial_answer": "d", "category": 5, "evidence": ["D1:1"]},
        {"question": "How?", "answer": "e", "category": 3},
    ]
    return {"sample_id": "conv-1", "conversation": conversation, "qa": questions, **more}


@pytest.mark.parametrize("name", ["locomo10.json", "locomo10.json.gz"])
def test_turns_in_order_with_their_times(write: Write, name: str) -> None:
    [history] = locomo.read(write(name, [sample()]))
    assert history.id == "conv-1"
    assert [item.id for item in history.items] == ["D1:1", "D1:2", "D2:1"]
    assert [item.text for item in history.items] == ["Ann: Hi.", "Bob: Hello.", "Bob: Look! [a photo of a dog]"]
    first = parse_time("2023-05-08T13:56:00")
    assert [item.at for item in history.items] == [first, first + 30.0, parse_time("2023-05-10T09:00:00")]
    assert [item.session for item in history.items] == ["session_1", "session_1", "session_2"]
    assert {item.speaker for item in history.items} == {"Ann", "Bob"}


def test_evidence_is_read_leniently_and_only_turns_that_exist_count(write: Write) -> None:
    [history] = locomo.read(write("l.json", [sample()]))
    gold = [sorted(question.gold) for question in history.questions]
    assert gold == [["D1:1", "D2:1"], ["D1:2"], [], [], []]
    assert history.questions[0].gold_sessions == {"session_1", "session_2"}
    assert [question.kind for question in history.questions] == [
        "temporal", "multi-hop", "single-hop", "adversarial", "open-domain",
    ]  # fmt: skip
    assert [question.answer for question in history.questions] == ["2022", "b", "c", "d", "e"]
    assert {question.asked_at for question in history.questions} == {parse_time("2023-05-10T09:00:00") + DAY}


def broken(**conversation: Any) -> list[Any]:
    whole = sample()
    whole["conversation"] |= conversation
    return [whole]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not JSON"),
        ({"a": 1}, "a list of conversations was expected"),
        ([1], "conversation 1: a int stands where an object should"),
        ([{"sample_id": "x"}], "'conversation' is missing"),
        ([sample(conversation={})], "no 'session_1'"),
        ([sample(qa=[{"question": "Q?"}])], "'category' is missing"),
        (broken(session_1_date_time="once"), "session_1: The time 'once'"),
        (broken(session_1=[{"dia_id": "D1:1", "speaker": "A"}]), "'text' is missing"),
        (broken(session_1=3), "'session_1' is a int"),
    ],
)
def test_another_file_is_refused(write: Write, content: Any, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        list(locomo.read(write("l.json", content)))
    assert said in str(caught.value)
    assert "l.json" in str(caught.value)


def test_a_missing_file_and_a_cut_archive(write: Write) -> None:
    path = write("l.json.gz", [sample()])
    path.write_bytes(path.read_bytes()[:60])
    for wrong in (path, path.with_name("none.json")):
        with pytest.raises(InvalidInput, match="cannot be read"):
            list(locomo.read(wrong))


def test_the_real_file(real: Real) -> None:
    history = next(locomo.read(min(real("locomo").glob("locomo*.json*"))))
    assert history.id == "conv-26"
    assert len(history.items) == 419
    assert len(history.questions) == 199
    counted = [question for question in history.questions if question.gold]
    assert len(counted) == 150
    assert all(item.at < question.asked_at for item in history.items for question in history.questions[:1])
