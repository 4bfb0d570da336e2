"""Think-in-Memory on the engine.

Paper: "Think-in-Memory: Recalling and Post-thinking Enable LLMs with Long-Term Memory", arXiv 2311.08719.

Implemented: thoughts (relation triples) in the buckets of a hash (`lsh`), recall within a bucket, and
post-thinking: new thoughts from each turn, then forgetting and merging in every bucket that was touched, by
rule or by a language model (`thoughts`, `post_thinker`). Added: centring of the hash, several tables, probing
and filling up from the next buckets, since one bucket of one table misses much of what exact search finds. Not
implemented: the tuning of the language model.

A turn is stored when it is written, and thought about by `consolidate`, away from the hot path. What is
forgotten or merged stays as a tombstone (`retired`, `merged`), which an undo brings back; a merged thought
knows its parents. A thought that is drawn again keeps its first source, and counts as said anew.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from halflife.agent.backlog import Backlog
from halflife.agent.derived import lost_a_source
from halflife.agent.engine import Engine
from halflife.agent.hit import Hit
from halflife.agent.post_thinker import ModelPostThinker
from halflife.agent.redact import Redactor
from halflife.agent.thought_index import (
    NAME,
    THOUGHTS,
    Settings,
    ThoughtIndex,
    draft_of,
    kept_settings,
    key,
    thought_of,
)
from halflife.agent.thoughts import Merged, PostThinker, RulePostThinker, Thought
from halflife.agent.turns import turns_of
from halflife.errors import InvalidInput, StoreBusy, UnusableAnswer
from halflife.store.draft import Draft, check_content
from halflife.store.erase import ErasureReport, erase
from halflife.store.filters import ALL, Filter, parse
from halflife.store.protocol import Added, Why
from halflife.store.trace import Space, Trace

T = TypeVar("T")
R = TypeVar("R")

ACTIVE, MERGED = parse({"status": "active"}), parse({"status": "merged"})

CENTRE_FROM = 16  # thoughts; the mean of fewer says too much about each
_TRIES = 3


@dataclass
class Report:
    """What post-thinking did: ids of thoughts by act, what a model could not do, and the operations, oldest first."""

    thoughts: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    merged: list[str] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    operations: list[int] = field(default_factory=list)


class ThinkInMemory:
    """A memory of conclusions, drawn once and used again.

    Parameters
    ----------
    engine: what it is built on.
    n_buckets, n_tables, seed: of the hash, for spaces that have none yet; see `CrossPolytope`.
    center: hash around the mean of the thoughts, once there are 16. The mean is kept with the store, and taken
        anew when they have doubled or halved in number.
    probes: buckets of each table that a recall looks into, the likeliest first.
    thinker: draws, drops and merges thoughts; unless given, the engine's language model, and by rule without one.

    Raises
    ------
    InvalidInput: an odd number of buckets, or less than one table or probe.

    >>> from halflife import Memory
    >>> memory = Memory(embedder="hash", system="think-in-memory", options={"n_buckets": 2})
    >>> for said in ("I live in Oslo.", "I like tea.", "I like jazz.", "I moved to Bergen."):
    ...     _ = memory.add({"role": "user", "content": said}, user_id="anna")
    >>> report = memory.consolidate(user_id="anna")
    >>> sorted(hit.text for hit in memory.search("What does the user like?", user_id="anna"))
    ['The user likes tea and jazz.', 'The user lives in Bergen.']
    """

    def __init__(
        self,
        engine: Engine,
        *,
        n_buckets: int = 8,
        n_tables: int = 1,
        seed: int = 0,
        center: bool = True,
        probes: int = 1,
        thinker: PostThinker | None = None,
    ) -> None:
        if probes < 1:
            raise InvalidInput(f"probes is {probes}.", "Look at one bucket or more.")
        self.engine, self.center, self.probes = engine, center, probes
        by_model = ModelPostThinker(engine.chat) if engine.chat is not None else RulePostThinker()
        self.thinker: PostThinker = thinker or by_model
        self._default = Settings(n_buckets, n_tables, seed, engine.embedder.fingerprint)
        self._default.hashing(1)  # refuses what is wrong
        self._indexes: dict[str, ThoughtIndex] = {}
        self._lock = threading.RLock()

    # -- writing ----------------------------------------------------------------------------------------------

    def write(self, space: Space, drafts: Sequence[Draft], now: float) -> list[Added]:
        """Store turns. They are thought about by `consolidate`."""
        for draft in drafts:
            draft.system = draft.system or NAME
        return self.engine.write(space, drafts, Why("add"), now)

    def insert(
        self,
        space: Space,
        thoughts: Sequence[Thought],
        now: float | None = None,
        *,
        query: str | None = None,
        response: str | None = None,
    ) -> list[Added]:
        """Put thoughts into their buckets.

        `query` and `response` are the ids of the turns that they come from: the one that a thought names as its
        source, or both. A thought without a time is of now. One that is there already is of the later time.
        """
        if not thoughts:
            return []
        now = self.engine.clock() if now is None else now
        sides = {"query": query, "response": response}
        sources = [[id for side, id in sides.items() if id and thought.source in ("", side)] for thought in thoughts]
        drafts = self._drafts(space, thoughts, sources, now)
        with self.engine.store.transaction():
            return self._put(space, drafts, now)

    def _drafts(
        self, space: Space, thoughts: Sequence[Thought], sources: Sequence[Sequence[str]], now: float
    ) -> list[Draft]:
        if (redactor := self.engine.redactor) is not None:  # before the bucket is chosen
            thoughts = [_redacted(thought, redactor) for thought in thoughts]
        vectors = self.engine.embed([thought.text for thought in thoughts])
        settings = self._settings(space)
        hashing = settings.hashing(self.engine.embedder.dim)
        return [
            draft_of(thought, rows, {"bucket": hashing.buckets(rows[0])[0].tolist(), "hash": settings.tag}, ids, now)
            for thought, rows, ids in zip(thoughts, vectors, sources, strict=True)
        ]

    def _put(self, space: Space, drafts: Sequence[Draft], now: float) -> list[Added]:
        """Write thoughts within a transaction. What was merged away and is said again is a thought again."""
        store = self.engine.store
        added = self.engine.write(space, drafts, Why("think", NAME), now)
        again = {a.id: draft for a, draft in zip(added, drafts, strict=True) if a.event == "met"}
        changes = []
        for trace in store.get(list(again)):
            at = max(trace.at, again[trace.id].at)
            if trace.status != "active" or at > trace.at:
                changes.append((trace.id, {"status": "active", "at": at}))
        if changes:
            store.revise(changes, Why("think", NAME), now)
        return added

    # -- recall -----------------------------------------------------------------------------------------------

    def recall(
        self, space: Space, query: str, k: int, now: float, *, where: Filter = ALL, reinforce: bool = True
    ) -> list[Hit]:
        """The k thoughts nearest to a query in the buckets that it falls into, then in the next ones.

        A hit's score is the cosine; its buckets are in `metadata["bucket"]`. With a filter every bucket is looked
        into.
        """
        check_content(query)
        store = self.engine.store
        if store.space_id(space) is None:
            return []
        with self._lock:
            index, ns = self._index(space).refresh(self._settings(space))
        if not len(index):
            return []
        vector = self.engine.embedder.embed([query])[0]
        if where.empty:
            found = index.search(vector, k, self.probes)
        else:
            allowed = set(store.match(space, where).tolist())
            everything = index.search(vector, len(index), index.hashing.n_buckets)
            found = [hit for hit in everything if int(ns[hit.row]) in allowed][:k]
        by_number = store.by_number([int(ns[hit.row]) for hit in found])
        scored = [(by_number[n], hit.score) for hit in found if (n := int(ns[hit.row])) in by_number]
        retention = self.engine.retention([trace for trace, _ in scored], now)
        hits = [
            Hit(trace, score, left, {"semantic": score}, 1.0, 0.0)
            for (trace, score), left in zip(scored, retention, strict=True)
        ]
        if reinforce:
            store.reinforce([hit.id for hit in hits], now)
        return hits

    def bucket(self, space: Space, number: int) -> list[Thought]:
        """The thoughts in a bucket of the first table, oldest first."""
        with self._lock:
            index, ns = self._index(space).refresh(self._settings(space))
        traces = self.engine.store.by_number(ns[index.rows(0, number)].tolist())
        return [thought_of(traces[n]) for n in sorted(traces, key=lambda n: (traces[n].at, n))]

    def sizes(self, space: Space) -> list[int]:
        """How many thoughts lie in each bucket of the first table."""
        with self._lock:
            index, _ = self._index(space).refresh(self._settings(space))
        return [int(size) for size in index.sizes()[0]]

    # -- post-thinking ----------------------------------------------------------------------------------------

    def consolidate(self, space: Space, now: float) -> Mapping[str, Any]:
        """Think about the turns that are new, then forget and merge in every bucket that was touched.

        A turn or bucket for which a model gave no usable answer stays as it was, is named under `failed`, and (a
        turn) is tried again the next time.
        """
        report = Report()
        if self.engine.store.space_id(space) is None:
            return vars(report)
        self.mend(space, now)
        touched = [*self._revived(space), *self._think(space, now, report)]
        tidied = self.tidy(space, self._buckets_of(space, touched), now)
        self.engine.store.set_meta(key(self.engine, space, "revived"), "[]")
        self._recentre(space, now)
        return {name: value + vars(tidied)[name] for name, value in vars(report).items()}

    def post_think(
        self,
        space: Space,
        query: str,
        response: str,
        now: float,
        *,
        at: float | None = None,
        query_id: str | None = None,
        response_id: str | None = None,
    ) -> list[Added]:
        """Draw the thoughts of one turn, said at `at` (now by default), and put them into their buckets."""
        thoughts = self._thoughts(query, response, now if at is None else at)
        return self.insert(space, thoughts, now, query=query_id, response=response_id)

    def forget(self, space: Space, bucket: int, now: float) -> list[str]:
        """Retire the thoughts of a bucket that others in it have made untrue. Returns their ids."""

        def apply(ids: list[str]) -> list[str]:
            self.engine.store.set_status(ids, "retired", Why("retire", NAME, "made untrue by another"), now)
            return ids

        return self._rewrite(space, bucket, self.thinker.contradictions, apply) or []

    def merge(self, space: Space, bucket: int, now: float) -> dict[str, str]:
        """Put one thought in the place of those of a bucket that it says together.

        Returns the id of each thought that is gone, with the id of the one that it went into. That goes where its
        own hash says, which may be another bucket.
        """

        def decide(thoughts: Sequence[Thought]) -> list[tuple[Merged, Draft]]:
            groups = self.thinker.merge(thoughts)
            drafts = self._drafts(space, [g.thought for g in groups], [g.ids for g in groups], now)
            return list(zip(groups, drafts, strict=True))

        def apply(plan: list[tuple[Merged, Draft]]) -> dict[str, str]:
            return {id: into for group, draft in plan for id, into in self._absorb(space, group, draft, now)}

        return self._rewrite(space, bucket, decide, apply) or {}

    def _absorb(self, space: Space, group: Merged, draft: Draft, now: float) -> list[tuple[str, str]]:
        store = self.engine.store
        same = [t for t in store.get(group.ids) if t.text.split() == draft.text.split()]
        if same:  # one of them says it all already
            into = same[0].id
            store.revise([(into, {"at": max(draft.at, same[0].at)})], Why("merge", NAME), now)
        else:
            into = self._put(space, [draft], now)[0].id
        gone = [id for id in group.ids if id != into]
        store.set_status(gone, "merged", Why("merge", NAME), now)
        store.link([(id, into, 1.0) for id in gone], "merged into", Why("link", NAME), now)
        return [(id, into) for id in gone]

    def _rewrite(
        self,
        space: Space,
        bucket: int,
        decide: Callable[[Sequence[Thought]], list[T]],
        apply: Callable[[list[T]], R],
    ) -> R | None:
        """Read a bucket, decide (a model may take its time), and write all of it if the bucket is still the same."""
        store = self.engine.store
        for _ in range(_TRIES):
            thoughts = self.bucket(space, bucket)
            plan = decide(thoughts) if len(thoughts) > 1 else []
            if not plan:
                return None
            with store.transaction():
                there = store.find(space, ACTIVE & parse({"id": {"in": [t.id for t in thoughts]}}))
                if {(t.id, t.at, t.text) for t in there} == {(t.id, t.created, t.text) for t in thoughts}:
                    return apply(plan)
        raise StoreBusy(f"Bucket {bucket} of {space} changed each time it was thought about.", "Try again later.")

    def tidy(self, space: Space, buckets: Iterable[int], now: float) -> Report:
        """Forget and merge in these buckets, and in those that merged thoughts fall into."""
        report = Report()
        todo = list(dict.fromkeys(buckets))
        while todo:
            bucket = todo.pop(0)
            before = self.engine.store.last_op()
            try:
                report.forgotten += self.forget(space, bucket, now)
                merged = self.merge(space, bucket, now)
            except UnusableAnswer as error:
                report.failed.append({"bucket": bucket, "why": str(error)})
                continue
            report.merged += merged
            todo += [b for b in self._buckets_of(space, set(merged.values())) if b not in (bucket, *todo)]
            report.operations += range(before + 1, self.engine.store.last_op() + 1)
        return report

    def _buckets_of(self, space: Space, ids: Iterable[str]) -> list[int]:
        """The buckets of the first table that thoughts are in now."""
        wanted = set(ids)
        if not wanted:
            return []
        with self._lock:
            index, ns = self._index(space).refresh(self._settings(space))
        numbers = set(self.engine.store.match(space, parse({"id": {"in": sorted(wanted)}})).tolist())
        return [b for b in range(index.hashing.n_buckets) if numbers & set(ns[index.rows(0, b)].tolist())]

    def _think(self, space: Space, now: float, report: Report) -> list[str]:
        """Draw thoughts from the turns that are new. Returns the thoughts that were put somewhere."""
        store, backlog, touched = self.engine.store, Backlog(self.engine, space, NAME), list[str]()
        for query, response in turns_of(backlog.take()):
            sides = [side for side in (query, response) if side is not None]
            before = store.last_op()
            try:
                thoughts = self._drawn(query, response)
            except UnusableAnswer as error:
                self._put_back(backlog, sides)
                report.failed.append({"turn": sides[0].id, "why": str(error)})
                continue
            q, r = (side.id if side else None for side in (query, response))
            with store.transaction():
                added = self.insert(space, thoughts, now, query=q, response=r)
                for side in sides:
                    backlog.done(side)
            report.thoughts += [a.id for a in added if a.event == "add"]
            report.operations += range(before + 1, store.last_op() + 1)
            touched += [a.id for a in added]
        return touched

    def _drawn(self, query: Trace | None, response: Trace | None) -> list[Thought]:
        texts = [side.text if side else "" for side in (query, response)]
        at = max(side.at for side in (query, response) if side)
        return self._thoughts(texts[0], texts[1], at)

    def _thoughts(self, query: str, response: str, at: float) -> list[Thought]:
        """The thoughts of one turn, which are of its time unless they say another."""
        return [replace(t, created=t.created or at) for t in self.thinker.think(query, response)]

    def _put_back(self, backlog: Backlog, sides: Sequence[Trace]) -> None:
        with self.engine.store.transaction():
            for side in sides:
                backlog.done(side)
            backlog.again([side.id for side in sides])

    def mend(self, space: Space, now: float) -> list[ErasureReport]:
        """A thought that lost a source may still tell of it: erase it, and bring back what it had absorbed."""
        store, back, reports = self.engine.store, list[str](), list[ErasureReport]()
        while lost := [t for t in store.find(space, THOUGHTS) if lost_a_source(t)]:
            back += [id for trace in lost for id in trace.sources]
            reports.append(erase(store, [trace.id for trace in lost], Why("forget", NAME, "a source was erased"), now))
            self.engine.drop(space)
        parents = [t.id for t in store.find(space, MERGED & parse({"id": {"in": back}}))] if back else []
        if parents:
            with store.transaction():
                store.set_status(parents, "active", Why("revive", NAME, "what they went into was erased"), now)
                store.set_meta(key(self.engine, space, "revived"), json.dumps([*self._revived(space), *parents]))
        return reports

    def _revived(self, space: Space) -> list[str]:
        """Thoughts that came back, and whose buckets are to be tidied."""
        return list(json.loads(self.engine.store.meta(key(self.engine, space, "revived")) or "[]"))

    # -- the hash ---------------------------------------------------------------------------------------------

    def rehash(self, space: Space, n_buckets: int | None = None, now: float | None = None) -> None:
        """Hash all thoughts anew, around their mean of today, into another number of buckets if one is given."""
        now = self.engine.clock() if now is None else now
        store = self.engine.store
        with self._lock:
            vectors = self._index(space).vectors()
        old = self._settings(space)
        centre = vectors if self.center and len(vectors) >= CENTRE_FROM else None
        new = replace(old, n_buckets=n_buckets or old.n_buckets).around(centre)
        hashing = new.hashing(self.engine.embedder.dim)
        traces = store.find(space, THOUGHTS & ACTIVE)
        rows = store.vectors([trace.id for trace in traces])
        changes = [
            (t.id, {"metadata": {**t.metadata, "bucket": hashing.buckets(rows[t.id][0])[0].tolist(), "hash": new.tag}})
            for t in traces
        ]
        with store.transaction():
            store.set_meta(key(self.engine, space, "hash"), new.to_json())
            if changes:
                store.revise(changes, Why("rehash", NAME), now)

    def _recentre(self, space: Space, now: float) -> None:
        with self._lock:
            count = len(self._index(space).vectors())
        known = self._settings(space).counted
        outgrown = count >= max(2 * known, CENTRE_FROM)
        if self.center and (outgrown or 2 * count < known):
            self.rehash(space, now=now)

    def _settings(self, space: Space) -> Settings:
        return kept_settings(self.engine, space, self._default)

    def _index(self, space: Space) -> ThoughtIndex:
        return self._indexes.setdefault(space.name, ThoughtIndex(self.engine, space))


def _redacted(thought: Thought, redactor: Redactor) -> Thought:
    said, _ = redactor.value([thought.head, thought.relation, thought.wording, *thought.tails])
    return replace(thought, head=said[0], relation=said[1], wording=said[2], tails=tuple(said[3:]))
