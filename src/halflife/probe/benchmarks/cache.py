"""Vectors kept from one run of a benchmark to the next: embedding is most of what a run costs."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Self

import numpy as np

from halflife.errors import CorruptStore, StoreError
from halflife.llm.embedder import Embedder, Vectors

AT_ONCE = 500  # keys in one query, below SQLite's limit on parameters


class CachedEmbedder:
    """An embedder that remembers the vector of every text in one SQLite file.

    It is an `Embedder` of the same vector space: windows and tokens are those of the embedder within, and a window is
    a text like any other. Vectors are kept as float32, so what comes back is what was put in. Times measured with it
    leave out the embedding of what is known.

    Parameters
    ----------
    embedder: makes the vectors that are not known yet.
    path: the file; made if missing. Several embedders may share it.

    Errors
    ------
    StoreError: the file cannot be opened or written. `CorruptStore`: it is something else.

    >>> from halflife.llm.hashing import HashEmbedder
    >>> cached = CachedEmbedder(HashEmbedder(), ":memory:")
    >>> bool((cached.embed(["a cat"]) == cached.embed(["a cat"])).all()), cached.hits, cached.misses
    (True, 1, 1)
    >>> cached.close()
    """

    def __init__(self, embedder: Embedder, path: str | Path) -> None:
        self._embedder, self._path = embedder, path
        self._lock = threading.Lock()
        self.hits = self.misses = 0
        try:
            self._db = sqlite3.connect(path, check_same_thread=False)
            self._db.execute("CREATE TABLE IF NOT EXISTS vector (key BLOB PRIMARY KEY, data BLOB)")
        except sqlite3.OperationalError as error:
            raise StoreError(
                f"The cache {path} cannot be opened: {error}.", "Choose a file in a folder that exists."
            ) from None
        except sqlite3.DatabaseError:
            self._db.close()
            raise CorruptStore(f"{path} is not a cache of vectors.", "Choose another file, or delete it.") from None

    @property
    def fingerprint(self) -> str:
        """The vector space of the embedder within."""
        return self._embedder.fingerprint

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._embedder.dim

    def split(self, text: str) -> list[str]:
        """The windows of the embedder within."""
        return self._embedder.split(text)

    def count_tokens(self, text: str) -> int:
        """The tokens of the embedder within."""
        return self._embedder.count_tokens(text)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors [len(texts), dim]; only texts never seen before are embedded."""
        texts = list(texts)
        keys = [self._key(text) for text in texts]
        with self._lock:
            known = dict(self._read(list(set(keys))))
            new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
            self.hits += len(texts) - len(new)
            self.misses += len(new)
            if new:
                made = self._embedder.embed(list(new.values()))
                known.update(zip(new, made, strict=True))
                self._write([(key, row.astype("<f4").tobytes()) for key, row in zip(new, made, strict=True)])
        return np.stack([known[key] for key in keys]) if keys else np.zeros((0, self.dim), np.float32)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _key(self, text: str) -> bytes:
        named = f"{self.fingerprint}\0{text}".encode("utf-8", "surrogatepass")
        return blake2b(named, digest_size=16).digest()

    def _read(self, keys: Sequence[bytes]) -> Iterator[tuple[bytes, Vectors]]:
        for start in range(0, len(keys), AT_ONCE):
            some = keys[start : start + AT_ONCE]
            marks = ",".join("?" * len(some))
            for key, data in self._db.execute(f"SELECT key, data FROM vector WHERE key IN ({marks})", some):
                if len(data) != 4 * self.dim:
                    raise CorruptStore(f"The cache {self._path} has a vector of the wrong length.", "Delete it.")
                yield key, np.frombuffer(data, "<f4")

    def _write(self, rows: Sequence[tuple[bytes, bytes]]) -> None:
        try:
            with self._db:
                self._db.executemany("INSERT OR REPLACE INTO vector VALUES (?, ?)", rows)
        except sqlite3.OperationalError as error:
            raise StoreError(f"The cache {self._path} cannot be written: {error}.") from None
