"""Reading and judging, with models that are plain functions."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halflife.errors import InvalidInput
from halflife.probe.benchmarks.history import Question
from halflife.probe.benchmarks.keyvalue import Value
from halflife.probe.benchmarks.reading import Reader, accuracy, judge

ASKED = Question("q", "Where do I live?", 86_400.0, "single-session-user", answer="Graz")
VALUES = [Value("a", "a", "user: I moved to Graz.", 0.0, ""), Value("b", "b", "user: What is rye?", None, "")]


class Script:
    """A model that replies by rule and remembers what it was asked."""

    def __init__(self, reply):
        self.reply, self.asked = reply, []

    def __call__(self, messages):
        self.asked.append(messages[-1]["content"])
        return self.reply(messages[-1]["content"])


def test_direct_reading_shows_everything_once():
    for format in ("json", "nl"):
        chat = Script(lambda _: " Graz. ")
        assert Reader(chat, format).answer(ASKED, VALUES) == "Graz."
        (prompt,) = chat.asked
        assert prompt.index("Graz") < prompt.index("rye") < prompt.index("Where do I live?")
        assert "1970-01-01" in prompt
        assert "1970-01-02" in prompt
    shown = json.loads(prompt_json(VALUES))
    assert [one["date"] for one in shown] == ["1970-01-01", "unknown"]


def prompt_json(values):
    chat = Script(lambda _: "")
    Reader(chat, "json").answer(ASKED, values)
    text = chat.asked[0]
    return text[text.index("History:\n") + 9 : text.rindex("]") + 1]


def test_chain_of_note_answers_from_notes_that_are_not_empty():
    chat = Script(lambda text: "Empty." if "rye" in text else "The user moved to Graz.")
    Reader(chat, "nl", "con").answer(ASKED, VALUES)
    *notes, last = chat.asked
    assert len(notes) == 2
    assert "rye" in notes[1]
    assert "rye" not in last
    assert "The user moved to Graz." in last


def test_nothing_found_is_read_as_nothing():
    for format in ("json", "nl"):
        assert Reader(lambda messages: "I cannot say.", format, "con").answer(ASKED, []) == "I cannot say."


def test_bad_readers_are_refused():
    with pytest.raises(InvalidInput, match="no format"):
        Reader(lambda _: "", "xml")
    with pytest.raises(InvalidInput, match="no method"):
        Reader(lambda _: "", "nl", "cot")


def question(kind, answer, id="q"):
    return Question(id, "?", None, kind, answer=answer)


@pytest.mark.parametrize(
    ("asked", "response", "right"),
    [
        (question("multi-session", "3"), "You did it three times.", True),
        (question("multi-session", "three trips"), "There were 3 trips.", True),
        (question("multi-session", "$1,500"), "1500 dollars", True),
        (question("multi-session", "Rex and Bo"), "Rex", False),
        (question("multi-session", "12"), "112", False),
        (question("multi-session", ""), "Anything.", False),
        (question("single-session-user", "a beagle"), "The Beagle!", True),
        (question("knowledge-update", "Graz"), "First Leeds, now Graz.", True),
        (question("knowledge-update", "Graz"), "Leeds.", False),
        (question("temporal-reasoning", "18 days"), "It took 19 days.", True),
        (question("temporal-reasoning", "18 days"), "It took 20 days.", False),
        (question("multi-session", "18 days"), "It took 19 days.", False),
        (question("temporal-reasoning", "two weeks"), "One week or 3 weeks.", True),
        (question("temporal-reasoning", "a jazz trio"), "You heard a jazz trio.", True),
        (question("multi-session", "nobody said", "q_abs"), "You did not mention that.", True),
        (question("multi-session", "nobody said", "q_abs"), "It cannot be determined from the history.", True),
        (question("multi-session", "nobody said", "q_abs"), "I don't know.", True),
        (question("multi-session", "nobody said", "q_abs"), "In Graz.", False),
    ],
)
def test_offline_verdicts(asked, response, right):
    assert judge(asked, response) is right


@given(st.lists(st.sampled_from(["rye", "Graz", "7", "cats"]), min_size=1), st.text("xyz ,."), st.text("xyz ,."))
def test_an_answer_in_full_is_always_right(words, before, after):
    answer = " ".join(words)
    for kind in ("single-session-user", "multi-session", "knowledge-update", "temporal-reasoning"):
        assert judge(question(kind, answer), f"{before} {answer.upper()} {after}")


def test_a_rubric_needs_a_reader():
    asked = question("single-session-preference", "The user would prefer jazz.")
    with pytest.raises(InvalidInput, match="rubric"):
        judge(asked, "Jazz!")
    chat = Script(lambda _: "Yes.")
    assert judge(asked, "Jazz!", chat)
    assert "rubric" in chat.asked[0]


def test_the_model_judges_by_the_rule_of_the_type():
    for kind, id, rule in (
        ("temporal-reasoning", "q", "off by one"),
        ("knowledge-update", "q", "updated answer"),
        ("temporal-reasoning", "q_abs", "cannot be answered"),
        ("multi-session", "q", "only a part"),
    ):
        chat = Script(lambda _: "no")
        assert not judge(question(kind, "x", id), "y", chat)
        assert rule in chat.asked[0]
    with pytest.raises(InvalidInput, match="yes or no"):
        judge(ASKED, "y", lambda _: "perhaps")


def test_accuracy_over_all_by_type_and_of_abstention():
    rows = [(question("a", ""), True)] * 3 + [(question("b", ""), False), (question("b", "", "1_abs"), True)]
    found = accuracy(rows)
    assert found.overall == pytest.approx(0.8)
    assert found.by_kind == {"a": 1.0, "b": 0.5}
    assert (found.task_averaged, found.abstention) == (0.75, 1.0)
    assert accuracy(rows[:1]).abstention is None
    with pytest.raises(InvalidInput, match="No answer"):
        accuracy([])
