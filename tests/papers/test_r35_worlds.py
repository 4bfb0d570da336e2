"""Think-in-Memory's generated tests do what their descriptions say."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halflife.agent.thoughts import RulePostThinker
from halflife.papers.r35_worlds import (
    NAMES,
    THINGS,
    NoisyReasoner,
    current,
    history,
    inconsistency,
    quantity,
    question,
    statements,
)


@given(st.integers(0, 1000), st.sampled_from(NAMES))
@settings(max_examples=30)
def test_nobody_ever_owes_anything(seed, person):
    updates = history(seed, person)
    assert len(updates) == 30
    for end in range(31):
        assert all(quantity(updates[:end], thing) >= 0 for thing in THINGS)


def test_people_have_histories_of_their_own():
    assert len(set(NAMES)) == 40
    assert history(0, "Ada") == history(0, "Ada") != history(1, "Ada")
    assert [u.change for u in history(0, "Ada")] != [u.change for u in history(0, "Bo")]


def test_the_reasoner_errs_as_often_as_it_should():
    updates = history(0, "Ada")
    reasoner = NoisyReasoner(0.15, np.random.default_rng(0))
    right = np.mean([reasoner.derive(updates, "eggs") == quantity(updates, "eggs") for _ in range(5000)])
    assert right == pytest.approx(0.85, abs=0.02)


def test_inconsistency_of_known_answers():
    assert inconsistency([1] * 10) == 0
    assert inconsistency(range(10)) == 1
    assert inconsistency([1, 1, 1, 2]) == 0.5


def test_the_stream_has_the_mixture_asked_for():
    said = statements(0, 300)
    share = {sort: count / 300 for sort, count in Counter(s.sort for s in said).items()}
    assert share == pytest.approx({"new": 0.4, "change": 0.3, "repeat": 0.3}, abs=0.08)


def test_each_sort_does_what_it_is_called():
    known = {}
    for s in statements(1, 300):
        before = known.get((s.head, s.relation))
        assert {"new": before is None, "repeat": before == s.tail, "change": before not in (None, s.tail)}[s.sort]
        known[s.head, s.relation] = s.tail
    assert known == current(statements(1, 300))


def test_a_stream_longer_than_its_facts_goes_on():
    said = statements(0, 600)
    assert len(said) == 600
    assert Counter(s.sort for s in said)["new"] == 200


def test_every_relation_of_the_stream_is_functional_and_can_be_asked_for():
    said = statements(0)
    assert all(RulePostThinker().is_functional(s.relation) for s in said)
    assert all(question(s.head, s.relation).endswith("?") for s in said)
