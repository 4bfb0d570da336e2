"""LongMemEval as published, and as a folder of sessions stored once."""

from __future__ import annotations

import bz2
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from halflife.errors import InvalidInput
from halflife.probe.benchmarks import longmemeval
from halflife.probe.benchmarks.recall import measures

REAL = Path(os.environ.get("HALFLIFE_DATA", Path(__file__).parents[3] / "shared" / "data")) / "longmemeval"


def turn(role: str, content: str, has_answer: bool | None = None) -> dict[str, Any]:
    return {"role": role, "content": content} | ({} if has_answer is None else {"has_answer": has_answer})


def instance(**changes: Any) -> dict[str, Any]:
    return {
        "question_id": "q1",
        "question_type": "multi-session",
        "question": "What do I drink?",
        "question_date": "2023/05/30 (Tue) 23:40",
        "answer": 3,
        "answer_session_ids": ["answer_1", "answer_2"],
        "haystack_session_ids": ["answer_2", "answer_1", "filler"],
        "haystack_dates": ["2023/05/20 (Sat) 02:21", "2023/05/01 (Mon) 10:00", "2023/05/25 (Thu) 09:00"],
        "haystack_sessions": [
            [turn("user", "Any idea?"), turn("assistant", "Coffee, you said.", True)],
            [turn("user", "I drink tea.", True), turn("assistant", " "), turn("user", "Bye.", False)],
            [turn("user", "What is rust?")],
        ],
    } | changes


def write(path: Path, *instances: dict[str, Any]) -> Path:
    path.write_text(json.dumps(list(instances)))
    return path


def test_evidence_is_what_the_user_said(tmp_path: Path) -> None:
    (history,) = longmemeval.read(write(tmp_path / "s.json", instance()))
    (question,) = history.questions
    assert [item.id for item in history.items] == ["answer_1_0", "answer_1_2", "answer_2_0", "answer_2_1", "filler_0"]
    assert [item.at for item in history.items] == sorted(item.at or 0.0 for item in history.items)
    assert (question.gold, question.gold_sessions) == ({"answer_1_0"}, {"answer_1"})
    assert (question.kind, question.answer) == ("multi-session", "3")
    assert question.asked_at == 1685490000.0
    (history,) = longmemeval.read(tmp_path / "s.json", assistant_evidence=True)
    assert history.questions[0].gold_sessions == {"answer_1", "answer_2"}


def test_a_session_that_stands_twice_is_read_once_at_its_first_date() -> None:
    one = instance()
    one["haystack_session_ids"].append("filler")
    one["haystack_dates"].append("2023/05/02 (Tue) 09:00")
    one["haystack_sessions"].append(one["haystack_sessions"][2])
    items = longmemeval.history(one).items
    assert [item.id for item in items] == ["answer_1_0", "answer_1_2", "filler_0", "answer_2_0", "answer_2_1"]


def test_what_cannot_be_answered_has_no_evidence(tmp_path: Path) -> None:
    (history,) = longmemeval.read(write(tmp_path / "s.json", instance(question_id="q1_abs")))
    assert not history.questions[0].gold
    assert not history.questions[0].gold_sessions


def test_a_folder_says_the_same(tmp_path: Path) -> None:
    one = instance()
    (asked,) = longmemeval.read(write(tmp_path / "s.json", one))
    sessions = dict(zip(one["haystack_session_ids"], one.pop("haystack_sessions"), strict=True))
    folder = tmp_path / "folder"
    folder.mkdir()
    lines = [json.dumps({"id": id, "turns": turns}) for id, turns in sessions.items()]
    (folder / "sessions_1.jsonl.bz2").write_bytes(bz2.compress("\n".join(lines[:2]).encode()))
    (folder / "sessions_2.jsonl").write_text(lines[2])
    (folder / "questions_s.jsonl.gz").write_bytes(gzip.compress(json.dumps(one).encode()))
    assert list(longmemeval.read(folder)) == [asked]
    (folder / "sessions_2.jsonl").write_text("")
    with pytest.raises(InvalidInput, match="there is no session 'filler'"):
        list(longmemeval.read(folder))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"haystack_dates": ["2023/05/20 (Sat) 02:21"]}, "3 sessions, 3 ids and 1 dates"),
        ({"question_date": "yesterday"}, "is no date"),
        ({"haystack_dates": ["2023/13/20 (Sat) 02:21"] * 3}, "is no date"),
        ({"haystack_sessions": [[turn("user", "Hi.")]] * 3}, "no turn of an evidence session answer_. has a mark"),
        ({"answer_session_ids": ["answer_1", "filler"]}, "evidence session filler has a mark"),
        ({"haystack_sessions": [["Hi."]] * 3}, "where an object should"),
        ({"haystack_session_ids": ["answer_2", "answer_1", 3]}, "not a string"),
        ({"question": None}, "'question' is a NoneType"),
    ],
)
def test_what_is_malformed_is_said(tmp_path: Path, changes: dict[str, Any], what: str) -> None:
    with pytest.raises(InvalidInput, match=what):
        list(longmemeval.read(write(tmp_path / "s.json", instance(**changes))))


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no files named like"):
        list(longmemeval.read(tmp_path))


def test_its_own_ndcg_counts_the_first_two_ranks_the_same() -> None:
    for ranking in (["a", "x", "y"], ["x", "a", "y"]):
        assert measures(ranking, {"a"}, 3)["ndcg_longmemeval"] == pytest.approx(1.0)
    assert measures(["x", "a", "y"], {"a"}, 3)["ndcg"] < 1.0


@pytest.mark.skipif(not (REAL / "questions_oracle.jsonl.gz").exists(), reason="the data of LongMemEval is not here")
def test_the_published_questions_fit_the_reader(tmp_path: Path) -> None:
    lines = gzip.decompress((REAL / "questions_oracle.jsonl.gz").read_bytes()).decode().splitlines()[:20]
    wanted = {id for line in lines for id in json.loads(line)["haystack_session_ids"]}
    kept = []
    with bz2.open(REAL / "sessions_1.jsonl.bz2", "rt", encoding="utf-8") as sessions:
        for line in sessions:  # the evidence sessions come first
            if json.loads(line)["id"] in wanted:
                kept.append(line)
                if len(kept) == len(wanted):
                    break
    (tmp_path / "sessions_1.jsonl").write_text("".join(kept))
    (tmp_path / "questions_oracle.jsonl").write_text("\n".join(lines))
    histories = list(longmemeval.read(tmp_path))
    assert len(histories) == 20
    assert any(h.questions[0].gold for h in histories)
    assert all(h.questions[0].gold <= {item.id for item in h.items} for h in histories)
