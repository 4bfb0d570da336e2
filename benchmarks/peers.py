"""One small class for each system, all with the same few verbs.

Each peer is set up as its own documentation says for local use, with its telemetry off. Vectors are given,
never computed: what is measured is the memory, not an embedding model.
"""

from __future__ import annotations

import hashlib
import logging
import os
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from data import DIM, Matrix
from numpy.typing import NDArray

os.environ["MEM0_TELEMETRY"] = "False"
os.environ["ANONYMIZED_TELEMETRY"] = "False"
os.environ["LANGSMITH_TRACING"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"

USER = "bench"
NO_LIMIT = 10**9


class System(Protocol):
    """What the benchmark asks of a memory. Searches return the texts found, best first."""

    name: str
    setup: str
    hybrid: bool  # whether `search` uses the text too
    durable: bool  # whether what was added outlives the process
    most: int  # memories in one batched add, where the plan's number would take too long

    def open(self, path: Path) -> None: ...
    def add(self, text: str, vector: Matrix) -> None: ...
    def add_batch(self, texts: Sequence[str], vectors: Matrix) -> None: ...
    def fill(self, texts: Sequence[str], vectors: Matrix) -> None:
        """Bring many memories in by the fastest way that the system offers."""
        ...

    def settle(self) -> None:
        """Whatever the system does away from the hot path, such as building an index."""
        ...

    def vector_search(self, vector: Matrix, k: int) -> list[str]: ...
    def search(self, text: str, vector: Matrix, k: int) -> list[str]: ...
    def close(self) -> None: ...


class Given:
    """An embedder that knows the vector of a text because it was told."""

    fingerprint = "benchmark/given"
    dim = DIM

    def __init__(self) -> None:
        self._known: dict[str, Matrix] = {}

    def tell(self, texts: Sequence[str], vectors: Matrix) -> None:
        self._known = dict(zip(texts, vectors, strict=True))

    def vector(self, text: str) -> list[float]:
        numbers: list[float] = self._known[text].tolist()
        return numbers

    def split(self, text: str) -> list[str]:
        return [text]

    def embed(self, texts: Sequence[str]) -> Matrix:
        return np.stack([self._known[text] for text in texts])

    def count_tokens(self, text: str) -> int:
        return len(text.split())


class Exact:
    """Exact search over a numpy array in memory: the oracle, and the floor for a store that keeps nothing."""

    name = "numpy"
    setup = "float32 array in memory, every row scored, nothing stored"
    hybrid = False
    durable = False
    most = NO_LIMIT

    def open(self, path: Path) -> None:
        self._texts: list[str] = []
        self._blocks: list[Matrix] = []

    def add(self, text: str, vector: Matrix) -> None:
        self.add_batch([text], vector[None])

    def add_batch(self, texts: Sequence[str], vectors: Matrix) -> None:
        self._texts.extend(texts)
        self._blocks.append(np.array(vectors))

    fill = add_batch

    def settle(self) -> None:
        self._blocks = [np.concatenate(self._blocks)]

    def vector_search(self, vector: Matrix, k: int) -> list[str]:
        if len(self._blocks) > 1:
            self.settle()
        return [self._texts[i] for i in top(self._blocks[0] @ vector, k)]

    def search(self, text: str, vector: Matrix, k: int) -> list[str]:
        return self.vector_search(vector, k)

    def close(self) -> None:
        pass


def top(scores: Matrix, k: int) -> NDArray[np.intp]:
    """Indices of the k highest scores, best first."""
    best = np.argpartition(scores, -k)[-k:] if k < len(scores) else np.arange(len(scores))
    return best[np.argsort(-scores[best])]


class Halflife:
    """Halflife as it comes: every add is durable (SQLite WAL, synchronous=FULL) and searchable at once."""

    name = "halflife"
    setup = "Memory(path), defaults: WAL, synchronous=FULL; hybrid search is vector + BM25 + decay"
    hybrid = True
    durable = True
    most = NO_LIMIT

    def open(self, path: Path) -> None:
        from halflife import Memory

        self._memory = Memory(path / "memory.db", embedder=Given())

    def add(self, text: str, vector: Matrix) -> None:
        self._memory.add(text, vector=vector, user_id=USER)

    def add_batch(self, texts: Sequence[str], vectors: Matrix) -> None:
        rows = [{"text": text, "vector": vector} for text, vector in zip(texts, vectors, strict=True)]
        self._memory.add_many(rows, user_id=USER)

    fill = add_batch

    def settle(self) -> None:
        from halflife.agent.consolidate import Policy

        self._memory.consolidate(policy=Policy(merge_at=2.0))  # nothing is merged: recall counts every sentence

    def vector_search(self, vector: Matrix, k: int) -> list[str]:
        return [hit.text for hit in self._memory.search(vector=vector, k=k, user_id=USER, reinforce=False)]

    def search(self, text: str, vector: Matrix, k: int) -> list[str]:
        hits = self._memory.search(text, vector=vector, k=k, user_id=USER, reinforce=False)
        return [hit.text for hit in hits]

    def close(self) -> None:
        self._memory.close()


class Mem0:
    """mem0 as `pip install mem0ai` gives it: Qdrant on local disk (its default store), infer=False.

    Its configuration asks for an LLM and an embedder; `infer=False` never calls the first, and the second is
    replaced by the vectors given. Without the optional fastembed and spaCy its search is by vector alone: its
    fastest form, so the comparison favours it. Its `add` takes many messages, which it stores one by one.
    """

    name = "mem0"
    setup = "Memory.from_config, local Qdrant on disk (default store), infer=False, no BM25 or spaCy extras"
    hybrid = True
    durable = True
    most = 200
    provider = "qdrant"
    options: ClassVar[dict[str, Any]] = {"embedding_model_dims": DIM, "on_disk": True}

    def open(self, path: Path) -> None:
        os.environ["MEM0_DIR"] = str(path / "home")
        for noisy in ("mem0", "qdrant_client"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        from mem0 import Memory

        options = {"collection_name": "bench", "path": str(path / "vectors"), **self.options}
        self._memory = Memory.from_config(
            {
                "vector_store": {"provider": self.provider, "config": options},
                "history_db_path": str(path / "history.db"),
                "llm": {"provider": "openai", "config": {"api_key": "unused"}},
                "embedder": {"provider": "openai", "config": {"api_key": "unused", "embedding_dims": DIM}},
            }
        )
        self._given = Mem0Embedder()
        self._memory.embedding_model = self._given
        self._extend()

    def _extend(self) -> None:
        """Without fastembed: it is installed for the other configuration, so it is switched off here."""
        self._memory.vector_store._bm25_encoder = False

    def add(self, text: str, vector: Matrix) -> None:
        self._given.tell([text], vector[None])
        self._memory.add(text, user_id=USER, infer=False)

    def add_batch(self, texts: Sequence[str], vectors: Matrix) -> None:
        self._given.tell(texts, vectors)
        self._memory.add([{"role": "user", "content": text} for text in texts], user_id=USER, infer=False)

    def fill(self, texts: Sequence[str], vectors: Matrix) -> None:
        """Through its vector store's bulk insert, with the payload that `add` would write."""
        now = datetime.now(UTC).isoformat()
        payloads = [
            {
                "user_id": USER,
                "role": "user",
                "data": text,
                "hash": hashlib.md5(text.encode()).hexdigest(),
                "created_at": now,
                "updated_at": now,
                "text_lemmatized": text,
            }
            for text in texts
        ]
        ids = [str(uuid.uuid4()) for _ in texts]
        self._memory.vector_store.insert(vectors=vectors.tolist(), payloads=payloads, ids=ids)

    def settle(self) -> None:
        pass

    def vector_search(self, vector: Matrix, k: int) -> list[str]:
        hits = self._memory.vector_store.search(query="", vectors=vector.tolist(), top_k=k, filters={"user_id": USER})
        return [hit.payload["data"] for hit in hits]

    def search(self, text: str, vector: Matrix, k: int) -> list[str]:
        self._given.tell([text], vector[None])
        found = self._memory.search(text, top_k=k, filters={"user_id": USER})
        return [hit["memory"] for hit in found["results"]]

    def close(self) -> None:
        self._memory.vector_store.client.close()
        self._memory.db.close()


class Mem0Embedder(Given):
    """The same, in the shape that mem0 calls."""

    def embed(self, text: str, memory_action: str | None = None) -> list[float]:  # type: ignore[override]
        return self.vector(text)

    def embed_batch(self, texts: Sequence[str], memory_action: str | None = None) -> list[list[float]]:
        return [self.vector(text) for text in texts]


class Mem0Keywords(Mem0):
    """mem0 with BM25 keyword search by fastembed, whose stop words are given as nothing may be downloaded."""

    name = "mem0+bm25"
    setup = "as mem0, with fastembed's BM25 (stop words given); no spaCy"
    STOP = (
        "a about after all also am an and any are as at be because been before being but by can could did "
        "do does for from had has have he her here him his how i if in into is it its just like me more most "
        "my no not now of on one only or other our out over she should so some such than that the their them "
        "then there these they this those to too up us was we were what when where which who will with would "
        "you your"
    )

    def _extend(self) -> None:
        from fastembed.sparse.bm25 import Bm25

        self._memory.vector_store._bm25_encoder = Bm25(
            "Qdrant/bm25", specific_model_path=".", stopwords=set(self.STOP.split())
        )


class Mem0Chroma(Mem0):
    """mem0 over Chroma, the way out when Qdrant's local mode (meant for under 20,000 points) is too slow."""

    name = "mem0+chroma"
    setup = "as mem0, over Chroma on disk in place of Qdrant; search is by vector alone"
    provider = "chroma"
    options: ClassVar[dict[str, Any]] = {}

    def _extend(self) -> None:
        pass

    def vector_search(self, vector: Matrix, k: int) -> list[str]:
        hits = self._memory.vector_store.search(query="", vectors=[vector.tolist()], top_k=k, filters={"user_id": USER})
        return [hit.payload["data"] for hit in hits]


class Chroma:
    """Chroma's persistent client with its default HNSW settings, cosine, and one collection for the user."""

    name = "chroma"
    setup = "PersistentClient, default HNSW settings, cosine, embeddings given, one collection, no filter"
    hybrid = False
    durable = True
    most = NO_LIMIT

    def open(self, path: Path) -> None:
        import chromadb

        settings = chromadb.Settings(anonymized_telemetry=False)
        self._client = chromadb.PersistentClient(path=str(path), settings=settings)
        self._collection = self._client.get_or_create_collection(
            USER, embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
        )

    def add(self, text: str, vector: Matrix) -> None:
        self.add_batch([text], vector[None])

    def add_batch(self, texts: Sequence[str], vectors: Matrix) -> None:
        ids = [str(uuid.uuid4()) for _ in texts]
        self._collection.add(
            ids=ids, documents=list(texts), embeddings=vectors, metadatas=[{"user_id": USER} for _ in texts]
        )

    fill = add_batch

    def settle(self) -> None:
        pass

    def vector_search(self, vector: Matrix, k: int) -> list[str]:
        documents: list[list[str]] = self._collection.query(query_embeddings=[vector], n_results=k)["documents"]
        return documents[0]

    def search(self, text: str, vector: Matrix, k: int) -> list[str]:
        return self.vector_search(vector, k)

    def close(self) -> None:
        self._client.close()


class LangGraph:
    """LangGraph's SqliteStore with its vector index (sqlite-vec).

    The `pysqlite3` build of SQLite is used, because many Pythons come without loadable extensions.
    """

    name = "langgraph"
    setup = "SqliteStore with index on `text` (sqlite-vec), one namespace"
    hybrid = False
    durable = True
    most = NO_LIMIT

    def open(self, path: Path) -> None:
        import pysqlite3
        from langgraph.store.sqlite import SqliteStore

        self._given = Given()
        self._connection = pysqlite3.connect(str(path / "store.db"), check_same_thread=False, isolation_level=None)
        index = {"dims": DIM, "embed": self._embed, "fields": ["text"], "text_fields": ["text"]}
        self._store = SqliteStore(self._connection, index=index)
        self._store.setup()

    def _embed(self, texts: Sequence[str]) -> list[list[float]]:
        return [self._given.vector(text) for text in texts]

    def add(self, text: str, vector: Matrix) -> None:
        self._given.tell([text], vector[None])
        self._store.put((USER,), str(uuid.uuid4()), {"text": text})

    def add_batch(self, texts: Sequence[str], vectors: Matrix) -> None:
        from langgraph.store.base import PutOp

        self._given.tell(texts, vectors)
        self._store.batch([PutOp((USER,), str(uuid.uuid4()), {"text": text}) for text in texts])

    fill = add_batch

    def settle(self) -> None:
        pass

    def vector_search(self, vector: Matrix, k: int) -> list[str]:
        self._given.tell(["query"], vector[None])
        return [item.value["text"] for item in self._store.search((USER,), query="query", limit=k)]

    def search(self, text: str, vector: Matrix, k: int) -> list[str]:
        return self.vector_search(vector, k)

    def close(self) -> None:
        self._connection.close()


SYSTEMS: dict[str, type[System]] = {
    system.name: system for system in (Halflife, Mem0, Mem0Keywords, Mem0Chroma, Chroma, LangGraph, Exact)
}
