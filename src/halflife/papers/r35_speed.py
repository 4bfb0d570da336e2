"""Is hashing faster than the exact product? Timed on generated clustered vectors, as a ratio in one run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from halflife.agent.lsh import LshIndex

Floats = NDArray[np.float32]
GRID = tuple((n_buckets, probes) for n_buckets in (16, 32, 64, 128) for probes in (1, 2, 4, 8))


@dataclass(frozen=True)
class Timing:
    """One setting: recall@k against exact search, and its time as a share of exact search's."""

    n_buckets: int
    probes: int
    recall: float
    ratio: float


def clustered(
    seed: int, n: int, m: int, dim: int = 128, clusters: int = 1000, spread: float = 0.6, noise: float = 0.4
) -> tuple[Floats, Floats]:
    """Unit vectors [n, dim] around centres, and queries [m, dim] near some of them."""
    rng = np.random.default_rng(seed)
    centres = _unit(rng.normal(size=(clusters, dim)))
    x = _unit(centres[rng.integers(clusters, size=n)] + spread * _unit(rng.normal(size=(n, dim))))
    q = _unit(x[rng.integers(n, size=m)] + noise * _unit(rng.normal(size=(m, dim))))
    return x.astype(np.float32), q.astype(np.float32)


def speed(seed: int, n: int, m: int = 60, k: int = 5, least: float = 0.7) -> list[Timing]:
    """Every setting of the grid on half of the queries; the fastest with enough recall on the other half, last.

    Both searches take turns on each query; a query's time is the best of three.
    """
    x, queries = clustered(seed, n, m)
    first, second = queries[: m // 2], queries[m // 2 :]
    indexes = {n_buckets: LshIndex.centred(x, n_buckets, seed=seed) for n_buckets, _ in GRID}
    tried = [_measure(x, first, indexes[b], probes, k) for b, probes in GRID]
    enough = [one for one in tried if one.recall >= least] or tried
    best = min(enough, key=lambda one: one.ratio)
    return [*tried, _measure(x, second, indexes[best.n_buckets], best.probes, k)]


def exact(x: Floats, query: Floats, k: int) -> NDArray[np.int64]:
    """The rows of the k largest products, best first."""
    scores = x @ query
    best = np.argpartition(scores, -k)[-k:]
    return np.asarray(best[np.argsort(-scores[best])])


def _measure(x: Floats, queries: Floats, index: LshIndex, probes: int, k: int) -> Timing:
    truth = [set(exact(x, query, k).tolist()) for query in queries]
    found = [{hit.row for hit in index.search(query, k, probes)} for query in queries]
    recall = float(np.mean([len(a & b) / k for a, b in zip(truth, found, strict=True)]))
    hashed, plain = _seconds(queries, lambda q: index.search(q, k, probes), lambda q: exact(x, q, k))
    return Timing(index.hashing.n_buckets, probes, recall, hashed / plain)


def _seconds(queries: Floats, *searches: Callable[[Floats], object]) -> list[float]:
    """The time of each search over all queries, taken in turns so that what else runs disturbs all alike."""
    best = np.full((len(searches), len(queries)), np.inf)
    for _ in range(3):
        for j, query in enumerate(queries):
            for i, search in enumerate(searches):
                start = time.perf_counter()
                search(query)
                best[i, j] = min(best[i, j], time.perf_counter() - start)
    return [float(total) for total in best.sum(axis=1)]


def _unit(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True))
