"""Thoughts by rule: what is seen in a turn, what is dropped, what becomes one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halflife.agent.post_thinker import ModelPostThinker
from halflife.agent.thoughts import RulePostThinker, Thought, entity, sentences
from halflife.errors import InvalidInput, UnusableAnswer
from halflife.llm.client import Chat
from tests.llm.scripted import Scripted

RULE = RulePostThinker(user="Anna", assistant="Bo")


def triples(query, response=""):
    return [(t.head, t.relation, t.tails[0]) for t in RULE.think(query, response)]


@pytest.mark.parametrize(
    ("said", "triple"),
    [
        ("I live in Paris now.", ("Anna", "lives in", "Paris")),
        ("I've moved to Bern.", ("Anna", "lives in", "Bern")),
        ("Well, actually I work for the city!", ("Anna", "works at", "the city")),
        ("I work as a nurse.", ("Anna", "works as", "nurse")),
        ("I really love jazz", ("Anna", "likes", "jazz")),
        ("I don't like rain.", ("Anna", "dislikes", "rain")),
        ("My favourite colour is blue.", ("Anna", "favourite colour", "blue")),
        ("Your name is Bo.", ("Bo", "name", "Bo")),
        ("Maria Lopez works at the harbour.", ("Maria Lopez", "works at", "the harbour")),
        ("Melanie has two cats.", ("Melanie", "has", "two cats")),
        ("Caroline's new job is at the zoo.", ("Caroline", "new job", "at the zoo")),
        ("Melanie is currently managing kids.", ("Melanie", "is", "managing kids")),
    ],
)
def test_statements(said, triple):
    assert triples(said) == [triple]


@pytest.mark.parametrize(
    "said",
    [
        "",
        "Where do I live?",
        "I don't live in Paris.",
        "I am not a teacher.",
        "If I live in Rome, I will be happy.",
        "I have been to Rome.",
        "I have to go.",
        "It is raining.",
        "That is nice.",
        "Today is Sunday.",
    ],
)
def test_what_states_nothing_of_anyone_gives_no_thought(said):
    assert triples(said) == []


def test_each_speaker_speaks_of_themselves():
    assert triples("I like tea. You like jazz.", "I like jazz. You live in Oslo.") == [
        ("Anna", "likes", "tea"),
        ("Bo", "likes", "jazz"),
        ("Bo", "likes", "jazz"),
        ("Anna", "lives in", "Oslo"),
    ]


def thought(head, relation, tail, created=0.0, id=""):
    return Thought(head, relation, (tail,), created, id or tail)


def test_the_newest_of_a_functional_relation_stays_whatever_the_order_and_spelling():
    oslo, bergen, lima = (
        thought("Anna", "lives in", "Oslo", 1),
        thought(" ANNA", "Lives  in", "Bergen", 3),
        thought("anna", "lives in", "Lima", 2),
    )
    for order in ([oslo, bergen, lima], [lima, bergen, oslo], [bergen, oslo, lima]):
        assert sorted(RULE.contradictions(order)) == ["Lima", "Oslo"]


def test_of_one_moment_the_later_in_the_list_is_the_newer():
    assert RULE.contradictions([thought("A", "age", "5"), thought("A", "age", "6")]) == ["5"]


def test_what_can_be_true_together_does_not_contradict():
    assert RULE.contradictions([thought("A", "likes", "tea"), thought("A", "likes", "jazz")]) == []
    assert RULE.contradictions([thought("A", "age", "5"), thought("B", "age", "6")]) == []
    assert RULE.contradictions([thought("A", "lives in", "Oslo", 1), thought("A", "lives in", "oslo ", 2)]) == []


def test_favourites_are_functional_and_others_can_be_made_so():
    assert RULE.is_functional("favourite tea")
    assert not RULE.is_functional("plays")
    assert RulePostThinker(functional=["Plays"]).is_functional("plays")


def test_merging_names_each_tail_once_oldest_first():
    merged = RULE.merge(
        [
            thought("anna", "likes", "Jazz", 5, "c"),
            thought("Anna", "likes", "tea", 1, "a"),
            thought("Anna", "lives in", "Oslo", 1, "x"),
            thought("Anna", "likes", "jazz ", 2, "b"),
        ]
    )
    assert len(merged) == 1
    assert set(merged[0].ids) == {"a", "b", "c"}
    assert merged[0].thought.tails == ("tea", "jazz ")
    assert merged[0].thought.created == 5


def test_what_was_merged_can_be_merged_again():
    first = RULE.merge([thought("Anna", "likes", "tea"), thought("Anna", "likes", "jazz")])[0].thought
    again = RULE.merge([first, thought("Anna", "likes", "rain", 9)])[0].thought
    assert again.text == "Anna likes tea, jazz and rain."


names = st.sampled_from(["Anna", "anna ", "Bo"])
thoughts = st.lists(
    st.builds(
        lambda head, relation, tail, created: Thought(head, relation, (tail,), created),
        names,
        st.sampled_from(["lives in", "likes"]),
        st.sampled_from(["a", "b", "c"]),
        st.floats(0, 10),
    ),
    max_size=12,
)


@given(thoughts)
def test_after_tidying_nothing_is_left_to_tidy_and_no_truth_is_lost(found):
    found = [Thought(t.head, t.relation, t.tails, t.created, str(i)) for i, t in enumerate(found)]
    dropped = set(RULE.contradictions(found))
    kept = [t for t in found if t.id not in dropped]
    assert RULE.contradictions(kept) == []
    groups = RULE.merge(kept)
    merged_ids = {i for group in groups for i in group.ids}
    after = [t for t in kept if t.id not in merged_ids] + [group.thought for group in groups]
    assert RULE.merge(after) == []
    assert {(t.subject, entity(tail)) for t in kept for tail in t.tails} == {
        (t.subject, entity(tail)) for t in after for tail in t.tails
    }
    assert {t.subject for t in after} == {t.subject for t in found}


def test_an_empty_part_of_a_triple_is_refused():
    for head, relation, tails in (
        ("", "is", ("x",)),
        ("A", " ", ("x",)),
        ("A", "is", ()),
        ("A", "is", (" ",)),
    ):
        with pytest.raises(InvalidInput, match="empty"):
            Thought(head, relation, tails)


def test_sentences_keep_numbers_whole():
    assert sentences("I paid 3.50 today.\nYou?") == ["I paid 3.50 today.", "You?"]
    assert sentences("   ") == []


# -- by a language model ----------------------------------------------------------------------------------------------


def scripted(*answers, **options):
    return ModelPostThinker(Chat(Scripted(list(answers))), **options)


def test_a_malformed_answer_is_repaired_once():
    thinker = scripted(
        "I cannot.", '{"thoughts": [{"head": "Anna", "relation": "likes", "tail": "tea", "side": "query"}]}'
    )
    [found] = thinker.think("I like tea.", "Me too.")
    assert (found.head, found.tails, found.source) == ("Anna", ("tea",), "query")
    first, second = thinker.chat.model.asked
    assert second[: len(first)] == first
    assert second[len(first)].content == "I cannot."


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "[]",
        "{}",
        '{"thoughts": 3}',
        '{"thoughts": [3]}',
        '{"thoughts": [{"head": "A", "relation": "is", "tail": ["x"]}]}',
        '{"thoughts": [{"head": " ", "relation": "is", "tail": "x"}]}',
        '{"thoughts": [{"head": "A", "relation": "is", "tail": "x"}',
    ],
)
def test_an_answer_that_is_malformed_twice_is_an_error(answer):
    with pytest.raises(UnusableAnswer, match="cannot be used"):
        scripted(answer, answer).think("a", "b")


@pytest.mark.parametrize(
    "answer", ['{"untrue": [3]}', '{"untrue": [0]}', '{"untrue": [true]}', '{"untrue": ["1"]}', '{"untrue": [1, 2]}']
)
def test_only_thoughts_that_were_shown_can_be_untrue_and_never_all(answer):
    two = [thought("A", "age", "5", 1), thought("A", "age", "6", 2)]
    with pytest.raises(UnusableAnswer):
        scripted(answer, answer).contradictions(two)
    assert scripted('{"untrue": [1, 1]}').contradictions(two) == ["5"]


def group(numbers, tails=("tea", "jazz")):
    return {"numbers": numbers, "head": "A", "relation": "likes", "tails": list(tails), "text": "A likes both."}


@pytest.mark.parametrize(
    "groups", [[group([1])], [group([1, 4])], [group([1, 2]), group([2, 3])], [group([1, 2], [])], [3]]
)
def test_groups_that_make_no_sense_are_refused(groups):
    three = [thought("A", "likes", tail, created) for created, tail in enumerate(("tea", "jazz", "rain"))]
    answer = json.dumps({"groups": groups})
    with pytest.raises(UnusableAnswer):
        scripted(answer, answer).merge(three)


def test_a_group_is_as_new_as_its_newest_part():
    two = [thought("A", "likes", "jazz", 7), thought("A", "likes", "tea", 3)]
    [merged] = scripted(json.dumps({"groups": [group([1, 2])]})).merge(two)
    assert merged.ids == ("tea", "jazz")  # shown from old to new
    assert (merged.thought.created, merged.thought.text, merged.thought.tails) == (7, "A likes both.", ("tea", "jazz"))


def test_a_large_bucket_is_shown_in_chunks_that_part_no_head():
    bucket = [thought(head, "likes", f"{head}{i}", i) for i in range(3) for head in ("Ada", "Bo", "Cleo")]
    bucket.append(thought("Zoe", "likes", "tea"))
    thinker = scripted(*['{"untrue": [1]}'] * 3, chunk=4)
    found = thinker.contradictions(bucket)
    assert found == ["Ada0", "Bo0", "Cleo0"]
    assert [prompt.count(" likes ") for prompt in thinker.chat.model.prompts] == [3, 3, 4]


def test_one_thought_alone_needs_no_model():
    assert scripted().merge([thought("A", "likes", "tea")]) == []
