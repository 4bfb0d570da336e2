"""Answers that were given before, kept in a file of their own."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from halflife.errors import StoreError
from halflife.llm.chat import MAX_TOKENS, ChatModel, Completion, Message


class CachedChat:
    """A chat model that remembers its answers: the same question costs nothing the second time.

    An answer is found by the hash of the model's name, the messages, the schema and the length allowed. The file
    holds no question, but answers may quote one: what must be forgotten is to be forgotten here too (`clear`, or
    delete the file).

    Parameters
    ----------
    model: what is asked when there is no answer yet.
    path: the file, made if missing; None keeps answers in the process.

    Raises
    ------
    StoreError: the file cannot be opened or is none of ours.

    >>> from halflife.llm.callable import CallableChat
    >>> model = CachedChat(CallableChat(str.upper))
    >>> [model.complete([Message("user", "hello")]).cached for _ in range(2)]
    [False, True]
    """

    def __init__(self, model: ChatModel, path: str | Path | None = None) -> None:
        self.model = model
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None, timeout=30.0)
            self._db.execute("PRAGMA secure_delete = ON")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS answer (key BLOB PRIMARY KEY, text TEXT NOT NULL, prompt_tokens INTEGER, "
                "completion_tokens INTEGER) WITHOUT ROWID"
            )
        except sqlite3.Error as error:
            raise StoreError(f"The cache {path} cannot be opened ({error}).", "Check the path.") from error

    @property
    def name(self) -> str:
        """The name of the model itself."""
        return self.model.name

    def complete(
        self,
        messages: Sequence[Message],
        *,
        schema: Mapping[str, Any] | None = None,
        max_tokens: int = MAX_TOKENS,
    ) -> Completion:
        """The answer of the first time. What the model failed at is not kept."""
        key = self._key(messages, schema, max_tokens)
        with self._lock:
            row = self._db.execute(
                "SELECT text, prompt_tokens, completion_tokens FROM answer WHERE key = ?", (key,)
            ).fetchone()
        if row is not None:
            return Completion(row[0], row[1], row[2], cached=True)
        done = self.model.complete(messages, schema=schema, max_tokens=max_tokens)
        with self._lock:
            self._db.execute(
                "INSERT OR REPLACE INTO answer VALUES (?, ?, ?, ?)",
                (key, done.text, done.prompt_tokens, done.completion_tokens),
            )
        return done

    def clear(self) -> int:
        """Forget every answer; their bytes are overwritten. Returns how many there were."""
        with self._lock:
            return self._db.execute("DELETE FROM answer").rowcount

    def __len__(self) -> int:
        with self._lock:
            return int(self._db.execute("SELECT count(*) FROM answer").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _key(self, messages: Sequence[Message], schema: Mapping[str, Any] | None, max_tokens: int) -> bytes:
        asked = [self.name, [asdict(message) for message in messages], schema, max_tokens]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).digest()
