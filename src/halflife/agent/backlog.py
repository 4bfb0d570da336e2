"""What a memory system has still to think about: work that can be interrupted, retried and resumed.

A message is safe when it is written; what a system makes of it comes later. The store keeps how far the system has
come, in the transaction that holds the work, so that nothing is skipped and nothing is done twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from halflife.agent.engine import Engine
from halflife.store.filters import parse
from halflife.store.trace import Space, Trace

ACTIVE = parse({"status": "active"})


class Backlog:
    """The messages of a space that a system has not thought about yet.

    Parameters
    ----------
    engine: where they are.
    space: whose they are.
    name: of the system; each has a backlog of its own.

    >>> from halflife import Memory
    >>> memory = Memory(embedder="hash")
    >>> _ = memory.add(["I like tea.", "I live in Oslo."])
    >>> backlog = Backlog(memory.engine, Space.of(), "example")
    >>> first, second = backlog.take()
    >>> backlog.done(first)
    >>> [message.text for message in backlog.take()]
    ['I live in Oslo.']
    """

    def __init__(self, engine: Engine, space: Space, name: str) -> None:
        self.engine, self.space, self.name = engine, space, name
        self._open: dict[str, int] = {}  # new messages taken and not done yet, as they were written
        self._last = 0

    def take(self) -> list[Trace]:
        """The messages to think about: those to be done again first, then the new ones as they were written.

        What was derived from others, and what is out of recall, is not among them.
        """
        store, state = self.engine.store, self._state()
        if store.space_id(self.space) is None:
            return []
        again = store.find(self.space, ACTIVE & parse({"id": {"in": state["again"]}}))[::-1] if state["again"] else []
        ns = store.match(self.space, ACTIVE)
        new = store.by_number(np.sort(ns[ns > state["n"]]).tolist())
        found = {trace.id: trace for trace in (*again, *(new[n] for n in sorted(new)))}
        messages = {id: trace for id, trace in found.items() if trace.text and not trace.sources}
        self._open = {new[n].id: n for n in sorted(new) if new[n].id in messages}
        self._last = max(new, default=state["n"])
        return list(messages.values())

    def done(self, message: Trace) -> None:
        """Keep that a message was thought about; to be called in the transaction with what came of it.

        One that failed is done too, and put back with `again`. After an interruption, a message that was done before
        an older one may be taken once more.
        """
        state = self._state()
        if message.id in state["again"]:
            state["again"].remove(message.id)
        self._open.pop(message.id, None)
        state["n"] = max(state["n"], next(iter(self._open.values()), self._last + 1) - 1)
        self._keep(state)

    def again(self, ids: Iterable[str]) -> None:
        """Put messages back: what was made of them is gone, or was not usable."""
        state = self._state()
        state["again"] = list(dict.fromkeys([*state["again"], *ids]))
        self._keep(state)

    @property
    def _key(self) -> str:
        return f"{self.name}:{self.engine.store.space_id(self.space)}:backlog"

    def _state(self) -> dict[str, Any]:
        kept: dict[str, Any] = json.loads(self.engine.store.meta(self._key) or '{"n": 0, "again": []}')
        return kept

    def _keep(self, state: dict[str, Any]) -> None:
        with self.engine.store.transaction():
            self.engine.store.set_meta(self._key, json.dumps(state))
