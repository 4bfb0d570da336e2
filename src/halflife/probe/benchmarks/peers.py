"""Other memories, each set up as its own documentation says for local use, with the caller's embedder and no telemetry.

They are imported when they are used; `benchmarks/requirements.txt` lists the versions measured. Nothing goes out to a
network, and an LLM is never called. What a peer does with a long text by itself is left to it.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from halflife.errors import HalflifeError
from halflife.llm.embedder import Embedder
from halflife.probe.benchmarks.history import History, Item, Question, Retriever
from halflife.probe.benchmarks.retrievers import USER, stored
from halflife.store.text import STOP_WORDS

QUIET = {
    "MEM0_TELEMETRY": "False",
    "ANONYMIZED_TELEMETRY": "False",
    "LANGSMITH_TRACING": "false",
    "HF_HUB_OFFLINE": "1",
}


class MissingPeer(HalflifeError, ImportError):
    """A memory that was to be compared is not installed."""

    exit_code = 5


class _Peer:
    """A memory in a folder of its own, made anew for each history."""

    name: str
    setup: str
    packages: tuple[tuple[str, str], ...]  # what is imported, and what to install for it

    def __init__(self, embedder: Embedder) -> None:
        os.environ.update(QUIET)
        for module, package in self.packages:
            try:
                import_module(module)
            except ImportError as error:
                raise MissingPeer(f"{self.name} is not installed ({error}).", f"Run: pip install {package}") from None
        self._embedder = embedder
        self._folder: Path | None = None

    def ingest(self, history: History) -> None:
        """Store a history."""
        self.close()
        self._folder = Path(tempfile.mkdtemp(prefix=f"halflife-bench-{self.name}-"))
        self._open(self._folder)
        self._add(stored(history))

    def close(self) -> None:
        """Close the memory and remove its folder."""
        if self._folder is not None:
            self._shut()
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def search(self, question: Question, k: int) -> list[str]:
        """The k items that the peer's own search finds best."""
        raise NotImplementedError

    def _open(self, folder: Path) -> None:
        raise NotImplementedError

    def _add(self, items: Sequence[Item]) -> None:
        raise NotImplementedError

    def _shut(self) -> None:
        raise NotImplementedError

    def _vectors(self, texts: Sequence[str]) -> list[list[float]]:
        rows: list[list[float]] = self._embedder.embed(texts).tolist()
        return rows


class Mem0(_Peer):
    """mem0 with `infer=False`: what was said is stored as it is, in Qdrant on local disk (its default).

    It asks for an LLM, which is never called, and an embedder, which is replaced. fastembed gives it the keyword
    search that its documentation recommends; the stop words that this would download are Halflife's instead.
    """

    name = "mem0"
    setup = "infer=False, Qdrant on disk (its default), fastembed's BM25, no spaCy; search with its defaults"
    packages = (("mem0", "mem0ai"), ("fastembed", "fastembed"))

    def _open(self, folder: Path) -> None:
        os.environ["MEM0_DIR"] = str(folder / "home")
        for noisy in ("mem0", "qdrant_client"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        from fastembed.sparse.bm25 import Bm25
        from mem0 import Memory

        store = {"collection_name": USER, "path": str(folder / "vectors"), "on_disk": True}
        store["embedding_model_dims"] = self._embedder.dim
        self._memory = Memory.from_config(
            {
                "vector_store": {"provider": "qdrant", "config": store},
                "history_db_path": str(folder / "history.db"),
                "llm": {"provider": "openai", "config": {"api_key": "unused"}},
                "embedder": {
                    "provider": "openai",
                    "config": {"api_key": "unused", "embedding_dims": self._embedder.dim},
                },
            }
        )
        self._memory.embedding_model = _Mem0Embedder(self._vectors)
        self._memory.vector_store._bm25_encoder = Bm25(
            "Qdrant/bm25", cache_dir=str(folder), specific_model_path=str(folder), stopwords=set(STOP_WORDS)
        )

    def _add(self, items: Sequence[Item]) -> None:
        self._ids: dict[str, str] = {}
        for item in items:
            role = item.speaker if item.speaker in ("user", "assistant") else "user"
            made = self._memory.add([{"role": role, "content": item.text}], user_id=USER, infer=False)
            self._ids.update((one["id"], item.id) for one in made["results"])

    def search(self, question: Question, k: int) -> list[str]:
        """The items found by `Memory.search`."""
        found = self._memory.search(question.text, top_k=k, filters={"user_id": USER})
        return [self._ids[hit["id"]] for hit in found["results"]]

    def _shut(self) -> None:
        self._memory.vector_store.client.close()
        self._memory.db.close()


class _Mem0Embedder:
    """The caller's embedder in the shape that mem0 calls."""

    def __init__(self, vectors: Callable[[Sequence[str]], list[list[float]]]) -> None:
        self._vectors = vectors

    def embed(self, text: str, memory_action: str | None = None) -> list[float]:
        return self._vectors([text])[0]

    def embed_batch(self, texts: Sequence[str], memory_action: str | None = None) -> list[list[float]]:
        return self._vectors(list(texts))


class Chroma(_Peer):
    """Chroma's persistent client with its default HNSW settings, cosine, one collection a history."""

    name = "chroma"
    setup = "PersistentClient, default HNSW settings, cosine, one batch"
    packages = (("chromadb", "chromadb"),)
    batch = 5_000  # below what its SQLite takes at once

    def _open(self, folder: Path) -> None:
        import chromadb

        self._client = chromadb.PersistentClient(
            path=str(folder), settings=chromadb.Settings(anonymized_telemetry=False)
        )
        self._collection = self._client.create_collection(
            USER, embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
        )

    def _add(self, items: Sequence[Item]) -> None:
        for start in range(0, len(items), self.batch):
            some = items[start : start + self.batch]
            texts = [item.text for item in some]
            self._collection.add(
                ids=[item.id for item in some], documents=texts, embeddings=self._embedder.embed(texts)
            )

    def search(self, question: Question, k: int) -> list[str]:
        """The items found by `Collection.query`."""
        vector = self._embedder.embed([question.text])
        ids: list[list[str]] = self._collection.query(query_embeddings=vector, n_results=k, include=[])["ids"]
        return ids[0]

    def _shut(self) -> None:
        self._client.close()


class LangGraph(_Peer):
    """LangGraph's SqliteStore with its vector index (sqlite-vec), one namespace.

    The `pysqlite3` build of SQLite is used, because many Pythons come without loadable extensions.
    """

    name = "langgraph"
    setup = "SqliteStore, index on `text` (sqlite-vec), one batch"
    packages = (
        ("langgraph.store.sqlite", "langgraph langgraph-checkpoint-sqlite"),
        ("pysqlite3", "pysqlite3-binary"),
    )

    def _open(self, folder: Path) -> None:
        import pysqlite3
        from langgraph.store.sqlite import SqliteStore

        self._connection = pysqlite3.connect(str(folder / "store.db"), check_same_thread=False, isolation_level=None)
        index = {"dims": self._embedder.dim, "embed": self._vectors, "fields": ["text"], "text_fields": ["text"]}
        self._store = SqliteStore(self._connection, index=index)
        self._store.setup()

    def _add(self, items: Sequence[Item]) -> None:
        from langgraph.store.base import PutOp

        self._store.batch([PutOp((USER,), item.id, {"text": item.text}) for item in items])

    def search(self, question: Question, k: int) -> list[str]:
        """The items found by `SqliteStore.search`."""
        return [found.key for found in self._store.search((USER,), query=question.text, limit=k)]

    def _shut(self) -> None:
        self._connection.close()


class MemPalace(_Peer):
    """MemPalace as a library: one drawer a turn, and `search_memories` (vectors, then BM25 among the candidates).

    A text longer than its chunk size becomes several drawers, as its own `add_drawer` makes them; an item is found
    where its best drawer is. Its default model is all-MiniLM-L6-v2, which it would download; the class that runs it is
    replaced by the caller's embedder. It leaves an empty folder of locks in ~/.mempalace.
    """

    name = "mempalace"
    setup = "one drawer a turn (its chunks for long ones), Chroma backend (its default), search_memories"
    packages = (("mempalace", "mempalace"), ("chromadb", "chromadb"))

    def _open(self, folder: Path) -> None:
        os.environ["MEMPALACE_CONFIG_DIR"] = str(folder / "config")
        for noisy in ("mempalace", "mempalace_searcher"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        from mempalace.config import MempalaceConfig
        from mempalace.palace import get_collection

        self._palace = str(folder / "palace")
        self._chunk: int = MempalaceConfig().chunk_size
        with self._own_vectors():
            self._drawers = get_collection(self._palace, create=True)

    @contextmanager
    def _own_vectors(self) -> Iterator[None]:
        """Within, MemPalace's MiniLM is the caller's embedder."""
        from chromadb.utils.embedding_functions import ONNXMiniLM_L6_V2
        from mempalace import embedding

        embedder = self._embedder

        class Own(ONNXMiniLM_L6_V2):  # type: ignore[misc]
            def __init__(self, preferred_providers: Any = None, intra_op_num_threads: int = 0) -> None:
                super().__init__(preferred_providers=preferred_providers)

            @staticmethod
            def name() -> str:
                return "default"

            def __call__(self, input: Sequence[str]) -> list[np.ndarray]:
                return list(embedder.embed(list(input)))

        before = embedding._build_ef_class
        embedding._build_ef_class = lambda: Own
        embedding._EF_CACHE.clear()
        try:
            yield
        finally:
            embedding._build_ef_class = before

    def _add(self, items: Sequence[Item]) -> None:
        ids, texts, about = [], [], []
        self._items: dict[str, str] = {}
        for n, item in enumerate(items):
            pieces = range(0, max(len(item.text), 1), self._chunk)
            for piece, start in enumerate(pieces):
                id = f"drawer_{n}" if len(pieces) == 1 else f"drawer_{n}_chunk_{piece:06d}"
                ids.append(id)
                texts.append(item.text[start : start + self._chunk])
                more = {} if len(pieces) == 1 else {"parent_drawer_id": f"drawer_{n}"}
                about.append({"wing": USER, "room": item.session or "all", "chunk_index": piece, **more})
            self._items[f"drawer_{n}"] = item.id
        with self._own_vectors():
            for start in range(0, len(ids), Chroma.batch):
                part = slice(start, start + Chroma.batch)
                self._drawers.upsert(ids=ids[part], documents=texts[part], metadatas=about[part])

    def search(self, question: Question, k: int) -> list[str]:
        """The items whose drawers `search_memories` finds; more is asked for while chunks of one item fill the list."""
        from mempalace.searcher import search_memories

        wanted = k
        with self._own_vectors():
            while True:
                found = search_memories(question.text, self._palace, n_results=wanted)
                if "results" not in found:
                    raise HalflifeError(f"MemPalace's search failed: {found.get('error')}.")
                hits = found["results"]
                ids = list(dict.fromkeys(self._items[hit["drawer_id"].partition("_chunk_")[0]] for hit in hits))
                if len(ids) >= k or len(hits) < wanted:
                    return ids[:k]
                wanted *= 2

    def _shut(self) -> None:
        from mempalace.palace import get_backend_for_palace

        self._drawers = None
        get_backend_for_palace(self._palace).close_palace(self._palace)


PEERS: dict[str, Callable[[Embedder], Retriever]] = {peer.name: peer for peer in (Mem0, Chroma, LangGraph, MemPalace)}
