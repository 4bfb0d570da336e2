"""The index against a naive BM25, under any interleaving of adds, removes and folds."""

from __future__ import annotations

import doctest
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halflife.errors import InvalidInput
from halflife.store import bm25
from halflife.store.bm25 import TextIndex

WORDS = st.integers(0, 7)
DOC = st.lists(WORDS, max_size=12)
STEP = st.one_of(
    st.tuples(st.just("add"), st.lists(DOC, max_size=6), st.integers(0, 2)),
    st.tuples(st.just("remove"), st.lists(st.integers(0, 40), max_size=5)),
    st.tuples(st.just("compact")),
)


def ids(words: list[int]) -> np.ndarray:
    return np.array(sorted(words), dtype=np.uint32)


def naive(docs: dict[int, list[int]], query: list[int], n: int, k1: float, b: float) -> list[float]:
    """BM25 as the textbook writes it."""
    mean = sum(map(len, docs.values())) / len(docs) if docs else 0.0
    out = [0.0] * n
    for slot, doc in docs.items():
        count = Counter(doc)
        for word in set(query) & set(count):
            df = sum(word in other for other in docs.values())
            idf = math.log(1 + (len(docs) - df + 0.5) / (df + 0.5))
            norm = k1 * (1 - b + b * len(doc) / mean)
            out[slot] += idf * count[word] * (k1 + 1) / (count[word] + norm)
    return out


def check(index: TextIndex, docs: dict[int, list[int]], query: list[int], size: int) -> None:
    got = index.scores(ids(query), size)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, naive(docs, query, size, index.k1, index.b), rtol=1e-5, atol=1e-6)
    assert got.max(initial=0.0) <= index.upper_bound(ids(query)) + 1e-5
    assert len(index) == len(docs)
    matches, every = index.ask(ids(query)), np.arange(index._size)
    while True:  # whichever terms are open, whole scores are the same and bounds hold
        np.testing.assert_array_equal(matches.score(every), got[: len(every)])
        assert (got[: len(every)] <= matches.scores + matches.rest + 1e-5).all()
        assert sorted(matches.slots.tolist()) == matches.scores.nonzero()[0].tolist()
        if not matches.rest:
            break
        matches.open()


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(STEP, max_size=12),
    query=st.lists(st.integers(0, 9), max_size=5),
    k1=st.sampled_from([0.0, 1.2, 2.0]),
    b=st.sampled_from([0.0, 0.75, 1.0]),
)
def test_equals_the_naive_form_after_every_step(steps, query, k1, b):
    index, docs, size = TextIndex(k1, b), {}, 0
    for step in steps:
        if step[0] == "add":
            slots = [size + step[2] + i for i in range(len(step[1]))]  # the caller may skip slots
            index.add(slots, [ids(doc) for doc in step[1]])
            docs.update(zip(slots, step[1], strict=True))
            size = slots[-1] + 1 if slots else size
        elif step[0] == "remove":
            gone = [slot for slot in step[1] if slot < size]
            index.remove(gone)
            docs = {slot: doc for slot, doc in docs.items() if slot not in gone}
        else:
            index.compact()
        check(index, docs, query, size)


def test_one_by_one_there_are_few_indexes(monkeypatch):
    monkeypatch.setattr(bm25, "_TAIL_DOCS", 3)
    index = TextIndex()
    for slot in range(500):
        index.add([slot], [ids([1, slot])])
    assert len(index._parts) <= 8
    check(index, {slot: [1, slot] for slot in range(500)}, [1, 7, 450], 500)


def random_docs(count: int, seed: int) -> list[np.ndarray]:
    """Words drawn as language draws them: a few common, many rare."""
    rng = np.random.default_rng(seed)
    vocabulary = rng.choice(2**32, 500, replace=False).astype(np.uint32)
    chance = 1 / np.arange(1, 501)
    return [np.sort(rng.choice(vocabulary, rng.integers(0, 30), p=chance / chance.sum())) for _ in range(count)]


def test_the_same_scores_whether_loaded_at_once_or_one_by_one_across_folds(monkeypatch):
    monkeypatch.setattr(bm25, "_TAIL_DOCS", 50)
    docs = random_docs(700, seed=1)
    bulk, single = TextIndex(), TextIndex()
    bulk.add(np.arange(700), docs)
    for slot, doc in enumerate(docs):
        single.add([slot], [doc])
    for index in (bulk, single):
        index.remove(np.arange(0, 700, 5))
    kept = {slot: doc.tolist() for slot, doc in enumerate(docs) if slot % 5}
    for query in docs[10:20]:
        np.testing.assert_allclose(bulk.scores(query, 700), single.scores(query, 700), rtol=1e-5, atol=1e-6)
    check(bulk, kept, docs[11].tolist(), 700)


def test_compacting_leaves_no_term_of_a_removed_document():
    index = TextIndex()
    index.add([0, 1], [ids([1, 2]), ids([2, 3])])
    index.compact()
    index.add([2], [ids([4])])
    index.remove([0, 2])
    index.compact()
    [part] = index._parts
    assert part.terms.tolist() == [2, 3]
    assert part.slots.tolist() == [1, 1]
    assert not index._tail_terms.size


def test_many_removals_fold_by_themselves(monkeypatch):
    monkeypatch.setattr(bm25, "_TAIL_DOCS", 10)
    index = TextIndex()
    index.add(np.arange(100), [ids([1, 2])] * 100)
    index.remove(np.arange(60))
    assert [len(part.slots) for part in index._parts] == [80]


def test_removing_twice_counts_once():
    index = TextIndex()
    index.add([0, 1], [ids([1]), ids([1, 2])])
    index.remove([0, 0])
    index.remove([0])
    check(index, {1: [1, 2]}, [1, 2], 2)


def test_scores_cover_the_slots_asked_for():
    index = TextIndex()
    assert index.scores(ids([1]), 3).tolist() == [0, 0, 0]
    assert index.upper_bound(ids([1])) == 0
    index.add([0, 1], [ids([1]), ids([1])])
    assert index.scores(ids([1]), 1).shape == (1,)
    assert index.scores(ids([1]), 5).nonzero()[0].tolist() == [0, 1]
    assert not index.scores(ids([]), 2).any()


def test_a_word_repeated_in_the_query_counts_once():
    index = TextIndex()
    index.add([0], [ids([1, 2])])
    assert index.scores(np.array([1, 1, 1], np.uint32), 1) == index.scores(ids([1]), 1)


def test_bad_slots_change_nothing():
    index = TextIndex()
    index.add([3], [ids([1])])
    for slots, docs in (
        ([3], [ids([2])]),
        ([5, 4], [ids([2])] * 2),
        ([4, 5], [ids([2])]),
        ([4.5], [ids([2])]),
    ):
        with pytest.raises(InvalidInput):
            index.add(slots, docs)
    for slots in ([4], [-1], [[3]]):
        with pytest.raises(InvalidInput):
            index.remove(slots)
    check(index, {3: [1]}, [1, 2], 4)


@pytest.mark.parametrize(("k1", "b"), [(-1, 0.5), (math.nan, 0.5), (1.2, 1.1), (1.2, math.nan)])
def test_bad_parameters_are_refused(k1, b):
    with pytest.raises(InvalidInput):
        TextIndex(k1, b)


def test_the_examples_run():
    assert doctest.testmod(bm25).failed == 0
