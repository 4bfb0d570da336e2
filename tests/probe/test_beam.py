"""BEAM in its two forms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from halflife.errors import InvalidInput
from halflife.probe.benchmarks import beam
from halflife.store.timeparse import parse_time
from tests.probe.conftest import DAY, Real, Write

MARCH, APRIL = parse_time("2024-03-15"), parse_time("2024-04-05")


def batches() -> list[dict[str, Any]]:
    return [
        {
            "batch_number": 1,
            "turns": [
                [
                    {"role": "user", "id": 0, "content": "I use Flask. ->-> 1,1", "time_anchor": "March-15-2024"},
                    {"role": "assistant", "id": 1, "content": "Good ->-> that works."},
                ],
                [{"role": "user", "id": 2, "content": "Thanks. ->-> 1,N/A"}],
            ],
        },
        {
            "batch_number": 2,
            "turns": [[{"role": "user", "id": 3, "content": "Now Django.", "time_anchor": "April-05-2024"}]],
        },
    ]


def questions() -> dict[str, list[dict[str, Any]]]:
    nested = {"first_statement": [0], "second_statement": [[2, 3], {"more": 1}]}
    return {
        "abstention": [{"question": "Who?", "ideal_response": "Unknown.", "source_chat_ids": [1]}],
        "contradiction_resolution": [{"question": "Which?", "ideal_answer": "Both.", "source_chat_ids": nested}],
        "information_extraction": [{"question": "What?", "answer": "Flask", "source_chat_ids": [0, 99]}],
        "summarization": [{"question": "Sum up.", "ideal_summary": "Short."}],
    }


def published(write: Write, folder: str = "100K/7") -> Path:
    write(f"{folder}/probing_questions/probing_questions.json", questions())
    return write(f"{folder}/chat.json", batches())


def line() -> dict[str, Any]:
    """The same chat on one line."""
    messages = [{**m, "batch": b["batch_number"]} for b in batches() for turn in b["turns"] for m in turn]
    asked = [{**q, "type": kind, "source_ids": q.get("source_chat_ids", [])}
             for kind, some in questions().items() for q in some]  # fmt: skip
    return {"id": "100K/7", "messages": messages, "questions": asked}


def test_a_chat_as_published(write: Write) -> None:
    [history] = beam.read(published(write))
    assert history.id == "100K/7"
    assert [item.text for item in history.items] == ["I use Flask.", "Good ->-> that works.", "Thanks.", "Now Django."]
    assert [item.at for item in history.items] == [MARCH, MARCH + 30.0, MARCH + 60.0, APRIL]
    assert [item.session for item in history.items] == ["batch 1", "batch 1", "batch 1", "batch 2"]
    assert [item.speaker for item in history.items] == ["user", "assistant", "user", "user"]
    assert [sorted(question.gold) for question in history.questions] == [[], ["0", "1", "2", "3"], ["0"], []]
    assert history.questions[1].gold_sessions == {"batch 1", "batch 2"}
    assert [question.answer for question in history.questions] == ["Unknown.", "Both.", "Flask", "Short."]
    assert {question.asked_at for question in history.questions} == {APRIL + DAY}


def test_both_forms_say_the_same(write: Write, tmp_path: Path) -> None:
    [one] = beam.read(published(write))
    [other] = beam.read(write("chats.jsonl.gz", json.dumps(line()) + "\n\n"))
    assert one == other


def test_a_folder_of_chats(write: Write, tmp_path: Path) -> None:
    for number in (7, 8):
        published(write, f"chats/100K/{number}")
    assert [history.id for history in beam.read(tmp_path / "chats")] == ["100K/7", "100K/8"]


def test_messages_before_the_first_date_have_it_too(write: Write) -> None:
    chat = line()
    del chat["messages"][0]["time_anchor"]
    [history] = beam.read(write("c.jsonl", chat))
    assert [item.at for item in history.items] == [APRIL, APRIL + 30.0, APRIL + 60.0, APRIL]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"messages": 3}, "'messages' is a int"),
        ({"questions": [{"question": "Q?"}]}, "'type' is missing"),
        ({"messages": [{"id": 0, "role": "user", "content": "a", "batch": 1}] * 2}, "the same id"),
        ({"messages": [{"id": 0, "role": "user", "content": "a", "batch": 1, "time_anchor": "May"}]}, "not a date"),
        ({"messages": [{"id": True, "role": "user", "content": "a", "batch": 1}]}, "'id' is a bool"),
    ],
)
def test_another_file_is_refused(write: Write, change: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        list(beam.read(write("c.jsonl", {**line(), **change})))
    assert said in str(caught.value)
    assert "line 1" in str(caught.value)


def test_a_line_ends_at_a_newline_and_nowhere_else(write: Write) -> None:
    chat = line()
    chat["messages"][0]["content"] = "one\u2028two\x85three"
    [history] = beam.read(write("c.jsonl", chat))
    assert history.items[0].text == "one\u2028two\x85three"


def test_a_folder_without_chats_and_a_line_that_is_cut(write: Write, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"neither a chat\.json nor a \.jsonl"):
        list(beam.read(tmp_path))
    with pytest.raises(InvalidInput, match=r"c\.jsonl, line 2 is not JSON"):
        list(beam.read(write("c.jsonl", json.dumps(line()) + "\n{")))


def test_the_real_file(real: Real) -> None:
    history = next(beam.read(min(real("beam").glob("*.jsonl*"))))
    assert history.id == "100K/1"
    assert len(history.items) == 188
    assert sum(bool(question.gold) for question in history.questions) == 18
    assert not any("->->" in item.text for item in history.items)
    assert sorted(item.at for item in history.items) == [item.at for item in history.items]
