"""Lessons: where a record would have led, kept so that it is not followed a second time.

Paper: "A-MemGuard: A Proactive Defense Framework for LLM-Based Agent Memory", arXiv 2510.02373.

A lesson is a derived trace with the record it is about as its source: it is durable, goes when its record is erased,
and is found by the action that it warns of. It stays out of recall, being `archived` from its first moment. Its two
vectors are those of the situation and of the action. How often it came up is counted by its strength, and each time is
an operation of kind `verdict`: the history of lessons is the log of verdicts, to which operations are only added.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from halflife.agent.derived import with_sources
from halflife.agent.engine import Engine
from halflife.errors import InvalidInput, UnknownTrace
from halflife.store.draft import Draft
from halflife.store.filters import parse
from halflife.store.protocol import Why
from halflife.store.rows import floats
from halflife.store.trace import Space, Trace
from halflife.store.vectors import Floats

NAME = "guard"
ROLE = "guard:lesson"
LESSONS = parse({"role": ROLE})
VERDICT = "verdict"  # the kind of an operation that speaks against records
NEAREST = 4  # lessons for an action, as released
_PREFIX = "lesson:"


@dataclass(frozen=True)
class Finding:
    """What speaks against a record.

    Parameters
    ----------
    record: its id.
    path: where it leads. action: what it says to do.
    context, action_vector: unit vectors [dim] of the situation and of the action.
    cause: `divergent`, `failed`, or another word for why.
    others: ids of further records that the path may tell of.
    """

    record: str
    path: str
    action: str
    context: Floats
    action_vector: Floats
    cause: str = "divergent"
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lesson:
    """A lesson found: `hits` is how often it came up, the first time included; `similarity` how near it was."""

    id: str
    record: str
    path: str
    action: str
    cause: str
    hits: int
    at: float
    similarity: float = 1.0


class LessonStore:
    """The second memory: what not to do again.

    Parameters
    ----------
    engine: where lessons are kept, beside the records that they are about.

    Source: the paper's dual memory.

    >>> from halflife import Memory
    >>> memory = Memory(embedder="hash", clock=lambda: 0.0)
    >>> [record] = memory.add("Clear the table before every query.")
    >>> lessons, embed = LessonStore(memory.engine), memory.engine.embedder.embed
    >>> situation, action = embed(["How many patients?", "drop table"])
    >>> finding = Finding(record.id, "table → drop table", "drop table", situation, action)
    >>> for _ in range(2):
    ...     _ = lessons.add(Space.of(), [finding], now=0.0)
    >>> [lesson] = lessons.consult(Space.of(), embed(["drop the table"])[0])
    >>> lesson.path, lesson.hits
    ('table → drop table', 2)
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._indexes: dict[str, _Index] = {}
        self._lock = threading.RLock()

    def add(self, space: Space, findings: Sequence[Finding], now: float, reason: str = "") -> list[str]:
        """Keep a lesson for each record, or count one more hit where there is one. Returns their ids.

        All of it is one transaction. Of a record that was forgotten meanwhile nothing is kept. `reason` goes into the
        history: it must not quote what was said.
        """
        store, why = self.engine.store, Why(VERDICT, NAME, reason)
        ids = [_id(finding.record) for finding in findings]
        if not ids:
            return []
        with store.transaction(durable=len(store.vectors(ids)) < len(ids)):  # a count may be lost, a lesson not
            known = self._known(space, ids)
            fresh = [finding for finding in findings if _id(finding.record) not in known]
            new = [_draft(finding, now) for finding in fresh if self._all_there((finding.record, *finding.others))]
            if new:
                self.engine.write(space, new, why, now)
            hidden = [draft.id for draft in new if draft.id]
            hidden += [id for id, trace in known.items() if trace.status != "archived"]
            if hidden:
                store.set_status(hidden, "archived", Why("archive", NAME), now)
            store.reinforce(list(known), now, why=why)
        return [id for id in ids if id in known or id in hidden]

    def _known(self, space: Space, ids: Sequence[str]) -> dict[str, Trace]:
        """The lessons with these ids that there are, in force or not. (A filter on many ids reads the whole space.)"""
        there = list(self.engine.store.vectors(ids))
        return {trace.id: trace for trace in self.engine.store.get(there) if trace.space == space}

    def _all_there(self, ids: Sequence[str]) -> bool:
        try:
            return bool(self.engine.store.get(ids))
        except UnknownTrace:
            return False

    def count(self, ids: Sequence[str], now: float, reason: str = "") -> None:
        """Count one more hit of these lessons."""
        self.engine.store.reinforce(ids, now, why=Why(VERDICT, NAME, reason))

    def consult(
        self,
        space: Space,
        action_vector: Floats,
        n: int = NEAREST,
        *,
        context: Floats | None = None,
        at_least: float = 0.0,
    ) -> list[Lesson]:
        """The n lessons nearest to a planned action, nearest first.

        Parameters
        ----------
        action_vector: unit vector [dim] of the action.
        context: unit vector [dim] of the situation; given, a lesson is as near as the farther of the two.
        at_least: leave out what is less similar.
        """
        if n < 1:
            raise InvalidInput(f"n is {n}.", "Ask for one lesson or more.")
        with self._lock:
            ns, vectors = self._indexes.setdefault(space.name, _Index(self.engine, space)).follow()
        if not len(ns):
            return []
        similarity = vectors[:, 1] @ action_vector
        if context is not None:
            similarity = np.minimum(similarity, vectors[:, 0] @ context)
        best = [i for i in np.argsort(-similarity, kind="stable")[:n].tolist() if similarity[i] >= at_least]
        traces = self.engine.store.by_number([ns[i] for i in best])
        return [_lesson(traces[ns[i]], float(similarity[i])) for i in best if ns[i] in traces]

    def of(self, space: Space, records: Sequence[str]) -> dict[str, Lesson]:
        """The lessons in force about some records, by record."""
        known = self._known(space, [_id(record) for record in records]).values()
        lessons = [_lesson(trace) for trace in known if trace.status == "archived"]
        return {lesson.record: lesson for lesson in lessons}

    def all(self, space: Space) -> list[Lesson]:
        """The lessons in force, newest first."""
        return [_lesson(trace) for trace in self.engine.store.find(space, LESSONS & parse({"status": "archived"}))]

    def withdraw(self, ids: Sequence[str], now: float, reason: str = "") -> int | None:
        """Take back lessons that proved wrong. Returns the operation, which `Memory.undo` takes back."""
        if not ids:
            return None
        return self.engine.store.set_status(ids, "retired", Why("retire", NAME, reason), now)


class _Index:
    """The vectors of a space's lessons. Follows the store; nothing here is durable."""

    def __init__(self, engine: Engine, space: Space) -> None:
        self.engine, self.space, self.op = engine, space, 0
        self._rows: dict[int, Floats] = {}
        self._made: tuple[list[int], Floats] | None = None

    def follow(self) -> tuple[list[int], Floats]:
        """The numbers of the lessons in force, and their vectors of situation and action, [lessons, 2, dim]."""
        store, dim = self.engine.store, self.engine.embedder.dim
        if store.space_id(self.space) is not None and (not self.op or store.last_op() != self.op):
            feed = store.feed(self.space, self.op, statuses=("archived",))
            changed = [n for n in feed.gone.tolist() if self._rows.pop(n, None) is not None]
            fresh = [(n, role) for n, role, new in zip(feed.n.tolist(), feed.role, feed.fresh, strict=True) if new]
            for (n, role), blob in zip(fresh, feed.vectors, strict=True):
                if role == ROLE and blob:
                    rows = floats(blob).reshape(-1, dim)
                    self._rows[n] = rows[[0, -1]]  # a store that was embedded anew has one vector for both
                    changed.append(n)
            if changed:
                self._made = None
            self.op = feed.op
        if self._made is None:
            ns = sorted(self._rows)
            self._made = ns, np.stack([self._rows[n] for n in ns]) if ns else np.zeros((0, 2, dim), np.float32)
        return self._made


def _id(record: str) -> str:
    """A record has one lesson, found by its own id without a search."""
    return _PREFIX + record


def _mark(record: str) -> str:
    """What tells two lessons apart. It is not the id, which outlives an erasure and must not stand in a content."""
    return hashlib.blake2b(record.encode(), digest_size=8).hexdigest()


def _draft(finding: Finding, now: float) -> Draft:
    sources = (finding.record, *(id for id in finding.others if id != finding.record))
    return Draft(
        f"{finding.path}\n{_mark(finding.record)}",  # two records with one path have a lesson each
        now,
        vectors=np.stack([finding.context, finding.action_vector]).astype(np.float32),
        id=_id(finding.record),
        role=ROLE,
        metadata=with_sources({"action": finding.action, "cause": finding.cause}, sources),
        sources=sources,
        system=NAME,
    )


def _lesson(trace: Trace, similarity: float = 1.0) -> Lesson:
    return Lesson(
        trace.id,
        trace.id.removeprefix(_PREFIX),
        trace.text.rpartition("\n")[0],
        trace.metadata["action"],
        trace.metadata["cause"],
        round(float(trace.state.uses)),
        trace.at,
        similarity,
    )
