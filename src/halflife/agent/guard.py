"""A guarded memory: what is recalled is compared before it is used.

Paper: "A-MemGuard: A Proactive Defense Framework for LLM-Based Agent Memory", arXiv 2510.02373.

Implemented: reasoning paths of what was retrieved (`guard_paths`), consensus among them (`guard_consensus`), and
lessons, a second memory of what stood apart (`guard_lessons`), around any other memory system. Added: a limit on what
one writer can store, a heed of lessons without a model, lessons from outcomes, and a policy for empty reads.

Where this differs from the released code: lessons are traces of their own, not a field of the record, and are learnt
wherever a consensus speaks against a record, in the EHR agent and elsewhere; where there is no consensus none is learnt
(the release calls every chain an anomaly then); groups of equal size are no consensus; fewer than three hits are
returned as they are, and said to be unvalidated. A record is never deleted by the guard.

The defence holds while planted records are fewer than the largest group of honest ones among the hits, and no longer.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias, get_args

from halflife.agent.derived import erase_stale
from halflife.agent.engine import Engine
from halflife.agent.guard_consensus import (
    Cluster,
    ConsensusValidator,
    Judge,
    NoConsensus,
    Ties,
    Verdict,
    Vote,
    calibrated_eps,
)
from halflife.agent.guard_inner import OwnSearch, Quota
from halflife.agent.guard_lessons import LESSONS, NAME, VERDICT, Finding, Lesson, LessonStore
from halflife.agent.guard_paths import ChatPaths, ExtractivePaths, PathModel, outcome
from halflife.agent.guard_report import Dropped, ReadReport
from halflife.agent.guard_vectors import ReadVectors
from halflife.agent.hit import Hit
from halflife.agent.system import MemorySystem, named
from halflife.agent.system import system as open_system
from halflife.errors import InvalidInput
from halflife.store.draft import Draft, check_content
from halflife.store.erase import ErasureReport
from halflife.store.filters import ALL, Filter
from halflife.store.protocol import Added, Event
from halflife.store.trace import Space, Trace
from halflife.store.vectors import Floats

OnEmpty: TypeAlias = Literal["none", "lowest_divergence", "raise"]
Method: TypeAlias = Literal["vote", "cluster", "judge"]
PathMethod: TypeAlias = Literal["extract", "chat"]

QUORUM = 3  # hits from which there can be a majority
WIDTH = 5  # hits compared at least, as in the release's question answering


class GuardedMemory:
    """A memory system that returns only records whose reasoning agrees.

    Parameters
    ----------
    engine: what it is built on.
    inner: the system that it guards: a name in the registry with its `inner_options`, a system on the same engine, or
        None for the engine's own search.
    paths: `extract` or `chat`, or a `PathModel`; None is `chat` if the engine has a chat model, else `extract`.
    validator: `vote`, `cluster` or `judge`, or a `ConsensusValidator`; None is `judge` with a chat model, else
        `cluster`.
    eps: of `cluster`; see `calibrate`.
    ties: of `vote` and `cluster`, what is trusted of groups of equal size: `none`, `all`, or the one `nearest` to the
        query.
    action: the field of metadata that holds what a record says to do.
    width: how many hits are compared at least, whatever the number asked for.
    on_empty: what to return when nothing is consistent: `none`, the record of `lowest_divergence`, or `raise`.
    learn: keep a lesson of what a consensus speaks against, and count how often it comes up.
    heed: drop as well what a lesson speaks against, if situation and action are this similar (cosine) to the lesson's;
        None only keeps lessons for `consult`.
    quota, quota_seconds: how many records one writer may add in so many seconds; None sets no limit.
    writer: the field that says who wrote a record: one of the trace (`agent_id`, `role`) or a key of its metadata.

    Raises
    ------
    InvalidInput: an unknown method or policy, a width or quota below 1, or no chat model for a method that needs one.

    Source: the paper's consensus validation and dual memory.

    >>> from halflife import Memory
    >>> memory = Memory(embedder="hash", system="guard", options={"validator": "vote"})
    >>> for dose in ("aspirin", "ibuprofen", "heparin"):
    ...     _ = memory.add(f"What dose of {dose} was given?", metadata={"action": "read medication"})
    >>> _ = memory.add("What dose of insulin was given?", metadata={"action": "delete all"})
    >>> {hit.metadata["action"] for hit in memory.search("What dose of insulin was given today?")}
    {'read medication'}
    >>> [(dropped.path, dropped.why) for dropped in memory.system.report.dropped]
    [('dose insulin given → delete all', 'divergent')]
    """

    def __init__(
        self,
        engine: Engine,
        *,
        inner: str | MemorySystem | None = None,
        inner_options: Mapping[str, Any] | None = None,
        paths: PathMethod | PathModel | None = None,
        validator: Method | ConsensusValidator | None = None,
        eps: float = 0.5,
        ties: Ties = "none",
        action: str = "action",
        width: int = WIDTH,
        on_empty: OnEmpty = "none",
        learn: bool = True,
        heed: float | None = None,
        quota: int | None = None,
        quota_seconds: float = 86_400.0,
        writer: str = "agent_id",
    ) -> None:
        if width < 1:
            raise InvalidInput(f"width is {width}.", "Compare one hit or more.")
        if on_empty not in get_args(OnEmpty):
            raise InvalidInput(f"on_empty is {on_empty!r}.", f"Use one of {', '.join(get_args(OnEmpty))}.")
        if heed is not None and not -1.0 <= heed <= 1.0:
            raise InvalidInput(f"heed is {heed}.", "Use a cosine.")
        self.engine = engine
        self.inner = _inner(engine, inner, inner_options or {})
        self.path_model = _path_model(engine, paths, action)
        self.vectors = ReadVectors(engine, isinstance(self.path_model, ExtractivePaths), action)
        self.validator = _validator(engine, validator, self.vectors, eps, ties)
        self.lessons = LessonStore(engine)
        self.quota = Quota(engine, quota, quota_seconds, writer) if quota is not None else None
        self.width, self.on_empty, self.learn, self.heed, self.writer = width, on_empty, learn, heed, writer
        self.report: ReadReport | None = None
        self.counts: Counter[str] = Counter()

    # -- writing ----------------------------------------------------------------------------------------------

    def write(self, space: Space, drafts: Sequence[Draft], now: float) -> list[Added]:
        """Let the inner memory write, within the quota of each writer.

        Raises
        ------
        InvalidInput: a writer would exceed the quota; nothing is written.
        """
        if self.quota is not None:
            self.quota.check(space, drafts, now)
        return self.inner.write(space, drafts, now)

    def consolidate(self, space: Space, now: float) -> Mapping[str, Any]:
        """The sleep of the inner memory."""
        return self.inner.consolidate(space, now)

    def mend(self, space: Space, now: float) -> list[ErasureReport]:
        """Let the inner memory mend; erase the lessons that may tell of what was erased, and forget what was read."""
        self.report = None
        self.vectors.forget()
        return [*self.inner.mend(space, now), *erase_stale(self.engine, space, LESSONS, NAME, now)]

    # -- recall -----------------------------------------------------------------------------------------------

    def recall(
        self, space: Space, query: str, k: int, now: float, *, where: Filter = ALL, reinforce: bool = True
    ) -> list[Hit]:
        """Of what the inner memory finds, the k best whose paths are consistent; `report` says what was dropped."""
        return self.read(space, query, k, now, where=where, reinforce=reinforce)[0]

    def read(
        self, space: Space, query: str, k: int, now: float, *, where: Filter = ALL, reinforce: bool = True
    ) -> tuple[list[Hit], ReadReport]:
        """`recall` with its report. Only what is returned is reinforced; lessons are learnt either way.

        Raises
        ------
        NoConsensus: nothing is consistent, and `on_empty` is `raise`.
        """
        check_content(query)
        hits = self.inner.recall(space, query, max(k, self.width), now, where=where, reinforce=False)
        self.report = report = self._validate(space, query, [hit.trace for hit in hits], now)
        self._count(report)
        if report.empty and self.on_empty == "raise":
            raise NoConsensus(
                f"None of the {len(hits)} memories found can be trusted: {report.why or 'lessons speak against them'}.",
                "Answer without memory, or open the guard with on_empty='none'.",
            )
        kept = set(report.kept)
        if report.empty and self.on_empty == "lowest_divergence":
            kept = {min(report.dropped, key=lambda one: one.score).id}
            self.report = report = replace(report, rescued=True)
        found = [hit for hit in hits if hit.id in kept][:k]
        if reinforce and found:
            self.engine.store.reinforce([hit.id for hit in found], now)
        return found, report

    def _validate(self, space: Space, query: str, records: Sequence[Trace], now: float) -> ReadReport:
        """Compare the records of one read, learn from the verdict, and heed what was learnt before."""
        compared = len(records) >= QUORUM
        paths = self.path_model.paths(query, records) if compared or (records and self.heed is not None) else []
        by_id = dict(zip((record.id for record in records), paths, strict=False))
        if compared:
            verdict = self.validator.check(query, records, paths)
        else:
            verdict = Verdict(tuple(r.id for r in records), (), dict.fromkeys((r.id for r in records), 0.0))
        reasons = dict.fromkeys(verdict.anomalous, verdict.why or "divergent")
        if self.heed is not None:  # before this read teaches anything
            reasons |= self._heeded(space, query, {id: by_id[id] for id in verdict.consistent}, now)
        if self.learn and verdict.decided and verdict.anomalous:
            self._learn(space, query, by_id, verdict, now)
        return ReadReport(
            query,
            by_id,
            tuple(id for id in verdict.consistent if id not in reasons),
            tuple(self._dropped(r, by_id[r.id], verdict, reasons[r.id]) for r in records if r.id in reasons),
            unvalidated=not compared,
            decided=verdict.decided,
            why=verdict.why,
        )

    def _dropped(self, record: Trace, path: str, verdict: Verdict, why: str) -> Dropped:
        writer = getattr(record, self.writer, None) or record.metadata.get(self.writer) or ""
        return Dropped(record.id, path, verdict.scores.get(record.id, 0.0), why, str(writer), record.at)

    def _count(self, report: ReadReport) -> None:
        self.counts.update(
            reads=1,
            unvalidated=int(report.unvalidated),
            empty=int(report.empty),
            found=len(report.kept) + len(report.dropped),
            dropped=len(report.dropped),
        )

    # -- lessons ----------------------------------------------------------------------------------------------

    def _learn(self, space: Space, query: str, paths: Mapping[str, str], verdict: Verdict, now: float) -> None:
        apart = [id for id in verdict.anomalous if paths[id]]
        reason = json.dumps(
            {"kept": len(verdict.consistent), "dropped": {id: round(verdict.scores[id], 3) for id in apart}}
        )
        self.lessons.add(space, self._findings(query, paths, apart, "divergent"), now, reason)

    def _findings(self, query: str, paths: Mapping[str, str], ids: Sequence[str], cause: str) -> list[Finding]:
        if not ids:
            return []
        context = self._context(query)
        actions = [outcome(paths[id]) for id in ids]
        others = () if self.path_model.alone else tuple(paths)
        return [
            Finding(id, paths[id], action, context, vector, cause, others)
            for id, action, vector in zip(ids, actions, self.vectors.of_texts(actions), strict=True)
        ]

    def _context(self, query: str) -> Floats:
        vector: Floats = self.engine.embedder.embed([query])[0]
        return vector

    def _heeded(self, space: Space, query: str, paths: Mapping[str, str], now: float) -> dict[str, str]:
        """Of consistent records those that a lesson speaks against, with the reason."""
        if not paths or self.heed is None:
            return {}
        context, matched = self._context(query), dict[str, str]()
        for id, path in paths.items():
            [action] = self.vectors.of_texts([outcome(path)])
            for lesson in self.lessons.consult(space, action, 1, context=context, at_least=self.heed):
                matched[id] = lesson.id
        self.lessons.count(list(dict.fromkeys(matched.values())), now, json.dumps({"heeded": list(matched)}))
        return dict.fromkeys(matched, "lesson")

    def consult(self, space: Space, action: str, n: int = 4, *, situation: str | None = None) -> list[Lesson]:
        """The lessons nearest to a planned action, to be read before acting; see `warning`.

        `situation` narrows them to what was asked in a similar place.
        """
        check_content(action)
        [vector] = self.vectors.of_texts([outcome(action)])
        return self.lessons.consult(space, vector, n, context=None if situation is None else self._context(situation))

    def record_outcome(self, space: Space, action: str, ok: bool, now: float | None = None) -> list[str]:
        """Say how an action went that the last read led to. Returns the ids of the lessons that this changes.

        A failure is a lesson of each record returned that led to it. A success takes back the lessons of those that
        were dropped for leading to it.
        """
        report, wanted = self.report, outcome(action)
        if report is None:
            return []
        now = self.engine.clock() if now is None else now
        if not ok:
            led = [id for id in report.kept if outcome(report.paths.get(id, "")) == wanted]
            return self.lessons.add(space, self._findings(report.query, report.paths, led, "failed"), now)
        led = [one.id for one in report.dropped if outcome(one.path) == wanted]
        wrong = [lesson.id for lesson in self.lessons.of(space, led).values()]
        self.lessons.withdraw(wrong, now, "the action went well")
        return wrong

    def log(self, space: Space) -> list[Event]:
        """The verdicts against records, newest first; the reason of each is JSON, with ids and divergences."""
        return [event for event in self.engine.store.operations(space, -1) if event.kind == VERDICT]

    def calibrate(
        self, space: Space, queries: Sequence[str], now: float | None = None, percentile: float = 95.0
    ) -> float:
        """The `eps` at which that share of the hits of clean reads has a neighbour; see `calibrated_eps`."""
        now = self.engine.clock() if now is None else now
        reads = []
        for query in queries:
            hits = self.inner.recall(space, query, self.width, now, reinforce=False)
            records = [hit.trace for hit in hits]
            if records:
                reads.append(self.vectors(records, self.path_model.paths(query, records)))
        return calibrated_eps(reads, percentile)


def warning(lessons: Sequence[Lesson]) -> str:
    """Lessons as a text for a prompt. What they quote comes from memory: fence it as data.

    >>> warning([])
    ''
    """
    if not lessons:
        return ""
    lines = [f"- {lesson.path} ({lesson.cause}, hits: {lesson.hits})" for lesson in lessons]
    return "\n".join(["Learned from similar past actions; avoid what these led to:", *lines])


def _inner(engine: Engine, inner: str | MemorySystem | None, options: Mapping[str, Any]) -> MemorySystem:
    if inner is None:
        if options:
            raise InvalidInput("inner_options were given without inner.", "Name the system that they are for.")
        return OwnSearch(engine)
    if isinstance(inner, str):
        if named(inner) == NAME:
            raise InvalidInput("A guard cannot guard another.", "Name the memory system below it.")
        return open_system(inner, engine, **options)
    if inner.engine is not engine:
        raise InvalidInput("The inner memory is on another engine.", "Build it on the engine of the guard.")
    return inner


def _path_model(engine: Engine, paths: PathMethod | PathModel | None, action: str) -> PathModel:
    if paths is None:
        paths = "extract" if engine.chat is None else "chat"
    if not isinstance(paths, str):
        return paths
    if paths == "extract":
        return ExtractivePaths(action)
    if paths != "chat":
        raise InvalidInput(f"paths is {paths!r}.", f"Use one of {', '.join(get_args(PathMethod))}.")
    if engine.chat is None:
        raise InvalidInput("paths='chat' needs a chat model.", "Open the memory with llm=..., or use 'extract'.")
    return ChatPaths(engine.chat, action=action)


def _validator(
    engine: Engine, validator: Method | ConsensusValidator | None, vectors: ReadVectors, eps: float, ties: Ties
) -> ConsensusValidator:
    if validator is None:
        validator = "cluster" if engine.chat is None else "judge"
    if not isinstance(validator, str):
        return validator
    if validator == "vote":
        return Vote(ties=ties)
    if validator == "cluster":
        return Cluster(vectors, eps, ties=ties)
    if validator != "judge":
        raise InvalidInput(f"validator is {validator!r}.", f"Use one of {', '.join(get_args(Method))}.")
    if engine.chat is None:
        raise InvalidInput("validator='judge' needs a chat model.", "Open the memory with llm=..., or use 'cluster'.")
    return Judge(engine.chat)
