"""Cross-polytope hashing: what may be promised of it, and how far one table falls short of exact search."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halflife.agent.lsh import CrossPolytope, LshIndex
from halflife.errors import InvalidInput


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def vectors():
    """Twenty clusters of fifty, all off-centre, as embeddings of sentences are."""
    rng = np.random.default_rng(0)
    centres = unit(rng.normal(size=(20, 64))) + 1.5 * unit(rng.normal(size=64))
    return unit(np.repeat(centres, 50, axis=0) + 0.4 * unit(rng.normal(size=(1000, 64)))).astype(np.float32)


def test_the_formula():
    hashing = CrossPolytope(dim=4, n_buckets=6, seed=3)
    x = np.random.default_rng(1).normal(size=4)
    y = x @ hashing.matrix[0].astype(float)
    assert hashing.buckets(x)[0, 0] == np.argmax(np.concatenate([y, -y]))


def test_a_seed_gives_the_same_matrix_for_ever():
    # A store keeps buckets and the seed only: other numbers would make every bucket wrong.
    matrix = CrossPolytope(dim=4, n_buckets=4, seed=7).matrix
    expected = [[1.6905, -0.4659], [0.0328, 0.4075], [-0.7889, 0.0021], [-0.0009, -1.7547]]
    np.testing.assert_allclose(matrix[0], expected, atol=1e-4)


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 1e3))
@settings(max_examples=30, deadline=None)
def test_length_does_not_matter_and_the_opposite_goes_opposite(seed, scale):
    x = np.random.default_rng(seed).normal(size=8)
    hashing = CrossPolytope(dim=8, n_buckets=10, n_tables=3, seed=1)
    assert (hashing.buckets(x) == hashing.buckets(scale * x)).all()
    assert ((hashing.buckets(x) + 5) % 10 == hashing.buckets(-x)).all()


def test_near_vectors_share_a_bucket_more_often_than_far_ones():
    rng = np.random.default_rng(2)
    x = unit(rng.normal(size=(500, 32)))
    near, far = unit(x + 0.3 * unit(rng.normal(size=x.shape))), unit(rng.normal(size=x.shape))
    hashing = CrossPolytope(dim=32, n_buckets=16, n_tables=4)
    same = [(hashing.buckets(x) == hashing.buckets(y)).mean() for y in (near, far)]
    assert same[0] > 0.5
    assert same[1] == pytest.approx(1 / 16, abs=0.03)


def test_the_index_holds_every_row_once_in_each_table(vectors):
    index = LshIndex.centred(vectors, n_buckets=8, n_tables=3)
    buckets = index.hashing.buckets(vectors)
    assert (index.sizes().sum(axis=1) == len(vectors)).all()
    for table in range(3):
        for bucket in range(8):
            assert index.rows(table, bucket).tolist() == np.flatnonzero(buckets[:, table] == bucket).tolist()


def test_centring_evens_out_the_buckets(vectors):
    plain = LshIndex(vectors, CrossPolytope(64, 16)).sizes().max()
    centred = LshIndex.centred(vectors, n_buckets=16).sizes().max()
    assert centred < plain


def recall(index, vectors, queries, k=5, probes=1):
    exact = np.argsort(-(queries @ vectors.T), axis=1)[:, :k]
    found = [[hit.row for hit in index.search(q, k, probes)] for q in queries]
    return np.mean([len(set(a) & set(b)) / k for a, b in zip(exact, found, strict=True)])


def scanned(index, queries, probes=1):
    return np.mean([len(index.candidates(q, probes)) for q in queries]) / len(index)


def test_more_probes_and_more_tables_find_more_and_scan_more(vectors):
    queries = unit(vectors[::40] + 0.4 * unit(np.random.default_rng(3).normal(size=(25, 64)))).astype(np.float32)
    one, four = LshIndex.centred(vectors, 16), LshIndex.centred(vectors, 16, n_tables=4)
    assert (
        recall(one, vectors, queries)
        < recall(one, vectors, queries, probes=4)
        < recall(one, vectors, queries, probes=16)
        == 1.0
    )
    assert recall(one, vectors, queries) < recall(four, vectors, queries)
    assert scanned(one, queries) < scanned(one, queries, probes=4) < scanned(one, queries, probes=16) == 1.0
    # Better than looking at the same share of the store at random.
    for index in (one, four):
        assert recall(index, vectors, queries) > scanned(index, queries)


def test_all_probes_are_exact_search(vectors):
    index = LshIndex.centred(vectors[:100], n_buckets=8)
    query = vectors[500]
    exact = np.argsort(-(vectors[:100] @ query), kind="stable")[:7]
    assert [hit.row for hit in index.search(query, k=7, probes=8)] == exact.tolist()


def test_thin_buckets_are_filled_from_the_next(vectors):
    index = LshIndex.centred(vectors[:20], n_buckets=16)
    assert len(index.search(vectors[999], k=10)) == 10
    assert len(index.search(vectors[999], k=50)) == 20


def test_an_empty_index_finds_nothing():
    index = LshIndex(np.zeros((0, 8)), CrossPolytope(8))
    assert index.search(np.ones(8), k=3) == []


def test_the_index_does_not_depend_on_the_order_of_probing(vectors):
    index = LshIndex.centred(vectors, n_buckets=8, n_tables=2)
    rows = index.candidates(vectors[3], probes=3)
    assert rows.tolist() == sorted(set(rows.tolist()))


def test_bad_input_is_refused(vectors):
    for n in (0, 1, 7):
        with pytest.raises(InvalidInput, match="even"):
            CrossPolytope(8, n_buckets=n)
    with pytest.raises(InvalidInput, match="n_tables"):
        CrossPolytope(8, n_tables=0)
    with pytest.raises(InvalidInput, match="mean"):
        CrossPolytope(8, mean=np.zeros(3, np.float32))
    with pytest.raises(InvalidInput, match="length 3"):
        CrossPolytope(8).buckets(np.ones(3))
    with pytest.raises(InvalidInput, match="probes"):
        LshIndex.centred(vectors).candidates(vectors[0], probes=0)
    with pytest.raises(InvalidInput, match="at least one"):
        LshIndex.centred(np.zeros((0, 8)))
