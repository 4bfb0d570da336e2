"""A-MEM on the engine: notes that are linked, and that change when new ones come.

Paper: "A-MEM: Agentic Memory for LLM Agents", arXiv 2502.12110.

Implemented: note construction, link generation and memory evolution (section 3) for every message, by rule
(`amem_rules`) or by a language model (`amem_models`); recall of notes and of what is linked to them.

Where this differs from the paper's code, on purpose: a note is embedded with what was said from the start, and a
neighbour anew in the transaction in which it evolves (there: every hundred evolutions); links are undirected, lead to
ids and not to positions, and are taken only to notes that were shown; neighbours are described by number, so that a
short answer changes those that it names; nothing said waits for a model; the budget of linked notes holds over all
hits.

A message is stored as it was said. `consolidate` makes a note of it, into which it is merged: from then on the note is
recalled in its place. Which messages a note may tell of is kept as its sources: erasing one erases every note that
learned from it, and the next `consolidate` writes those anew from the messages that are left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from halflife.agent.amem_models import ModelAnnotator, ModelLinker, keywords_of
from halflife.agent.amem_notes import (
    ACTIVE,
    MERGED,
    MESSAGES,
    NAME,
    NOTES,
    ROLE,
    UNFINISHED,
    Annotator,
    Attributes,
    Decision,
    Linker,
    Neighbour,
    Note,
    Rarity,
    Said,
    evolution,
    marked,
    note_of,
    plain,
    summary_of,
    words,
)
from halflife.agent.amem_plan import Plan, raw
from halflife.agent.amem_recall import (
    NoteHit,
    between,
    current,
    linked,
    links_of,
    messages_of,
    nearest,
    notes_of,
)
from halflife.agent.amem_rules import TAU, RuleAnnotator, RuleLinker
from halflife.agent.backlog import Backlog
from halflife.agent.derived import erase_stale
from halflife.agent.engine import Engine
from halflife.agent.hit import Hit
from halflife.errors import InvalidInput, ModelUnavailable, UnknownTrace, UnusableAnswer
from halflife.store.draft import Draft, check_content
from halflife.store.erase import ErasureReport
from halflife.store.filters import ALL, Filter, parse
from halflife.store.protocol import Added, Why
from halflife.store.text import query_ids
from halflife.store.trace import Space, Trace
from halflife.store.vectors import Floats

IN_USE = parse({"status": {"ne": "retired"}})


@dataclass
class Report:
    """What a consolidation did: ids of notes made and of notes that evolved, how many links, failures, operations."""

    notes: list[str] = field(default_factory=list)
    evolved: list[str] = field(default_factory=list)
    links: int = 0
    failed: list[dict[str, str]] = field(default_factory=list)
    operations: list[int] = field(default_factory=list)


class AgenticMemory:
    """A memory of notes, each with keywords, tags and a context, linked to those it belongs with.

    Parameters
    ----------
    engine: what it is built on. With a chat model (`engine.chat`) that writes and links the notes; else rules do.
    annotator, linker: do it instead, if given.
    k: neighbours that a new note is compared with.
    tau: cosine from which the rule links two notes.
    link_budget: how many of the k hits of a recall may be there by a link alone (at most half of them). None: 3, but
        none where the rule links, since links of similarity find less than the direct hits that they displace.
    rewrite: let the chat model turn a question into keywords before it is searched by, as the paper does. A recall
        then waits for the model.

    Raises
    ------
    InvalidInput: a `k` below 1, a negative budget, a `tau` outside (0, 1], or `rewrite` without a chat model.

    Source: section 3.

    >>> from halflife import Memory
    >>> memory = Memory(embedder="hash", system="amem")
    >>> _ = memory.add(["My dog Rex loves the park.", "Rex, my dog, met a squirrel in the park."], user_id="anna")
    >>> report = memory.consolidate(user_id="anna").system["user:anna"]
    >>> len(report["notes"]), report["links"]
    (2, 1)
    >>> hit = memory.search("squirrel", user_id="anna", k=1)[0]
    >>> hit.metadata["tags"], memory.get(hit.of_message).text
    (['Rex', 'dog', 'park'], 'Rex, my dog, met a squirrel in the park.')
    """

    def __init__(
        self,
        engine: Engine,
        *,
        annotator: Annotator | None = None,
        linker: Linker | None = None,
        k: int = 5,
        tau: float = TAU,
        link_budget: int | None = None,
        rewrite: bool = False,
    ) -> None:
        if k < 1 or (link_budget or 0) < 0:
            raise InvalidInput(f"k is {k} and link_budget is {link_budget}.", "Give k >= 1 and link_budget >= 0.")
        if rewrite and engine.chat is None:
            raise InvalidInput("rewrite needs a chat model.", "Give the memory one: Memory(..., llm=...).")
        rule = RuleLinker(tau)  # refuses what is wrong, whoever links
        chat = engine.chat
        self.engine, self.k, self.rewrite = engine, k, rewrite
        self.annotator = annotator or (ModelAnnotator(chat) if chat else RuleAnnotator(engine.embedder))
        self.linker = linker or (ModelLinker(chat) if chat else rule)
        by_rule = isinstance(self.linker, RuleLinker)
        self.link_budget = link_budget if link_budget is not None else 0 if by_rule else 3

    # -- writing ----------------------------------------------------------------------------------------------

    def write(self, space: Space, drafts: Sequence[Draft], now: float) -> list[Added]:
        """Store what was said. `consolidate` makes notes of it."""
        for draft in drafts:
            draft.system = draft.system or NAME
        return self.engine.write(space, drafts, Why("add"), now)

    def consolidate(self, space: Space, now: float) -> Mapping[str, Any]:
        """Make a note of every new message, link it, and let its neighbours evolve.

        Where a model gave no usable answer, the note is stored as far as it came (`annotated` or `linked` is false in
        its metadata), named under `failed`, and finished by a later call. If no model can be reached, all that is
        left waits.
        """
        report = Report()
        if self.engine.store.space_id(space) is None:
            return vars(report)
        self.mend(space, now)
        backlog = Backlog(self.engine, space, NAME)
        for message, old in [*self._unfinished(space), *((message, None) for message in backlog.take())]:
            before = self.engine.store.last_op()
            try:
                plan = self._plan(space, message, old)
                self._carry_out(space, plan, backlog, now, report)
            except ModelUnavailable as error:
                report.failed.append({"id": message.id, "why": str(error)})
                break
            except InvalidInput as error:  # too long with its fields, or the same as another note
                backlog.done(message)
                report.failed.append({"id": message.id, "why": str(error)})
            report.operations += range(before + 1, self.engine.store.last_op() + 1)
        return vars(report)

    def _unfinished(self, space: Space) -> list[tuple[Trace, Trace | None]]:
        """Notes in which a model failed, with their messages, oldest first."""
        notes = self.engine.store.find(space, NOTES & ACTIVE & UNFINISHED)[::-1]
        messages = messages_of(self.engine, space, notes)
        return [(messages[note.id], note) for note in notes if note.id in messages]

    # -- deciding: models may take their time -----------------------------------------------------------------

    def _plan(self, space: Space, message: Trace, old: Trace | None) -> Plan:
        note = note_of(old, message) if old else raw(message)
        if not note.annotated:
            try:
                said = Said(note.content, message.at, summary_of(message), self._rarity(space))
                attributes = self._cleaned(self.annotator.annotate(said))
            except UnusableAnswer as error:
                return Plan(message, old, note, failure=str(error))
            note = replace(note, attributes=attributes, annotated=True)
        [vectors] = self.engine.embed([note.text])
        plan = Plan(message, old, note, nearest(self.engine, space, note, vectors, self.k), {note.text: vectors})
        try:
            decision = self._decide(note, plan.near)
        except UnusableAnswer as error:
            return replace(plan, failure=str(error))
        return plan.decided(decision, self._cleaned)

    def _decide(self, note: Note, near: Sequence[Neighbour]) -> Decision:
        """What the linker says; it can speak only of the notes that it was shown."""
        decision = self.linker.decide(note, near) if near else Decision()
        shown = {one.note.id for one in near}
        for id in (*decision.links, *(one.id for one in decision.evolved), *decision.drawn_from):
            if id not in shown:
                raise UnusableAnswer(f"The linker names {id!r}, which is none of the notes that it was shown.")
        return decision

    def _cleaned(self, of: Attributes) -> Attributes:
        """Fields on one line each, without what the engine's redactor keeps out."""
        if (redactor := self.engine.redactor) is not None:
            said, _ = redactor.value([list(of.keywords), of.context, list(of.tags)])
            of = Attributes(tuple(said[0]), said[1], tuple(said[2]))
        return Attributes(words(of.keywords), plain(of.context), words(of.tags))

    def _rarity(self, space: Space) -> Rarity:
        """How rare a word is among all that is remembered now."""
        with self.engine._lock:
            text = self.engine.working_set(space).text

        def rarity(word: str) -> float:
            with self.engine._lock:
                return text.upper_bound(query_ids(word))

        return rarity

    # -- writing what was decided -----------------------------------------------------------------------------

    def _carry_out(self, space: Space, plan: Plan, backlog: Backlog, now: float, report: Report) -> None:
        """Write a plan, all of it or nothing; nothing if what it was made from has changed meanwhile."""
        store = self.engine.store
        report.failed += [{"id": plan.message.id, "why": plan.failure}] if plan.failure else []
        if plan.old is not None and plan.note == note_of(plan.old, plan.message):
            return  # the model failed again
        texts = [plan.note.text, *(note.text for note in plan.evolved)]
        new = [text for text in texts if text not in plan.embedded]
        vectors = {**plan.embedded, **dict(zip(new, self.engine.embed(new), strict=True))}
        with store.transaction():
            if not plan.still_so(self.engine, space):
                report.failed.append({"id": plan.message.id, "why": "It, or a note beside it, changed meanwhile."})
                return
            id = self._store(space, plan, vectors[plan.note.text], now)
            backlog.done(plan.message)
            if id is None:
                return
            for note in plan.evolved:
                self._rewrite(note, vectors[note.text], "evolve", plan.message.id, now)
            if plan.links:
                store.link([(id, other, weight) for other, weight in plan.links], NAME, Why("link", NAME), now)
        report.notes += [id] if plan.old is None else []
        report.evolved += [note.id for note in plan.evolved]
        report.links += len(plan.links)

    def _store(self, space: Space, plan: Plan, vectors: Floats, now: float) -> str | None:
        """Write the note itself, and put it in the place of its message. None if another note says just the same."""
        store, why = self.engine.store, Why("note", NAME)
        if plan.old is not None:
            self._rewrite(plan.note, vectors, "note", "", now)
            return plan.old.id
        draft = plan.note.draft(plan.message)
        draft.vectors = vectors
        [added] = self.engine.write(space, [draft], why, now)
        if added.event == "met":
            return None
        store.set_status([plan.message.id], "merged", why, now)
        store.link([(plan.message.id, added.id, 1.0)], "merged into", Why("link", NAME), now)
        return added.id

    def _rewrite(self, note: Note, vectors: Floats, kind: str, cause: str, now: float) -> None:
        """A new version of a note, with its vectors and sources."""
        [trace] = self.engine.store.get([note.id])
        changes = {"text": note.text, "metadata": note.fields(trace.metadata, cause), "sources": list(note.sources)}
        self.engine.store.update(note.id, changes, vectors, Why(kind, NAME), now)

    # -- recall -----------------------------------------------------------------------------------------------

    def recall(
        self, space: Space, query: str, k: int, now: float, *, where: Filter = ALL, reinforce: bool = True
    ) -> list[Hit]:
        """The k notes that matter most for a query: found directly, and up to `link_budget` by their links.

        A message that has no note yet is found itself. A filter speaks of notes, which have the time, session,
        importance and metadata of their messages; who said it is `said_by`.
        """
        direct = self._direct(space, query, k, now, where)
        budget = min(self.link_budget, k // 2)
        beside = linked(self.engine, space, direct[: k - budget], budget, now, where)
        there = {hit.id for hit in beside}
        kept = [hit for hit in direct if hit.id not in there][: k - len(beside)]
        return self._recalled([*kept, *beside], now, reinforce)

    def search(
        self,
        space: Space,
        query: str,
        k: int = 10,
        now: float | None = None,
        *,
        expand_links: bool = True,
        link_budget: int | None = None,
        where: Filter = ALL,
        reinforce: bool = True,
    ) -> list[Hit]:
        """The paper's reading: the k notes found directly, and besides them up to `link_budget` linked ones (k)."""
        now = self.engine.clock() if now is None else now
        direct = self._direct(space, query, k, now, where)
        budget = (k if link_budget is None else link_budget) if expand_links else 0
        return self._recalled([*direct, *linked(self.engine, space, direct, budget, now, where)], now, reinforce)

    def _direct(self, space: Space, query: str, k: int, now: float, where: Filter) -> list[NoteHit]:
        check_content(query)
        if self.rewrite and self.engine.chat is not None:
            with suppress(UnusableAnswer, ModelUnavailable):  # the question itself will do
                query = keywords_of(self.engine.chat, query)
        return list(current(self.engine, space, self.engine.search(space, query, k, where=where, now=now)))

    def _recalled(self, hits: list[NoteHit], now: float, reinforce: bool) -> list[Hit]:
        if reinforce and hits:
            self.engine.store.reinforce([hit.id for hit in hits], now)
        return sorted(hits, key=lambda hit: -hit.score)

    # -- looking at notes -------------------------------------------------------------------------------------

    def note(self, id: str) -> Note:
        """One note, with what it was before each change. Raises `UnknownTrace`."""
        [trace] = self.engine.store.get([id])
        found = notes_of(self.engine, trace.space, [trace]) if trace.role == ROLE else {}
        if not found:
            raise UnknownTrace(f"{id} is no note.", "The hits of a search have the ids of notes.")
        return replace(found[id], evolution_history=evolution(self.engine.store.history(id), trace))

    def notes(self, space: Space) -> list[Note]:
        """All notes in use, oldest first."""
        return list(notes_of(self.engine, space, self.engine.store.find(space, NOTES & ACTIVE)[::-1]).values())

    def links(self, id: str) -> list[str]:
        """The ids of the notes that one is linked to, the strongest link first. Raises `UnknownTrace`."""
        [trace] = self.engine.store.get([id])
        return [other for other, _ in links_of(self.engine, trace.space, [id])[id]]

    def graph(self, space: Space) -> list[tuple[str, str, float]]:
        """Every link between notes, once: the ids of its ends, and its weight."""
        return between(self.engine, self.engine.store.links(space))

    # -- mending ----------------------------------------------------------------------------------------------

    def mend(self, space: Space, now: float) -> list[ErasureReport]:
        """Erase every note that learned from something erased, and give messages without their note back.

        A message that was changed since its note was made loses it too, but that note is kept in the history.
        """
        store = self.engine.store
        if store.space_id(space) is None:
            return []
        reports = erase_stale(self.engine, space, NOTES, NAME, now)
        notes = {marked(note, "said"): note for note in store.find(space, NOTES & IN_USE)}
        merged = store.find(space, MESSAGES & MERGED)
        outdated = [m for m in merged if m.id in notes and notes[m.id].metadata["of_version"] != m.version]
        alone = [*outdated, *(m for m in merged if m.id not in notes and self._merged_here(space, m.id))]
        if alone:
            with store.transaction():
                if outdated:
                    store.set_status([notes[m.id].id for m in outdated], "retired", Why("retire", NAME), now)
                store.set_status([m.id for m in alone], "active", Why("revive", NAME, "it has no note"), now)
                Backlog(self.engine, space, NAME).again(m.id for m in alone)
        return reports

    def _merged_here(self, space: Space, id: str) -> bool:
        """Whether it was this system that merged a message, and not the engine's sleep.

        Who did tells its history; that of an imported message does not, but a duplicate is still linked to its twin.
        """
        store = self.engine.store
        merges = [event for event in store.history(id) if "status" in event.before]
        if merges:
            return merges[-1].actor == NAME
        return not store.links(space, store.match(space, parse({"id": id})).tolist())
