"""A cache of vectors is the embedder, without the work."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from halflife import Memory
from halflife.errors import CorruptStore, StoreError
from halflife.llm.embedder import Embedder, Vectors
from halflife.llm.hashing import HashEmbedder
from halflife.probe.benchmarks.cache import AT_ONCE, CachedEmbedder


class Counting(HashEmbedder):
    """Counts what it embeds, and splits texts into lines as a model with short windows would."""

    def __init__(self, dim: int = 16) -> None:
        super().__init__(dim)
        self.embedded: list[str] = []

    def split(self, text: str) -> list[str]:
        return text.split("\n")

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.embedded += texts
        return super().embed(texts)


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=6), max_size=5))
def test_it_gives_the_embedders_vectors_in_order(calls: list[list[str]]) -> None:
    inner = Counting()
    with CachedEmbedder(inner, ":memory:") as cached:
        for texts in calls:
            assert np.array_equal(cached.embed(texts), HashEmbedder(16).embed(texts))
        asked = [text for texts in calls for text in texts]
        assert sorted(inner.embedded) == sorted(set(asked))
        assert cached.hits + cached.misses == len(asked)


def test_a_second_run_embeds_nothing(tmp_path: Path) -> None:
    texts = [f"text {i}" for i in range(2 * AT_ONCE + 1)]
    with CachedEmbedder(Counting(), tmp_path / "v.db") as cached:
        first = cached.embed(texts)
    again = Counting()
    with CachedEmbedder(again, tmp_path / "v.db") as cached:
        assert np.array_equal(cached.embed(texts), first)
        assert (again.embedded, cached.hits, cached.misses) == ([], len(texts), 0)


def test_embedders_share_a_file_and_nothing_else(tmp_path: Path) -> None:
    for dim in (16, 32):
        with CachedEmbedder(Counting(dim), tmp_path / "v.db") as cached:
            assert cached.embed(["a cat"]).shape == (1, dim)
            assert cached.misses == 1


def test_a_memory_uses_it_windows_and_all(tmp_path: Path) -> None:
    found = []
    for _ in range(2):
        inner = Counting()
        with CachedEmbedder(inner, tmp_path / "v.db") as cached, Memory(embedder=cached) as memory:
            assert isinstance(cached, Embedder)
            memory.add_many(["I have a cat.\nIt is called Tom.", "Tax is due."], user_id="anna")
            [hit] = memory.search("Tom", user_id="anna", k=1)
            found.append((hit.text, hit.score))
            assert cached.count_tokens("a cat") == inner.count_tokens("a cat")
        assert inner.embedded == (
            [] if len(found) == 2 else ["I have a cat.", "It is called Tom.", "Tax is due.", "Tom"]
        )
    assert found[0][0] == found[1][0] == "I have a cat.\nIt is called Tom."


def test_lone_surrogates_are_texts_too() -> None:
    with CachedEmbedder(HashEmbedder(16), ":memory:") as cached:
        keys = {cached._key("\ud800"), cached._key("?"), cached._key("\ufffd")}
    assert len(keys) == 3


def test_a_file_that_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "v.db").write_text("not a database, but long enough to be taken for one" * 20)
    with pytest.raises(CorruptStore, match="not a cache of vectors"):
        CachedEmbedder(HashEmbedder(16), tmp_path / "v.db")
    with pytest.raises(StoreError, match="cannot be opened"):
        CachedEmbedder(HashEmbedder(16), tmp_path / "no" / "v.db")


def test_a_vector_of_the_wrong_length_is_not_used(tmp_path: Path) -> None:
    with CachedEmbedder(HashEmbedder(16), tmp_path / "v.db") as cached:
        cached.embed(["a cat"])
    with sqlite3.connect(tmp_path / "v.db") as db:
        db.execute("UPDATE vector SET data = substr(data, 1, 60)")
    db.close()
    with CachedEmbedder(HashEmbedder(16), tmp_path / "v.db") as cached, pytest.raises(CorruptStore, match="length"):
        cached.embed(["a cat"])
