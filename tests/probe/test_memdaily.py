"""MemDaily: its parts, and the one file made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from halflife.errors import InvalidInput
from halflife.probe.benchmarks import memdaily
from halflife.store.timeparse import parse_time
from tests.probe.conftest import Real, Write


def trajectory(**more: Any) -> dict[str, Any]:
    messages = [
        {"mid": 0, "message": "我的上司今年44岁。", "time": "2024年04月02日 周二 07:29", "place": "广东深圳"},
        {"mid": 1, "message": "我的上司是银行行长。", "time": "2024年04月01日 周一 08:38", "place": "广东深圳"},
    ]
    question = {
        "qid": 0, "question": "上司多大？", "answer": "44岁", "target_step_id": [0], "choices": {"A": "44岁"},
        "ground_truth": "A", "time": "2024年04月04日 周四 18:08",
    }  # fmt: skip
    return {"tid": 0, "message_list": messages, "question_list": [question | more]}


def test_a_part(write: Write) -> None:
    [history] = memdaily.read(write("05_post_processing_roles.json.gz", [trajectory()]))
    assert history.id == "05_post_processing_roles/000"
    assert [item.id for item in history.items] == ["1", "0"]  # in order of time
    assert [item.at for item in history.items] == [parse_time("2024-04-01T08:38:00"), parse_time("2024-04-02T07:29:00")]
    [question] = history.questions
    assert question.kind == "post_processing"
    assert question.gold == {"0"}
    assert question.answer == "44岁"
    assert question.asked_at == parse_time("2024-04-04T18:08:00")


def test_a_question_is_never_asked_before_the_last_message(write: Write) -> None:
    [history] = memdaily.read(write("01_simple_roles.json", [trajectory(time="2024年04月01日 09:00")]))
    assert history.questions[0].asked_at == history.items[-1].at


def test_the_whole_file_and_a_folder_of_parts(write: Write, tmp_path: Path) -> None:
    merged = {key: value for key, value in trajectory().items() if key != "question_list"}
    merged["QA"] = trajectory()["question_list"][0]
    [one] = memdaily.read(write("memdaily.json", {"simple": {"roles": [merged]}, "noisy": {"items": []}}))
    assert (one.id, one.questions[0].kind) == ("simple_roles/000", "simple")
    for name in ("01_simple_roles", "06_noisy_items"):
        write(f"parts/{name}.json", [trajectory()])
    write("parts/graphs.json", {})
    found = list(memdaily.read(tmp_path / "parts"))
    assert [(history.id, history.questions[0].kind) for history in found] == [
        ("01_simple_roles/000", "simple"),
        ("06_noisy_items/000", "noisy"),
    ]
    assert found[0].items == one.items


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([trajectory(target_step_id=[7])], "names no message: 7"),
        ([trajectory(time="yesterday")], "'yesterday' is not a time"),
        ([trajectory(time="2024年13月01日 08:38")], "is not a time"),
        ([{"tid": 0}], "'message_list' is missing"),
        ([{"message_list": []}], "a NoneType stands where an object should"),
        ("[", "not JSON"),
        ({"simple": 3}, "simple: a int stands"),
        (3, "a list of trajectories was expected"),
    ],
)
def test_another_file_is_refused(write: Write, content: Any, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        list(memdaily.read(write("01_simple_roles.json", content)))
    assert said in str(caught.value)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no file named like"):
        list(memdaily.read(tmp_path))


def test_the_real_file(real: Real) -> None:
    histories = list(memdaily.read(min(real("memdaily").glob("01_simple_items.json*"))))
    assert len(histories) == 50
    assert {len(history.items) for history in histories} == {4}
    assert {question.kind for history in histories for question in history.questions} == {"simple"}
