"""What counts as a word, in which scripts, and what a query must still find."""

from __future__ import annotations

import doctest
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halflife.store import text as module
from halflife.store.text import STOP_WORDS, query_ids, term_ids, tokenize


def finds(query: str, document: str) -> bool:
    return bool(np.isin(query_ids(query), term_ids(document)).any())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("?! ... --", []),
        ("The Cat, the CAT", ["the", "cat", "the", "cat"]),
        ("Anna's dog", ["anna", "dog"]),
        ("Anna’s dog", ["anna", "dog"]),
        ("I don't, they'll, we're", ["i", "dont", "they", "we"]),
        ("vitamin 'd'", ["vitamin", "d"]),
        ("l'homme", ["l", "homme"]),
        ("on 2023-05-04 at 1:56 pm", ["on", "2023", "05", "04", "at", "1", "56", "pm"]),
        ("$1,500 or 1,2,3", ["1500", "or", "1", "2", "3"]),
        ("snake_case B2B", ["snake", "case", "b2b"]),
        ("ﬁne Ｆｕｌｌ STRASSE straße", ["fine", "full", "strasse", "strasse"]),
        ("cafe\u0301 naïve", ["café", "naïve"]),
        ("co\u00adoperate zero\u200bwidth", ["cooperate", "zerowidth"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("தமிழ் மொழி", ["தமிழ்", "மொழி"]),
        ("Привет, МИР", ["привет", "мир"]),
        ("שָׁלוֹם", [unicodedata.normalize("NFKC", "שָׁלוֹם")]),
        ("👍🏽 ok 👨‍👩‍👧 🇩🇪🇫🇷", ["👍", "ok", "👨", "👩", "👧", "🇩🇪", "🇫🇷"]),
        ("猫", ["猫"]),
        ("iPhone手机", ["iphone", "手", "机", "手机"]),
        ("カタ。カナ", ["カ", "タ", "カタ", "カ", "ナ", "カナ"]),
    ],
)
def test_words_of_a_document(text, words):
    assert tokenize(text) == words


@pytest.mark.parametrize(
    ("query", "document"),
    [
        ("猫", "我有一只猫"),
        ("一只", "我有一只猫"),
        ("ねこ", "うちのねこはかわいい"),
        ("コーヒー", "毎朝コーヒーを飲む"),
        ("고양이", "우리 고양이가 잔다"),
        ("집", "집에서 쉰다"),
        ("แมว", "ฉันมีแมวหนึ่งตัว"),
        ("ឆ្មា", "ខ្ញុំមានឆ្មាមួយ"),
        ("running cats", "the cat runs"),
        ("Anna", "Anna's birthday"),
        ("ANNA’S", "we met anna"),
        ("1500 dollars", "it cost $1,500"),
        ("2023", "on 2023-05-04"),
        ("👍", "great 👍🏿"),
        ("❤️", "I ❤ Rome"),
        ("the who", "The Who played"),
    ],
)
def test_a_query_finds_the_document(query, document):
    assert finds(query, document)


@pytest.mark.parametrize(
    ("query", "document"),
    [("黑猫", "猫是黑的"), ("What is the cat?", "what is the dog"), ("art", "party"), ("5", "15")],
)
def test_a_query_does_not_find_the_document(query, document):
    assert not finds(query, document)


def test_stop_words_go_only_from_queries_and_only_when_something_is_left():
    assert len(term_ids("what is the cat")) == 4
    assert query_ids("what is the cat").tolist() == query_ids("cat").tolist()
    assert len(query_ids("what is the")) == 3
    assert all(tokenize(word) == [word] for word in STOP_WORDS)


def test_only_latin_words_lose_their_endings():
    assert finds("walking", "walked")
    assert not finds("собаки", "собака")
    assert not finds("b2bs", "b2b")


@settings(deadline=None)
@given(st.text(max_size=60))
def test_term_ids_are_ascending_with_repeats_and_queries_are_unique(text):
    terms, query = term_ids(text), query_ids(text)
    assert terms.dtype == query.dtype == np.uint32
    assert len(terms) == len(tokenize(text))
    assert (np.diff(terms.astype(np.int64)) >= 0).all()
    assert (np.diff(query.astype(np.int64)) > 0).all()
    assert np.isin(query, terms).all()


@settings(deadline=None)
@given(st.text(max_size=40), st.text(max_size=40))
def test_paragraphs_are_independent(one, two):
    assert tokenize(f"{one}\n\n{two}") == tokenize(one) + tokenize(two)


@settings(deadline=None)
@given(st.text(st.characters(max_codepoint=127), max_size=60))
def test_the_fast_path_for_ascii_agrees_with_the_general_one(text):
    assert tokenize(text + "\né") == [*tokenize(text), "é"]


@settings(deadline=None)
@given(st.text(max_size=40))
def test_how_a_text_is_composed_does_not_matter(text):
    assert tokenize(unicodedata.normalize("NFD", text)) == tokenize(unicodedata.normalize("NFC", text))


@pytest.mark.parametrize(
    "text", ["a" * 10**6, "word " * 200_000, "\u0300\u0316" * 500_000, "猫" * 10**6, "1,000," * 170_000]
)
def test_huge_texts_come_back(text):
    """In linear time: any of these takes hours where a step is quadratic, and the suite's timeout sees it."""
    assert len(term_ids(text)) <= 2 * len(text)


def test_the_memory_of_words_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "_MEMO_WORDS", 50)
    before = term_ids("one two three")
    term_ids(" ".join(f"w{i}" for i in range(500)))
    assert len(module._TERM_IDS) <= 50
    assert term_ids("one two three").tolist() == before.tolist()


def test_the_examples_run():
    assert doctest.testmod(module).failed == 0
