"""A memory of keys and values keeps each control point apart from the others."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halflife.errors import InvalidInput
from halflife.llm.hashing import HashEmbedder
from halflife.probe.benchmarks.expansions import RULES, by_model, facts, keyphrases, sentences
from halflife.probe.benchmarks.history import History, Item, Question
from halflife.probe.benchmarks.keyvalue import KeyValueMemory, by_date
from halflife.probe.benchmarks.retrievers import Dense

HISTORY = History(
    "h",
    (
        Item("b_0", "What is rye? I have a beagle. I work nights.", 100.0, "b", "user"),
        Item("b_1", "A grain.", 130.0, "b", "assistant"),
        Item("a_0", "How do tides work?", 0.0, "a", "user"),
        Item("a_1", "By the moon.", 30.0, "a", "assistant"),
        Item("a_2", "Thanks, my sister sails.", 60.0, "a", "user"),
        Item("c_0", "Hello.", 200.0, "c", "assistant"),
    ),
)


def keys(**options):
    memory = KeyValueMemory(HashEmbedder(), **options)
    memory.ingest(HISTORY)
    return memory.keys


def test_values_are_sessions_rounds_or_facts():
    found = {}
    for value in ("session", "round", "fact"):
        memory = KeyValueMemory(None, value=value)
        memory.ingest(HISTORY)
        found[value] = [(one.source, one.session, one.text) for one in memory.values]
    assert found["session"][1] == (
        "a",
        "a",
        "user: How do tides work?\nassistant: By the moon.\nuser: Thanks, my sister sails.",
    )
    assert [source for source, _, _ in found["session"]] == ["b", "a"]
    assert found["round"][0][2] == "user: What is rye? I have a beagle. I work nights.\nassistant: A grain."
    assert found["round"][2] == ("a_2", "a", "user: Thanks, my sister sails.")
    assert [(source, text) for source, _, text in found["fact"]] == [
        ("b_0", "The user has a beagle."),
        ("b_0", "The user work nights."),
        ("a_2", "Thanks, the user's sister sails."),
    ]


def test_keys_are_joined_as_said():
    text, fact = HISTORY.items[0].text, "The user has a beagle. The user work nights."
    assert keys(key="V")[:2] == [text, "How do tides work?"]
    assert keys(key="V+fact")[:2] == [f"{fact} {text}", "How do tides work?"]
    assert keys(key="V+fact", join="separate")[:3] == [text, fact, "How do tides work?"]
    assert keys(key="fact") == keys(key="fact", join="replace") == [fact, "Thanks, the user's sister sails."]
    assert keys(key="fact", split=True)[:2] == ["The user has a beagle.", "The user work nights."]
    assert keys(key="V+fact", split=True)[1] == f"The user work nights. {text}"
    assert all("assistant" not in key and "grain" not in key for key in keys(value="session", key="V+summary"))


def test_ids_are_never_keys():
    assert not any(id in key for key in keys(value="session", key="V+keyphrase") for id in ("b_0", "a_2", "answer"))


def test_what_has_no_key_comes_last_and_is_not_lost():
    memory = KeyValueMemory(None, key="fact")
    memory.ingest(HISTORY)
    found = memory.find("beagle sister")
    assert [one.value.source for one in found][-1] == "a_0"
    assert found[-1].score == float("-inf")
    assert [one.value.source for one in memory.find("nothing of the kind")] == ["b_0", "a_2", "a_0"]  # ties keep order


def test_an_empty_history_has_nothing():
    memory = KeyValueMemory(HashEmbedder())
    assert memory.find("anything") == []
    memory.ingest(HISTORY)
    memory.ingest(History("", ()))
    assert memory.find("anything") == []


@given(st.lists(st.text("ab .I?", min_size=1, max_size=20), min_size=1, max_size=8), st.data())
@settings(max_examples=60, deadline=None)
def test_every_value_is_found_once_by_its_best_key(texts, data):
    items = tuple(Item(f"s_{n}", text, float(n), "s", "user") for n, text in enumerate(texts))
    key = data.draw(st.sampled_from(["V", "fact", "V+fact", "V+keyphrase", "summary"]))
    join = data.draw(st.sampled_from([None, "merge", "separate"] if key.startswith("V+") else [None]))
    memory = KeyValueMemory(HashEmbedder(64), key=key, join=join, split=data.draw(st.booleans()))
    memory.ingest(History("h", items))
    found = memory.find("a b")
    assert Counter(one.value.source for one in found) == Counter(item.id for item in items)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert [one.value.source for one in memory.find("a b", 2)] == [one.value.source for one in found[:2]]
    assert [value.at for value in by_date(found)] == sorted(value.at for value in by_date(found))


def test_plain_rounds_rank_as_exact_search_does():
    items = tuple(Item(f"s_{n}", text, float(n), "s", "user") for n, text in enumerate(["a cat", "tax", "a cat sat"]))
    memory, dense = KeyValueMemory(HashEmbedder()), Dense(HashEmbedder())
    memory.ingest(History("h", items))
    dense.ingest(History("h", items))
    assert [f.value.source for f in memory.find("cat sat")] == dense.search(Question("q", "cat sat", None, ""), 3)


def test_each_text_is_expanded_once():
    asked = []
    memory = KeyValueMemory(
        HashEmbedder(), key="V+fact", expansions={"fact": lambda text: asked.append(text) or [text.upper()]}
    )
    memory.ingest(HISTORY)
    memory.ingest(HISTORY)
    assert sorted(asked) == sorted({item.text for item in HISTORY.items if item.speaker == "user"})
    assert memory.keys[0].startswith("WHAT IS RYE?")


def test_all_windows_of_a_long_key_may_be_keys():
    long = History("h", (Item("s_0", "rye bread. " * 400 + "My sister sails.", 0.0, "s", "user"),))
    first, every = (KeyValueMemory(HashEmbedder(), windows=windows) for windows in ("first", "all"))
    first.ingest(long)
    every.ingest(long)
    assert len(first.keys) == 1
    assert every.keys == HashEmbedder().split(long.items[0].text)
    assert [one.value.source for one in every.find("sister")] == ["s_0"]


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"value": "turn"}, "no value 'turn'"),
        ({"key": "V+dream"}, "no key 'V"),
        ({"key": "V+fact", "join": "glue"}, "no join"),
        ({"key": "V+fact", "join": "replace"}, "cannot be joined"),
        ({"key": "V", "join": "merge"}, "cannot be joined"),
        ({"value": "fact", "key": "fact"}, "Facts as values"),
        ({"windows": "last"}, "kind of windows"),
    ],
)
def test_bad_designs_are_refused(options, what):
    with pytest.raises(InvalidInput, match=what):
        KeyValueMemory(HashEmbedder(), **options)


# -- expansions -----------------------------------------------------------------------------------------------


@given(st.text())
@settings(max_examples=100, deadline=None)
def test_rules_take_any_text(text):
    for rule in RULES.values():
        assert all(isinstance(one, str) and one for one in rule(text))
    assert len(facts(text)) <= len(sentences(text))
    assert len(keyphrases(text, 3)) <= 3


def test_facts_are_statements_of_the_user():
    text = "I'm late. Do I need rye? We've a dog of our own! Rain fell. They gave me mine."
    assert facts(text) == [
        "The user is late.",
        "The user has a dog of the user's own!",
        "They gave the user the user's.",
    ]
    assert facts("") == []


def test_a_model_that_answers_nonsense_expands_nothing():
    assert by_model(lambda _: "no list here", "fact")("x") == []
    assert by_model(lambda _: "[1, 2", "fact")("x") == []
    assert by_model(lambda _: 'Sure: ["a", 3, " "]', "fact")("x") == ["a"]
    assert by_model(lambda _: "a; b;", "keyphrase")("x") == ["a", "b"]
    assert by_model(lambda _: " ", "summary")("x") == []
    with pytest.raises(InvalidInput, match="no expansion"):
        by_model(lambda _: "", "poem")
