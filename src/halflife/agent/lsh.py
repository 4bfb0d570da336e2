"""Cross-polytope hashing: near vectors fall into the same bucket.

Paper: "Think-in-Memory: Recalling and Post-thinking Enable LLMs with Long-Term Memory", arXiv 2311.08719.

Implemented: F(x) = argmax([xR; -xR]) with R a Gaussian matrix of shape [d, b/2]. Added, because one table
alone loses much of what exact search finds: several tables, probing of next-best buckets, and centring
(embeddings of sentences point roughly the same way, so that without it a few buckets hold most of the store).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from halflife.errors import InvalidInput

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class CrossPolytope:
    """The hash function, set by a few numbers that a store can keep.

    Parameters
    ----------
    dim: length d of a vector.
    n_buckets: b, even; every table has as many.
    n_tables: independent hashes of each vector.
    seed: from which R is drawn; the same seed gives the same R on every machine.
    mean: subtracted before hashing, shape [d]; the mean of the store when it was hashed, or None. It must
        not change while buckets that were made with it are in use.

    Raises
    ------
    InvalidInput: an odd or too small number of buckets, no table, or a mean of another length.

    >>> hashed = CrossPolytope(dim=3, n_buckets=8, seed=1)
    >>> x = np.array([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    >>> a, b, opposite = hashed.buckets(x)[:, 0]
    >>> bool(a == b), bool(opposite == (a + 4) % 8)
    (True, True)
    """

    dim: int
    n_buckets: int = 8
    n_tables: int = 1
    seed: int = 0
    mean: Floats | None = None
    matrix: Floats = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.n_buckets < 2 or self.n_buckets % 2:
            raise InvalidInput(f"n_buckets is {self.n_buckets}.", "Use an even number, 2 or more.")
        if self.n_tables < 1 or self.dim < 1:
            raise InvalidInput(f"dim is {self.dim} and n_tables {self.n_tables}.", "Use 1 or more of each.")
        if self.mean is not None and np.shape(self.mean) != (self.dim,):
            raise InvalidInput(f"The mean has shape {np.shape(self.mean)}, not ({self.dim},).")
        # Buckets outlive the process: only RandomState promises the same numbers in every numpy to come.
        numbers = np.random.RandomState(self.seed)
        matrix = numbers.standard_normal((self.n_tables, self.dim, self.n_buckets // 2))
        object.__setattr__(self, "matrix", matrix.astype(np.float32))

    def projections(self, x: ArrayLike) -> Floats:
        """[xR; -xR] for every table: shape [n, d] -> [n, n_tables, n_buckets].

        Raises
        ------
        InvalidInput: vectors of another length.
        """
        vectors = np.atleast_2d(np.asarray(x, dtype=np.float32))
        if vectors.shape[1] != self.dim:
            raise InvalidInput(f"The vectors have length {vectors.shape[1]}, not {self.dim}.")
        if self.mean is not None:
            vectors = vectors - self.mean
        half = np.stack([vectors @ table for table in self.matrix], axis=1)
        return np.concatenate([half, -half], axis=2)

    def buckets(self, x: ArrayLike) -> Rows:
        """The bucket of each vector in each table: shape [n, d] -> [n, n_tables]."""
        return np.asarray(np.argmax(self.projections(x), axis=2))

    def probes(self, x: ArrayLike) -> Rows:
        """All buckets for one vector, the likeliest first: shape [d] -> [n_tables, n_buckets]."""
        return np.argsort(-self.projections(x)[0], axis=1, kind="stable")


class LshHit(NamedTuple):
    """A row of the index, with the dot product of its vector and the query."""

    row: int
    score: float


class LshIndex:
    """Vectors in their buckets, searched a few buckets at a time.

    Each table keeps its own copy of the vectors, bucket after bucket, so that a bucket is scored where it lies:
    gathering the rows of a bucket from one shared matrix costs more than the product that it saves.

    Parameters
    ----------
    vectors: shape [n, d], unit length for cosine scores.
    hashing: the hash function. `LshIndex.centred` makes one around the mean of the vectors.
    buckets: of each vector in each table, shape [n, n_tables], where they are known already.

    >>> rng = np.random.default_rng(0)
    >>> vectors = rng.normal(size=(200, 16))
    >>> vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    >>> index = LshIndex.centred(vectors, n_buckets=8)
    >>> index.search(vectors[7], k=1)[0].row
    7
    >>> index.candidates(vectors[7]).size < 200
    True
    """

    def __init__(self, vectors: ArrayLike, hashing: CrossPolytope, buckets: Rows | None = None) -> None:
        x: Floats = np.asarray(vectors, dtype=np.float32).reshape(-1, hashing.dim)
        self.hashing = hashing
        if buckets is None:
            buckets = hashing.buckets(x) if len(x) else np.zeros((0, hashing.n_tables), np.int64)
        # For each table: rows sorted by bucket, their vectors, and where each bucket starts among them.
        self._rows = np.argsort(buckets, axis=0, kind="stable").T
        self._vectors = [x[rows] for rows in self._rows]
        counts = [np.bincount(column, minlength=hashing.n_buckets) for column in buckets.T]
        self._starts = np.array([np.concatenate([[0], np.cumsum(count)]) for count in counts])

    @classmethod
    def centred(cls, vectors: ArrayLike, n_buckets: int = 8, n_tables: int = 1, seed: int = 0) -> LshIndex:
        """An index that hashes around the mean of its vectors, shape [n, d] with n >= 1."""
        x = np.asarray(vectors, dtype=np.float32)
        if x.ndim != 2 or not len(x):
            raise InvalidInput(f"The vectors have shape {x.shape}.", "Pass at least one, as [n, d].")
        return cls(x, CrossPolytope(x.shape[1], n_buckets, n_tables, seed, x.mean(axis=0)))

    def __len__(self) -> int:
        return int(self._rows.shape[1])

    def sizes(self) -> Rows:
        """How many vectors lie in each bucket: shape [n_tables, n_buckets]."""
        return np.diff(self._starts, axis=1)

    def rows(self, table: int, bucket: int) -> Rows:
        """The rows in one bucket of one table, ascending."""
        start, end = self._starts[table, bucket : bucket + 2]
        return self._rows[table, start:end]

    def candidates(self, query: ArrayLike, probes: int = 1, at_least: int = 0) -> Rows:
        """The rows that lie in any of the buckets looked at, ascending.

        Parameters
        ----------
        query: shape [d].
        probes: how many buckets of each table to look at, the likeliest first.
        at_least: go on to the next buckets until so many rows are found, or none is left.
        """
        opened = self._opened(query, probes, at_least)
        return np.unique(np.concatenate([self.rows(table, bucket) for table, bucket in opened]))

    def search(self, query: ArrayLike, k: int, probes: int = 1) -> list[LshHit]:
        """The best k rows among the candidates, best first; ties go to the lower row.

        Buckets beyond `probes` are opened only when those hold fewer than k rows.
        """
        x = np.asarray(query, dtype=np.float32)
        opened = self._opened(x, probes, at_least=min(k, len(self)))
        rows = np.concatenate([self.rows(table, bucket) for table, bucket in opened])
        scores = np.concatenate([self._scores(table, bucket, x) for table, bucket in opened])
        # A row stands at most once in each table, so the best k are among so many scores.
        enough = k * self.hashing.n_tables
        if 0 < enough < len(scores):
            best = scores >= np.partition(scores, -enough)[-enough]
            rows, scores = rows[best], scores[best]
        order = np.lexsort((rows, -scores))
        hits: dict[int, float] = {}
        for row, score in zip(rows[order].tolist(), scores[order].tolist(), strict=True):
            hits.setdefault(row, score)
            if len(hits) >= k:
                break
        return [LshHit(row, score) for row, score in hits.items()][:k]

    def _scores(self, table: int, bucket: int, query: Floats) -> Floats:
        start, end = self._starts[table, bucket : bucket + 2]
        return np.asarray(self._vectors[table][start:end] @ query)

    def _opened(self, query: ArrayLike, probes: int, at_least: int) -> list[tuple[int, int]]:
        """The buckets to look at, as (table, bucket)."""
        if probes < 1:
            raise InvalidInput(f"probes is {probes}.", "Look at one bucket or more.")
        order = self.hashing.probes(query)
        tables, last = range(len(order)), self.hashing.n_buckets
        count = min(probes, last)
        while count < last and self._found(order[:, :count]) < at_least:
            count += 1
        return [(table, int(bucket)) for table in tables for bucket in order[table, :count]]

    def _found(self, order: Rows) -> int:
        """How many different rows lie in these buckets of each table, shape [n_tables, probes]."""
        if len(order) == 1:
            return int(np.sum(self._starts[0, order[0] + 1] - self._starts[0, order[0]]))
        parts = [self.rows(table, int(bucket)) for table, buckets in enumerate(order) for bucket in buckets]
        return len(np.unique(np.concatenate(parts)))
