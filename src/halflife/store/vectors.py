"""The vectors of a space: exact search in memory, and an HNSW index (usearch) for large spaces.

A trace may have several vectors, one a window of its text; its similarity is that of the best. Vectors have
unit length, so the inner product is the cosine.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from usearch.compiled import MetricKind, ScalarKind
from usearch.index import BatchMatches, Index

from halflife.store import private
from halflife.store.ascending import find
from halflife.store.protocol import Ints
from halflife.store.rows import STORED

Floats = NDArray[np.float32]
# How many candidates a search in the index keeps. Of the exact ten nearest among 100,000 sentences, a search by vector
# returned 98.9 % with 64, 99.3 % with 80 and 99.4 % with 96, which took 0.44, 0.53 and 0.60 ms in the index.
WIDTH = 80


class Growing:
    """An array that grows at its end in amortised constant time."""

    def __init__(self, dtype: type | np.dtype[np.generic], width: tuple[int, ...] = ()) -> None:
        self._data = np.empty((64, *width), dtype=dtype)
        self.size = 0

    def extend(self, values: NDArray[np.generic]) -> None:
        """Append rows."""
        end = self.size + len(values)
        if end > len(self._data):
            grown = np.empty((max(end, 2 * len(self._data)), *self._data.shape[1:]), dtype=self._data.dtype)
            grown[: self.size] = self._data[: self.size]
            self._data = grown
        self._data[self.size : end] = values
        self.size = end

    @property
    def array(self) -> NDArray[Any]:
        """The rows so far; a view, valid until the next `extend`."""
        return self._data[: self.size]


class ExactVectors:
    """Vectors of slots, searched by one matrix product.

    >>> vectors = ExactVectors(2)
    >>> vectors.add(np.array([0, 1]), [np.float16([1, 0]).tobytes(), np.float16([0, 1, 1, 0]).tobytes()])
    >>> vectors.scores(np.float32([1, 0]), 3).tolist()             # slot 1 has two windows, slot 2 no vector
    [1.0, 1.0, 0.0]
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._matrix = Growing(np.float32, (dim,))
        self._starts = Growing(np.int64)
        self._slots = Growing(np.int64)
        self._single = True

    def __len__(self) -> int:
        return self._slots.size

    @property
    def slots(self) -> Ints:
        """The slots that have vectors."""
        return cast(Ints, self._slots.array)

    def add(self, slots: Ints, blobs: Sequence[bytes]) -> None:
        """Append the vectors of new slots, as they are stored (float16 [windows, dim]); empty for none."""
        width = STORED.itemsize * self.dim
        windows = np.fromiter((len(blob) // width for blob in blobs), dtype=np.int64, count=len(blobs))
        have = windows > 0
        if not have.any():
            return
        self._starts.extend(self._matrix.size + np.cumsum(windows[have]) - windows[have])
        self._slots.extend(slots[have])
        self._single = self._single and bool((windows[have] == 1).all())
        self._matrix.extend(np.frombuffer(b"".join(blobs), dtype=STORED).reshape(-1, self.dim))

    def similarities(self, query: Floats) -> tuple[Ints, Floats]:
        """The slots that have vectors, and how similar each is to a query [dim]: 0 where that is negative."""
        similarity = self._matrix.array @ query
        if not self._single:
            similarity = np.maximum.reduceat(similarity, self._starts.array)
        return self.slots, np.maximum(similarity, 0.0)

    def scores(self, queries: Floats, n: int) -> Floats:
        """The similarity of each of `n` slots to queries [q, dim] (or one [dim]): [q, n] (or [n]).

        That of its best window; 0 where it is negative or there is none.
        """
        out = np.zeros((*queries.shape[:-1], n), dtype=np.float32)
        if len(self):
            similarity = queries @ self._matrix.array.T
            if not self._single:
                similarity = np.maximum.reduceat(similarity, self._starts.array, axis=-1)
            out[..., self.slots] = np.maximum(similarity, 0.0)
        return out

    def centres(self, slots: Ints) -> Floats:
        """The mean direction of the windows of some slots [slots, dim]; zero for one without a vector."""
        out = np.zeros((len(slots), self.dim), dtype=np.float32)
        at, known = find(self.slots, slots)
        starts = self._starts.array
        if self._single:
            out[known] = self._matrix.array[starts[at[known]]]
            return out
        ends = np.append(starts[1:], self._matrix.size)
        for i in np.flatnonzero(known).tolist():
            out[i] = centre(self._matrix.array[starts[at[i]] : ends[at[i]]])
        return out


def centre(windows: Floats) -> Floats:
    """The mean direction of some unit vectors, of unit length; zero where there is none."""
    if len(windows) == 1:
        return cast(Floats, windows[0])
    total = windows.sum(axis=0)
    norm = float(np.linalg.norm(total))
    return cast(Floats, total / norm if norm > 0 else total)


@dataclass
class Approximate:
    """An HNSW index of the vectors of a space as they were at operation `op`, kept in a file beside the store.

    Derived data: it can be deleted at any time, and `build` makes it anew. Keys are trace numbers.
    """

    index: Index
    op: int
    path: Path | None

    @classmethod
    def build(
        cls, dim: int, keys: Ints, vectors: NDArray[np.floating], op: int, path: Path | None = None
    ) -> Approximate:
        """Index vectors (float16, M 24, ef 128 for construction). About 0.5 ms a vector on two cores."""
        index = Index(
            ndim=dim, metric=MetricKind.IP, dtype=ScalarKind.F16, connectivity=24, expansion_add=128,
            expansion_search=WIDTH, multi=True,
        )  # fmt: skip
        index.add(keys.astype(np.uint64), vectors, copy=True)
        made = cls(index, op, path)
        if path is not None:
            made.save()
        return made

    @classmethod
    def load(cls, path: Path, identity: str) -> Approximate | None:
        """The index in a file, or None if there is none that belongs to this store and embedder."""
        try:
            meta = json.loads(path.with_suffix(".json").read_text())
            if meta["identity"] != identity or path.stat().st_size != meta["bytes"]:
                return None
            if not undamaged(path):  # a damaged index can crash the process that reads it
                return None
            op = int(meta["op"])
            index = Index.restore(str(path), view=False)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError):
            return None
        if index is None:
            return None
        index.expansion_search = WIDTH  # type: ignore[misc]  # it can be set; the file does not keep it
        return cls(index, op, path)

    def save(self, identity: str = "") -> None:
        """Write the index, then what it covers; a reader sees the old one or the new one."""
        if self.path is None:
            return
        private.make_folder(self.path.parent)
        draft = self.path.with_suffix(f".{os.getpid()}.tmp")
        private.make_file(draft)
        self.index.save(str(draft))
        meta = {"identity": identity, "op": self.op, "bytes": draft.stat().st_size}
        meta["crc32"] = checksum(draft, meta)
        note = self.path.with_suffix(".json")
        note.unlink(missing_ok=True)
        os.replace(draft, self.path)
        draft.write_text(json.dumps(meta))
        os.replace(draft, note)

    def search(self, query: Floats, count: int) -> tuple[Ints, Floats, float]:
        """The traces of the `count` nearest vectors: numbers, similarities, and what none of the rest exceeds."""
        found = self.index.search(query, count)
        keys, similarity = found.keys.astype(np.int64), (1.0 - found.distances).astype(np.float32)
        rest = max(float(similarity[-1]), 0.0) if len(keys) == count else 0.0
        if len(set(keys.tolist())) < len(keys):  # a trace is as near as the best of its windows
            first = np.sort(np.unique(keys, return_index=True)[1])
            keys, similarity = keys[first], similarity[first]
        return keys, similarity, rest

    def search_many(self, queries: Floats, count: int) -> Iterator[tuple[Ints, Floats]]:
        """The nearest traces of each of several queries."""
        if len(queries) == 1:  # usearch answers one query in another form
            yield self.search(queries[0], count)[:2]
            return
        found = cast(BatchMatches, self.index.search(queries, count))
        for keys, distances, size in zip(found.keys, found.distances, found.counts, strict=True):
            yield keys[:size].astype(np.int64), (1.0 - distances[:size]).astype(np.float32)

    def __len__(self) -> int:
        return len(self.index)


def checksum(path: Path, meta: Mapping[str, Any]) -> int:
    """The CRC-32 of an index file and of what its note says of it."""
    total = crc32(f"{meta['identity']}|{meta['op']}|{meta['bytes']}".encode())
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total = crc32(block, total)
    return total


def undamaged(path: Path) -> bool:
    """Whether an index file and its note are as they were saved."""
    try:
        meta = json.loads(path.with_suffix(".json").read_text())
        return bool(meta["crc32"] == checksum(path, meta))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def renote(path: Path) -> None:
    """Take note of an index file that was changed in place; without its note it counts as damaged."""
    note, draft = path.with_suffix(".json"), path.with_suffix(f".{os.getpid()}.tmp")
    try:
        meta = json.loads(note.read_text())
        draft.write_text(json.dumps(meta | {"crc32": checksum(path, meta)}))
        os.replace(draft, note)
    except FileNotFoundError:  # another process is replacing the index
        draft.unlink(missing_ok=True)


def stored_bytes(path: Path, keys: Ints | NDArray[np.uint64]) -> list[bytes]:
    """How the vectors of these keys are written in an index file."""
    index = Index.restore(str(path), view=False)
    if index is None:
        return []
    out: list[bytes] = []
    for vectors in cast("Sequence[NDArray[np.float16] | None]", index.get(keys.astype(np.uint64), ScalarKind.F16)):
        if vectors is not None:
            out += [row.tobytes() for row in np.atleast_2d(vectors)]
    return out
