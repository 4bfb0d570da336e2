"""The measures of retrieval keep their laws."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halflife.errors import InvalidInput
from halflife.probe.benchmarks.metrics import project, retrieval, session_of

CORPUS = [f"s{i // 3}_{i % 3}" for i in range(15)]
rankings = st.permutations(CORPUS)
golds = st.frozensets(st.sampled_from(CORPUS), min_size=1)
ks = st.integers(1, 20)
variants = st.sampled_from(["longmemeval", "standard"])


@given(rankings, golds, ks, variants)
def test_all_is_at_most_the_share_and_the_share_at_most_any(ranking, gold, k, variant):
    found = retrieval(ranking, gold, CORPUS, k, variant)
    assert 0 <= found.recall_all <= found.recall <= found.recall_any <= 1
    assert 0 <= found.ndcg <= 1 + 1e-12


@given(rankings, golds, st.integers(1, 14), variants)
def test_recall_never_falls_as_k_grows(ranking, gold, k, variant):
    one, more = (retrieval(ranking, gold, CORPUS, n, variant) for n in (k, k + 1))
    assert one.recall_any <= more.recall_any
    assert one.recall_all <= more.recall_all
    assert one.recall <= more.recall


@given(rankings, golds, ks, variants)
def test_the_best_ranking_scores_one(ranking, gold, k, variant):
    best = sorted(ranking, key=lambda id: id not in gold)
    assert retrieval(best, gold, CORPUS, k, variant).ndcg == pytest.approx(1)


@given(rankings, golds, ks)
def test_whole_corpus_finds_everything(ranking, gold, k):
    assert retrieval(ranking, gold, CORPUS, 15 + k).recall_all == 1


@given(rankings, golds, st.integers(2, 20))
def test_only_the_papers_discount_weighs_the_first_two_ranks_the_same(ranking, gold, k):
    swapped = [ranking[1], ranking[0], *ranking[2:]]
    paper, paper_swapped = (retrieval(r, gold, CORPUS, k).ndcg for r in (ranking, swapped))
    assert paper == pytest.approx(paper_swapped)
    usual, usual_swapped = (retrieval(r, gold, CORPUS, k, "standard").ndcg for r in (ranking, swapped))
    assert (usual == pytest.approx(usual_swapped)) == ((ranking[0] in gold) == (ranking[1] in gold))


def test_values_by_hand():
    ranking, gold = ["x", "a", "y", "b"], {"a", "b", "c"}
    corpus = ["a", "b", "c", "x", "y"]
    found = retrieval(ranking, gold, corpus, 4)
    assert found.ndcg == pytest.approx((1 + 1 / 2) / (1 + 1 + 1 / math.log2(3)))
    found = retrieval(ranking, gold, corpus, 4, "standard")
    assert found.ndcg == pytest.approx((1 / math.log2(3) + 1 / math.log2(5)) / (1 + 1 / math.log2(3) + 1 / 2))
    assert retrieval(["x"], {"gone"}, ["x"], 3).ndcg == 0


@given(rankings, golds, st.integers(1, 8))
def test_projection_looks_at_k_sessions_and_no_more(ranking, gold, k):
    sessions, wanted, corpus, depth = project(ranking, gold, CORPUS, k)
    assert len(sessions) == len(corpus) == 15
    assert wanted == {session_of(id) for id in gold}
    assert len(set(sessions[:depth])) == min(k, 5)
    if k <= 5:
        assert len(set(sessions[: depth - 1])) == k - 1
    assert retrieval(sessions, wanted, corpus, depth).recall >= retrieval(ranking, gold, CORPUS, k).recall_all


def test_bad_requests_are_refused():
    with pytest.raises(InvalidInput, match="without evidence"):
        retrieval(["a"], set(), ["a"], 1)
    with pytest.raises(InvalidInput, match="k is 0"):
        retrieval(["a"], {"a"}, ["a"], 0)
    with pytest.raises(InvalidInput, match="k is 0"):
        project(["a_1"], {"a_1"}, ["a_1"], 0)
    with pytest.raises(InvalidInput, match="variant"):
        retrieval(["a"], {"a"}, ["a"], 1, "other")
    for id in ("a", "_1", "a_b"):
        with pytest.raises(InvalidInput, match="no turn"):
            session_of(id)
