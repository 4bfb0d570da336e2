"""Memory managers: what they see, what they may do, and what the shipped one does with facts of any kind."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from halflife.agent.facts import Fact, facts_of, third_person
from halflife.agent.manager import AlwaysAdd, Candidate, ManagerPolicy, RuleManager, merged, plans
from halflife.agent.manager_features import FACT_FEATURES, PAIR_FEATURES, features
from halflife.agent.manager_learned import LearnedManager
from halflife.agent.manager_llm import LLMManager
from halflife.errors import InvalidInput, ModelCorrupt, UnusableAnswer
from halflife.llm.client import Chat
from tests.llm.scripted import Scripted

OSLO = Candidate("e1", "Anna lives in Oslo.", 0.8)
REX = Candidate("e2", "Anna has a dog called Rex.", 0.3)
TEXTS = st.text(min_size=1, max_size=60).filter(lambda text: text.strip())


def kinds(policy: ManagerPolicy, fact: str, *candidates: Candidate, said: str = "") -> list[str]:
    return [op.kind for op in policy.act(Fact(fact, said, "m"), candidates, len(candidates))[0].ops]


# -- by rule ------------------------------------------------------------------------------------------------------


def test_the_baselines_do_what_they_say():
    assert kinds(AlwaysAdd(), "Anna lives in Bergen.", OSLO) == ["ADD"]
    assert kinds(RuleManager(0.7), "Anna lives in Bergen.", OSLO) == ["UPDATE"]
    assert kinds(RuleManager(0.9), "Anna lives in Bergen.", OSLO) == ["ADD"]
    assert kinds(RuleManager(0.1), "Anna lives in Bergen.") == ["ADD"]
    assert kinds(RuleManager(0.7, "delete"), "Anna left Oslo.", OSLO) == ["DELETE"]
    with pytest.raises(InvalidInput, match="no act"):
        RuleManager(act="forget")


def test_merging_says_nothing_twice():
    assert merged("Anna has a cat.", "Anna has a dog. Anna has a cat!") == "Anna has a cat. Anna has a dog."


# -- learned ------------------------------------------------------------------------------------------------------


@given(TEXTS, st.lists(st.tuples(TEXTS, st.floats(-1, 1)), max_size=4), st.integers(0, 10_000))
@settings(max_examples=80, deadline=None)
def test_any_fact_gives_a_distribution_over_legal_operations(text, entries, size):
    shown = [Candidate(f"e{i}", entry, cosine) for i, (entry, cosine) in enumerate(entries)]
    choices = LearnedManager().act(Fact(text), shown, size)
    odds = [choice.probability for choice in choices]
    assert odds == sorted(odds, reverse=True)
    assert sum(odds) == pytest.approx(1.0, abs=1e-4)
    assert 2 <= len(choices) <= 2 + 3 * len(shown)
    for choice in choices:
        assert {op.id for op in choice.ops} <= {one.id for one in shown} | {""}
    if not shown:
        assert {op.kind for choice in choices for op in choice.ops} == {"ADD", "NOOP"}


def test_features_have_their_names_and_know_the_relation():
    of_fact, of_pairs = features(Fact("Anna lives in Bergen.", "I moved to Bergen."), [OSLO, REX], 2)
    assert of_fact.shape == (len(FACT_FEATURES),)
    assert of_pairs.shape == (2, len(PAIR_FEATURES))
    seen = [dict(zip(PAIR_FEATURES, row.tolist(), strict=True)) for row in of_pairs]
    assert [one["one value"] for one in seen] == [1.0, 0.0]
    assert [one["same subject"] for one in seen] == [1.0, 1.0]
    assert dict(zip(FACT_FEATURES, of_fact.tolist(), strict=True))["replace"] == 1.0
    assert features(Fact("Anna lives in Bergen."), [], 0)[1].shape == (0, len(PAIR_FEATURES))


def test_names_and_values_do_not_matter_to_the_learned_manager():
    """What it decides depends on how fact and entry relate, so other names and places change nothing."""

    def decided(name: str, old: str, new: str) -> list[float]:
        fact = Fact(f"{name} lives in {new}.", f"I moved to {new}.")
        return [c.probability for c in LearnedManager().act(fact, [Candidate("e", f"{name} lives in {old}.", 0.7)], 1)]

    assert decided("Anna", "Oslo", "Bergen") == pytest.approx(decided("Wenzel", "Quito", "Ulm"), abs=1e-6)


@pytest.mark.parametrize(
    ("said", "entry", "cosine", "expected"),
    [
        ("I moved to Bergen.", "Anna lives in Oslo.", 0.7, "overwrite"),
        ("My favourite colour is now green.", "Anna's favourite colour: blue.", 0.8, "overwrite"),
        ("I also adopted a cat named Tom.", "Anna adopted a dog named Rex.", 0.7, "merge"),
        ("I no longer play chess.", "Anna plays chess.", 0.8, "delete"),
        ("I cancelled my gym membership.", "Anna has a gym membership.", 0.8, "delete"),
        ("I live in Oslo.", "Anna lives in Oslo.", 1.0, "NOOP"),
        ("I live in Oslo.", "Ben has a red car.", 0.1, "ADD"),
        ("I have a dog called Rex.", "Ben has a dog called Bello.", 0.7, "ADD"),
        ("I like jazz.", "Anna likes tea.", 0.5, "merge or ADD"),
        ("Carl moved to Rome.", "Anna lives in Rome.", 0.55, "ADD"),
    ],
)
def test_the_shipped_manager_tells_what_a_statement_does(said, entry, cosine, expected):
    [fact] = facts_of(said, "Anna")
    shown = [Candidate("e1", entry, cosine), Candidate("e2", "Ben works at the harbour.", 0.1)]
    chosen = LearnedManager().act(fact, shown, 2)[0].ops[0]
    allowed = {
        "ADD": [plans(fact, shown)[0]],
        "NOOP": [plans(fact, shown)[1], plans(fact, shown)[3]],  # merging what is there already changes nothing
        "overwrite": [plans(fact, shown)[2]],
        "merge": [plans(fact, shown)[3]],
        "merge or ADD": [plans(fact, shown)[0], plans(fact, shown)[3]],
        "delete": [plans(fact, shown)[4]],
    }[expected]
    assert chosen in allowed


def test_an_entry_about_somebody_else_is_never_touched():
    shown = [Candidate("e1", "Anna lives in Rome.", 0.9), Candidate("e2", "The flat in Rome is large.", 0.5)]
    choices = LearnedManager().act(Fact("Ben lives in Rome.", "Ben moved to Rome."), shown, 2)
    assert {op.id for choice in choices for op in choice.ops} == {"", "e2"}


def test_weights_of_another_version_or_none_at_all_are_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(save({"in.bias": np.zeros(3, np.float32)}))
    with pytest.raises(ModelCorrupt, match=r"in\.weight"):
        LearnedManager(path)
    path.write_bytes(b"no weights")
    with pytest.raises(ModelCorrupt, match="cannot be read"):
        LearnedManager(path)


# -- by a language model ------------------------------------------------------------------------------------------


def answer(*lines: dict) -> dict:
    return {"memory": list(lines)}


def test_a_model_chooses_by_number_in_the_format_of_mem0():
    model = Scripted(
        [
            answer(
                {"id": "1", "event": "UPDATE", "text": "Anna lives in Bergen.", "old_memory": "Anna lives in Oslo."},
                {"id": "2", "event": "NONE"},
                {"id": "new", "event": "ADD", "text": "Anna likes rain."},
            )
        ]
    )
    [choice] = LLMManager(Chat(model)).act(Fact("Anna lives in Bergen.", source="m"), [OSLO, REX], 2)
    assert choice.probability == 1.0
    assert [(op.kind, op.id, op.text, op.source) for op in choice.ops] == [
        ("UPDATE", "e1", "Anna lives in Bergen.", "m"),
        ("ADD", "", "Anna likes rain.", "m"),
    ]


def test_nothing_chosen_is_a_noop():
    assert kinds(LLMManager(Chat(Scripted([answer()]))), "Anna lives in Oslo.", OSLO) == ["NOOP"]


@pytest.mark.parametrize(
    "wrong",
    [
        answer({"id": "3", "event": "DELETE"}),
        answer({"id": "e1", "event": "UPDATE", "text": "x"}),
        answer({"id": "1", "event": "DELETE"}, {"id": "1", "event": "UPDATE", "text": "x"}),
        answer({"id": "new", "event": "ADD", "text": " "}),
        answer({"id": "new", "event": "ADD", "text": "x" * 3000}),
        answer({"id": "1", "event": "FORGET"}),
    ],
)
def test_an_answer_that_cannot_be_used_is_asked_for_again_and_then_refused(wrong):
    policy = LLMManager(Chat(Scripted([json.dumps(wrong), answer({"id": "1", "event": "DELETE"})])))
    assert kinds(policy, "Anna left Oslo.", OSLO, REX) == ["DELETE"]
    with pytest.raises(UnusableAnswer):
        kinds(LLMManager(Chat(Scripted([wrong, wrong]))), "Anna left Oslo.", OSLO, REX)


def test_of_an_empty_bank_nothing_can_be_changed():
    with pytest.raises(UnusableAnswer):
        kinds(LLMManager(Chat(Scripted([answer({"id": "1", "event": "DELETE"})] * 2))), "Anna left Oslo.")


# -- facts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "facts"),
    [
        ("I'm allergic to nuts. I have two kids.", ["Anna is allergic to nuts.", "Anna has two kids."]),
        ("I no longer work at Siemens.", ["Anna no longer works at Siemens."]),
        ("Well, I quit my job.", ["Anna quit their job."]),
        ("My sister Maria got married in June.", ["Anna's sister Maria got married in June."]),
        ("I've been learning Spanish with my aunt.", ["Anna has been learning Spanish with their aunt."]),
        ("I sing and carry on. I try.", ["Anna sings and carry on."]),
        ("Maria sold the Volvo. Ben got promoted.", ["Maria sold the Volvo.", "Ben got promoted."]),
        ("Do you like tea? I think so! Thanks for asking. What a day!", []),
    ],
)
def test_statements_become_facts_in_the_third_person(said, facts):
    assert [fact.text for fact in facts_of(said, "Anna")] == facts


@given(st.text(max_size=80))
@settings(max_examples=100, deadline=None)
def test_any_text_can_be_read(text):
    for fact in facts_of(text, "Anna"):
        assert fact.text.strip()
    assert third_person(text or "x", "Anna").endswith(".")
