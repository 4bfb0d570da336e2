"""Which records agree: votes, clusters, ties, and an eps that clean reads set."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from halflife.agent.guard_consensus import (
    ALONE,
    TIED,
    Cluster,
    ConsensusValidator,
    Vote,
    calibrated_eps,
    dbscan,
    distances,
    settle,
)
from halflife.errors import InvalidInput
from halflife.store.trace import Space, Trace


def records(count):
    return [Trace(f"r{i}", Space.of(), "said", 0.0, 0.0) for i in range(count)]


def paths(*outcomes):
    return [f"topic → {outcome}" if outcome else "" for outcome in outcomes]


def vote(*outcomes, **options):
    return Vote(**options).check("", records(len(outcomes)), paths(*outcomes))


def cluster(points, there=None, **options):
    vectors = np.asarray(points, float)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    said = paths(*("x" if there is None or i in there else "" for i in range(len(vectors))))
    by_id = {f"r{i}": vector for i, vector in enumerate(vectors)}
    validator = Cluster(lambda some, _: np.stack([by_id[r.id] for r in some]), **options)
    return validator.check("", records(len(vectors)), said)


def test_both_are_validators():
    assert isinstance(Vote(), ConsensusValidator)
    assert isinstance(Cluster(lambda records, paths: np.eye(len(paths), dtype=np.float32)), ConsensusValidator)


def test_the_most_frequent_outcome_is_the_consensus():
    found = vote("read", "Read ", "delete", "read", "write")
    assert found.consistent == ("r0", "r1", "r3")
    assert found.anomalous == ("r2", "r4")
    assert found.decided
    assert found.scores["r0"] == pytest.approx(0.5)
    assert found.scores["r2"] == 1.0


def test_outcomes_that_nobody_shares_are_no_consensus():
    found = vote("a", "b", "c")
    assert (found.consistent, found.decided, found.why) == ((), False, ALONE)


def test_all_equal_paths_are_all_consistent():
    found = vote(*["read"] * 4)
    assert found.consistent == ("r0", "r1", "r2", "r3")
    assert set(found.scores.values()) == {0.0}


def test_an_empty_path_counts_for_nobody():
    found = vote("", "", "", "read", "read")
    assert found.consistent == ("r3", "r4")
    assert vote("", "", "").why == ALONE


@pytest.mark.parametrize(("ties", "kept"), [("none", ()), ("all", ("r0", "r1", "r3", "r4")), ("nearest", ("r0", "r3"))])
def test_a_tie_is_settled_as_told(ties, kept):
    found = vote("delete", "read", "other", "delete", "read", ties=ties)
    assert found.consistent == kept
    assert found.decided == bool(kept)
    assert found.why == ("" if kept else TIED)


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=12))
def test_a_vote_keeps_one_group_that_no_other_reaches(outcomes):
    found = vote(*outcomes)
    assert sorted((*found.consistent, *found.anomalous)) == sorted(f"r{i}" for i in range(len(outcomes)))
    kept = {outcomes[int(id[1:])] for id in found.consistent}
    assert len(kept) <= 1
    for outcome in kept:
        assert len(found.consistent) == outcomes.count(outcome) >= 2
        assert all(outcomes.count(other) < outcomes.count(outcome) for other in set(outcomes) - {outcome})


def test_the_largest_cluster_is_the_consensus():
    found = cluster([[1, 0, 0], [1, 0.1, 0], [1, 0, 0.1], [0, 1, 0], [0, 0, 1]], eps=0.1)
    assert found.consistent == ("r0", "r1", "r2")
    assert found.scores["r0"] < 0.01
    assert found.scores["r3"] > 0.8


def test_without_a_cluster_all_are_anomalies_scored_by_the_others():
    found = cluster(np.eye(3), eps=0.5)
    assert (found.consistent, found.decided, found.why) == ((), False, ALONE)
    assert found.scores == pytest.approx({"r0": 1.0, "r1": 1.0, "r2": 1.0})


def test_two_clusters_of_one_size_are_a_tie():
    points = [[1, 0], [1, 0.01], [0, 1], [0.01, 1]]
    assert cluster(points, eps=0.1).why == TIED
    assert cluster(points, eps=0.1, ties="nearest").consistent == ("r0", "r1")


def test_a_loose_eps_puts_everything_into_one_cluster():
    points = [[1, 0], [1, 0.3], [1, 0.6], [1, 2]]
    assert len(cluster(points, eps=0.5).consistent) == 4
    assert len(cluster(points, eps=0.06).consistent) == 3


def test_a_record_without_a_path_is_in_no_cluster():
    found = cluster([[1, 0]] * 4, there={0, 2, 3})
    assert found.consistent == ("r0", "r2", "r3")
    assert found.scores["r1"] == 2.0
    assert cluster([[1, 0]] * 3, there=set()).consistent == ()


def naive_dbscan(apart, eps, min_samples):
    """Labels by growing each cluster from its cores, as the paper of DBSCAN tells it."""
    n = len(apart)
    core = [(apart[i] <= eps).sum() >= min_samples for i in range(n)]
    label = [-1] * n
    count = 0
    for start in range(n):
        if not core[start] or label[start] >= 0:
            continue
        todo = [start]
        while todo:
            i = todo.pop()
            if label[i] < 0:
                label[i] = count
                todo += [j for j in range(n) if core[j] and apart[i, j] <= eps]
        count += 1
    return label, core


@given(st.lists(st.integers(0, 30), min_size=1, max_size=15), st.integers(1, 5), st.integers(2, 4))
def test_dbscan_finds_the_clusters_of_its_definition(points, eps, min_samples):
    places = np.array(points, float)
    apart = np.abs(places[:, None] - places)
    labels = dbscan(apart, eps, min_samples)
    expected, core = naive_dbscan(apart, eps, min_samples)
    for i in range(len(points)):
        for j in range(len(points)):
            if core[i] and core[j]:
                assert (labels[i] == labels[j]) == (expected[i] == expected[j])
        near_cores = {labels[j] for j in range(len(points)) if core[j] and apart[i, j] <= eps}
        assert labels[i] in near_cores if near_cores else labels[i] == -1
    seen = [label for label in dict.fromkeys(labels.tolist()) if label >= 0]
    assert seen == sorted(seen)  # numbered by their first point
    assert set(seen) == set(range(len(seen)))


def test_eps_is_where_clean_hits_have_a_neighbour():
    rng = np.random.default_rng(0)
    reads = []
    for _ in range(50):
        vectors = rng.normal(size=8) + 0.3 * rng.normal(size=(6, 8))
        reads.append(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    eps = calibrated_eps(reads, 95)
    lonely = [np.sort(distances(read), axis=1)[:, 1] > eps for read in reads]
    assert np.mean(lonely) == pytest.approx(0.05, abs=0.01)
    assert calibrated_eps(reads, 50) < eps
    with pytest.raises(InvalidInput, match="two hits"):
        calibrated_eps([np.eye(4)[:1]])


def test_distances_are_of_directions():
    apart = distances(np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
    assert apart == pytest.approx(np.array([[0, 1, 2], [1, 0, 1], [2, 1, 0]], float))


def test_no_groups_are_settled_as_alone():
    assert settle([], "all") == ([], ALONE)


@pytest.mark.parametrize("options", [{"ties": "coin"}, {"votes": 0}])
def test_a_vote_refuses_what_makes_no_sense(options):
    with pytest.raises(InvalidInput):
        Vote(**options)


@pytest.mark.parametrize("options", [{"eps": 0.0}, {"eps": 2.5}, {"min_samples": 1}, {"ties": "coin"}])
def test_a_cluster_refuses_what_makes_no_sense(options):
    with pytest.raises(InvalidInput):
        Cluster(lambda records, paths: np.eye(1, dtype=np.float32), **options)
