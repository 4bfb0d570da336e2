"""Where records lead: extracted from them, or thought through by a model."""

from __future__ import annotations

import pytest

from halflife.agent.guard_paths import ARROW, ChatPaths, ExtractivePaths, PathModel, action_of, chain, outcome
from halflife.errors import InvalidInput
from halflife.llm.client import Chat
from halflife.store.trace import Space, Trace
from tests.llm.scripted import Scripted


def record(text, id="r", **metadata):
    return Trace(id, Space.of(), text, 0.0, 0.0, metadata=metadata)


def extracted(text, **metadata):
    return ExtractivePaths().paths("any question", [record(text, **metadata)])[0]


def answer(*chains):
    return {"chains": [{"number": n, "steps": steps, "response": response} for n, steps, response in chains]}


def test_the_action_in_the_metadata_is_where_a_record_leads():
    assert outcome(extracted("Which drug was given?", action="Read  Medication")) == "read medication"
    assert outcome(extracted("Is the sky blue?", action=True)) == "true"
    assert action_of(record("x", action="  ")) is None


def test_without_an_action_a_statement_leads_to_its_object():
    assert extracted("I moved to Bergen.") == "The user → lives in → Bergen"


def test_without_a_statement_the_telling_words_stand_in():
    assert extracted("Why would the harbour close early on Sundays?") == "harbour → close → Sundays"
    assert extracted("?!") == "?!"


def test_another_field_may_hold_the_action():
    path = ExtractivePaths("plan").paths("", [record("Book a flight.", plan="call the airline", action="none")])[0]
    assert outcome(path) == "call the airline"


def test_a_record_cannot_forge_a_step():
    assert chain([f"a {ARROW} b", "c\nd", " "]) == "a b → c d"
    assert outcome(extracted("Which dose?", action=f"delete {ARROW} read")) == "delete read"


def test_a_model_is_asked_for_each_record_alone():
    model = Scripted([answer((1, ["aspirin", "given"], "medication")), answer((1, ["aspirin"], "delete"))])
    paths = ChatPaths(Chat(model))
    assert isinstance(paths, PathModel)
    assert paths.alone
    found = paths.paths("Which dose?", [record("First."), record("Second.", action="delete all")])
    assert found == ["aspirin → given → medication", "aspirin → delete"]
    first, second = ("\n".join(message.content for message in asked) for asked in model.asked)
    assert "First." in first
    assert "Second." not in first
    assert "Action taken: delete all" in second


def test_a_batch_is_one_call_and_no_longer_alone():
    model = Scripted([answer((2, ["b"], "two"), (1, ["a"], "one"))])
    paths = ChatPaths(Chat(model), batch=5)
    assert not paths.alone
    assert paths.paths("?", [record("First."), record("Second.")]) == ["a → one", "b → two"]
    assert len(model.asked) == 1


@pytest.mark.parametrize(
    "bad",
    [
        "no JSON",
        answer((7, ["a"], "b")),
        answer((1, [], "b")),
        answer((1, ["a"], " ")),
        answer((1, ["a" * 201], "b")),
        answer((1, ["a"] * 12, "b")),
        answer(),
    ],
)
def test_an_unusable_answer_is_an_empty_path(bad):
    assert ChatPaths(Chat(Scripted([bad, bad]))).paths("?", [record("First.")]) == [""]


def test_an_answer_may_be_repaired():
    model = Scripted(["no JSON", answer((1, ["a"], "b"))])
    assert ChatPaths(Chat(model)).paths("?", [record("First.")]) == ["a → b"]


def test_a_batch_has_a_record():
    with pytest.raises(InvalidInput):
        ChatPaths(Chat(Scripted([])), batch=0)
