"""The bank of a space as it is in the store: read once, planned on in memory, and written in one transaction.

An entry is a derived trace whose sources are the messages that it was made of. An update is a new version of it in
place; a deletion retires it, with the message that did so among its sources, so that erasing that message undoes it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from halflife.agent.backlog import ACTIVE
from halflife.agent.bank import Diff, Entry, FactBank, Op
from halflife.agent.derived import with_sources
from halflife.agent.engine import Engine
from halflife.agent.manager import Candidate
from halflife.store.draft import Draft
from halflife.store.filters import Filter, parse
from halflife.store.protocol import Why
from halflife.store.trace import Space, Trace, new_ids
from halflife.store.vectors import Floats

NAME = "memory-r1"
ROLE = f"{NAME}:entry"
ENTRIES = parse({"role": ROLE})


class Moved(Exception):
    """The store holds other entries than those that were planned on."""


class Shelf:
    """The entries of a space, to be managed.

    Parameters
    ----------
    engine, space: where they are. Reading them takes one pass over the entries and their vectors.
    """

    def __init__(self, engine: Engine, space: Space) -> None:
        self.engine, self.space = engine, space
        known = engine.store.space_id(space) is not None
        traces = engine.store.find(space, ENTRIES & ACTIVE)[::-1] if known else []
        rows = engine.store.vectors([trace.id for trace in traces])
        self._versions = {trace.id: trace.version for trace in traces}
        self._vectors: dict[str, Floats] = {t.text: rows[t.id] for t in traces if t.id in rows}
        # Ids as the store gives them, so that an entry has the same one before and after it is written.
        self.bank = FactBank([Entry(t.id, t.text, t.sources) for t in traces], lambda: new_ids(1)[0])
        self.stale = False  # whether the store holds something else by now, so that this must be read again

    def candidates(self, text: str, count: int) -> list[Candidate]:
        """The entries nearest to a text by the cosine of their nearest windows, nearest first."""
        entries = list(self.bank)
        if not entries:
            return []
        rows = [self._vector(entry.text) for entry in entries]
        starts = np.cumsum([0, *(len(one) for one in rows[:-1])])
        windows = (np.concatenate(rows) @ self._vector(text).T).max(axis=1)
        cosines = np.maximum.reduceat(windows, starts)
        best = np.argsort(-cosines, kind="stable")[:count]
        return [Candidate(entries[i].id, entries[i].text, float(cosines[i])) for i in best.tolist()]

    def apply(self, ops: Sequence[Op]) -> Diff:
        """Carry out operations in memory. No two entries ever say the same: the one that did first takes it all in."""
        diffs = [self.bank.apply(self._distinct(op)) for op in ops]
        return Diff(tuple(change for diff in diffs for change in diff.changes))

    def _distinct(self, op: Op) -> list[Op]:
        same = next((e.id for e in self.bank if e.text.split() == op.text.split() and e.id != op.id), None)
        if same is None or op.kind not in ("ADD", "UPDATE"):
            return [op]
        met = Op("UPDATE", same, self.bank[same].text, op.source)
        return [met] if op.kind == "ADD" else [Op("DELETE", op.id, source=op.source), met]

    def _vector(self, text: str) -> Floats:
        if text not in self._vectors:
            [self._vectors[text]] = self.engine.embed([text])
        return self._vectors[text]

    def write(self, diff: Diff, message: Trace, now: float) -> None:
        """Write what a message changed, within the caller's transaction.

        Raises
        ------
        Moved: an entry is not as it was when the bank was read. Nothing was written.
        """
        net = diff.net
        old = [id for id, (before, _) in net.items() if before is not None]
        there = {t.id: t for t in self.engine.store.find(self.space, ENTRIES & ACTIVE & _ids(old))} if old else {}
        if any(id not in there or there[id].version != self._versions[id] for id in old):
            raise Moved
        for id in (id for id, (_, after) in net.items() if after is None):  # first, so that their words are free
            self._retire(there[id], message, now)
        for id, (before, after) in net.items():
            if before is None and after is not None:
                self._add(after, message, now)
            elif after is not None:
                self._update(there[id], after, message, now)

    def _add(self, entry: Entry, message: Trace, now: float) -> None:
        draft = Draft(
            entry.text, message.at, self._vector(entry.text), ROLE, message.agent_id, id=entry.id, system=NAME,
            metadata=with_sources({}, entry.sources), sources=entry.sources,
        )  # fmt: skip
        [added] = self.engine.write(self.space, [draft], Why("manage", NAME), now)
        self._versions[added.id] = 1
        if added.event == "met":  # an entry that was archived, and is back
            [known] = self.engine.store.get([added.id])
            sources = tuple(dict.fromkeys([*known.sources, *entry.sources]))
            self._revise(known, {"sources": sources, "at": max(known.at, message.at)}, None, sources, now)
            self.stale = True

    def _update(self, trace: Trace, entry: Entry, message: Trace, now: float) -> None:
        changes = {"text": entry.text, "at": max(trace.at, message.at), "sources": entry.sources}
        self._revise(trace, changes, self._vector(entry.text), entry.sources, now)

    def _retire(self, trace: Trace, message: Trace, now: float) -> None:
        sources = tuple(dict.fromkeys([*trace.sources, message.id]))
        self._revise(trace, {"sources": sources}, None, sources, now)
        self.engine.store.set_status([trace.id], "retired", Why("manage", NAME), now)
        del self._versions[trace.id]

    def _revise(
        self, trace: Trace, changes: dict[str, object], vectors: Floats | None, sources: Sequence[str], now: float
    ) -> None:
        metadata = with_sources(dict(trace.metadata), sources)
        new = self.engine.store.update(trace.id, {**changes, "metadata": metadata}, vectors, Why("manage", NAME), now)
        self._versions[trace.id] = new.version


def _ids(ids: Sequence[str]) -> Filter:
    return parse({"id": {"in": list(ids)}})
