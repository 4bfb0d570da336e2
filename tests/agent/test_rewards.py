"""Rewards: what counts as the same answer."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halflife.agent.rewards import bleu1, exact_match, normalised, token_f1


@pytest.mark.parametrize(
    "written", ["7 May 2023", "May 7, 2023", "7th of May 2023", "May 7th, 2023", "2023-05-07", "the 7th of may, 2023"]
)
def test_a_date_is_one_however_it_is_written(written):
    assert exact_match(written, "7 May 2023") == 1.0
    assert exact_match(written, "8 May 2023") == 0.0


def test_months_and_what_only_looks_like_a_date():
    assert exact_match("Sept. 2022", "September, 2022") == 1.0
    assert exact_match("May 2022", "7 May 2022") == 0.0
    assert normalised("2023-99-99") == "2023 99 99"
    assert exact_match(2022, "2022") == 1.0


def test_case_articles_punctuation_and_accents_do_not_matter_but_words_do():
    assert exact_match("The Café!", "cafe") == 1.0
    assert exact_match("self-care", "self care") == 1.0
    assert exact_match("theatre", "atre") == 0.0


def test_overlap_counts_a_word_as_often_as_it_is_in_both():
    assert token_f1("cat cat dog", "cat dog dog") == pytest.approx(2 / 3)
    assert bleu1("cat cat cat", "cat dog bird") == pytest.approx(1 / 3)
    assert bleu1("cat", "cat dog bird") == pytest.approx(math.exp(-2))


@given(st.text(max_size=30), st.text(max_size=30))
def test_all_are_shares_and_one_for_the_answer_itself(a, b):
    for measure in (exact_match, token_f1, bleu1):
        assert 0.0 <= measure(a, b) <= 1.0
        assert measure(a, a) == pytest.approx(1.0)
    assert token_f1(a, b) == pytest.approx(token_f1(b, a))
