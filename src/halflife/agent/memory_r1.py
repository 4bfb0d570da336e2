"""Memory-R1 on the engine.

Paper: "Memory-R1: Enhancing Large Language Model Agents to Manage and Utilize Memories via Reinforcement Learning",
arXiv 2508.19828.

Implemented: facts drawn from each message; a memory manager that adds, updates (overwriting or merging), deletes or
leaves for each fact, seeing the entries nearest to it; retrieval of many entries for a question (30 a participant in
the paper, 60 in all) and an answer agent that distils them. Managers: learned by GRPO on the answers of a frozen
reader (`manager_learned`, weights ship), a language model, or a rule. The training is `halflife.rl` and
`halflife.papers.r65_train`. Not implemented: the tuning of a language model of 7 billion parameters.

Where this differs from the paper: messages are stored when they are written and managed by `consolidate`; a deleted
entry is retired, which an undo takes back, and knows the message that retired it; the candidates of a fact are the
nearest entries of the space, whoever spoke.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from halflife.agent.answerer import AnswerPolicy, LLMAnswerer, RuleAnswerer
from halflife.agent.backlog import ACTIVE, Backlog
from halflife.agent.bank import Diff
from halflife.agent.derived import erase_stale, lost_a_source
from halflife.agent.engine import Engine
from halflife.agent.facts import Fact, facts_of
from halflife.agent.hit import Hit
from halflife.agent.manager import AlwaysAdd, Candidate, ManagerPolicy, RuleManager
from halflife.agent.manager_learned import LearnedManager
from halflife.agent.manager_llm import LLMManager
from halflife.agent.shelf import ENTRIES, NAME, ROLE, Moved, Shelf
from halflife.errors import InvalidInput, ModelUnavailable, StoreBusy, UnusableAnswer
from halflife.store.draft import Draft, check_content
from halflife.store.erase import ErasureReport
from halflife.store.filters import ALL, Filter, parse
from halflife.store.protocol import Added, Why
from halflife.store.trace import Space, Trace

Manager: TypeAlias = Literal["auto", "learned", "llm", "rule", "add"]

PURPOSE = "memory-r1.facts"
MANY = 1_000  # messages that wait to be managed, above which a recall does not tell them apart from others
POOL = 60  # entries retrieved for a question before they are distilled
MAX_FACTS, MAX_FACT = 30, 500  # that a model may draw from one message, and characters of each
_TRIES = 3


@dataclass
class Facts:
    """What a language model is asked for."""

    facts: list[str]


@dataclass
class Report:
    """What managing did: ids of entries by act, messages that failed, and the operations, oldest first."""

    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    facts: int = 0
    failed: list[dict[str, str]] = field(default_factory=list)
    operations: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Answer:
    """An answer, and the memories that it was drawn from."""

    text: str
    hits: list[Hit]


class MemoryR1:
    """A memory of managed facts.

    Parameters
    ----------
    engine: what it is built on.
    manager: `auto` is the language model if there is one and the learned manager otherwise; `learned`, `llm`, `rule`
        (overwrite above a cosine of 0.6) and `add` (keep everything) name one; or any `ManagerPolicy`.
    candidates: entries that the manager sees for a fact.
    distil: let the answer agent choose among 60 entries in `recall` too. With a language model that is a call.
    answerer: an `AnswerPolicy`; None is the language model if there is one, or else a rule.
    user, assistant: the names under which facts speak of the two; other roles are names themselves.

    Raises
    ------
    InvalidInput: an unknown manager, no candidates, or `llm` without a model.

    >>> from halflife import Memory
    >>> memory = Memory(embedder="hash", system="memory-r1", options={"user": "Anna"})
    >>> for said in ("I live in Oslo.", "I adopted a dog called Rex.", "I moved to Bergen."):
    ...     _ = memory.add({"role": "user", "content": said}, user_id="anna")
    >>> report = memory.consolidate(user_id="anna")
    >>> sorted(entry.text for entry in memory.system.entries(Space.of("anna")))
    ['Anna adopted a dog called Rex.', 'Anna lives in Bergen.']
    """

    def __init__(
        self,
        engine: Engine,
        *,
        manager: Manager | ManagerPolicy = "auto",
        candidates: int = 4,
        distil: bool = False,
        answerer: AnswerPolicy | None = None,
        user: str = "The user",
        assistant: str = "The assistant",
    ) -> None:
        if candidates < 1:
            raise InvalidInput(f"candidates is {candidates}.", "Show the manager one entry or more.")
        self.engine, self.candidates, self.distil = engine, candidates, distil
        self.manager = _manager(manager, engine)
        chat = engine.chat
        self.answerer: AnswerPolicy = answerer or (LLMAnswerer(chat) if chat is not None else RuleAnswerer())
        self._names = {"user": user, "assistant": assistant}

    # -- writing ----------------------------------------------------------------------------------------------

    def write(self, space: Space, drafts: Sequence[Draft], now: float) -> list[Added]:
        """Store messages. They are managed by `consolidate`."""
        for draft in drafts:
            draft.system = draft.system or NAME
        return self.engine.write(space, drafts, Why("add"), now)

    def consolidate(self, space: Space, now: float) -> Mapping[str, Any]:
        """Manage the facts of every message that is new.

        A message for which a model gave no usable answer changes nothing (the paper's NOOP), is named under
        `failed`, and is tried again the next time. If no model can be reached, all that is left waits.
        """
        report = Report()
        self.mend(space, now)
        backlog = Backlog(self.engine, space, NAME)
        shelf: Shelf | None = None
        for message in backlog.take():
            before = self.engine.store.last_op()
            try:
                shelf = self._take_in(message, shelf or Shelf(self.engine, space), backlog, now, report)
            except ModelUnavailable as error:
                report.failed.append({"id": message.id, "why": str(error)})
                break
            except InvalidInput as error:  # an entry that the store refuses
                shelf = None
                report.failed.append({"id": message.id, "why": str(error)})
                backlog.done(message)
            except UnusableAnswer as error:
                shelf = None  # some of the message's facts may be on it
                report.failed.append({"id": message.id, "why": str(error)})
                with self.engine.store.transaction():
                    backlog.done(message)
                    backlog.again([message.id])
            report.operations += range(before + 1, self.engine.store.last_op() + 1)
        return vars(report)

    def _take_in(self, message: Trace, shelf: Shelf, backlog: Backlog, now: float, report: Report) -> Shelf | None:
        """Manage one message: decide on its facts, then write all that follows. Returns the shelf if it still holds."""
        facts = self._facts(message)
        for _ in range(_TRIES):
            diff = self._manage(shelf, facts)
            try:
                with self.engine.store.transaction():
                    shelf.write(diff, message, now)
                    backlog.done(message)
            except Moved:  # by another process; what was decided may no longer fit
                shelf = Shelf(self.engine, shelf.space)
                continue
            report.facts += len(facts)
            _count(report, diff)
            return None if shelf.stale else shelf
        raise StoreBusy(f"The entries of {shelf.space} changed each time a fact was managed.", "Try again later.")

    def _facts(self, message: Trace) -> list[Fact]:
        """What a message says that is worth an entry."""
        speaker = self._names.get(message.role or "user", message.role or "")
        chat = self.engine.chat
        if chat is None:
            listener = self._names["user" if message.role == "assistant" else "assistant"]
            found = facts_of(message.text, speaker, listener)
            return [Fact(fact.text, fact.said, message.id) for fact in found]

        def check(value: Facts) -> None:
            if len(value.facts) > MAX_FACTS or any(not 0 < len(text.strip()) <= MAX_FACT for text in value.facts):
                raise ValueError(f"Give at most {MAX_FACTS} facts of 1 to {MAX_FACT} characters.")

        drawn = chat.ask(PURPOSE, Facts, check=check, speaker=speaker, message=message.text).facts
        return [Fact(text.strip(), message.text if len(drawn) == 1 else "", message.id) for text in drawn]

    def _manage(self, shelf: Shelf, facts: Sequence[Fact]) -> Diff:
        """Let the manager decide on each fact in order, each seeing what the ones before it did."""
        diffs = []
        for fact in facts:
            shown = shelf.candidates(fact.text, self.candidates)
            chosen = self.manager.act(fact, shown, len(shelf.bank))[0]
            diffs.append(shelf.apply(chosen.ops))
        return Diff(tuple(change for diff in diffs for change in diff.changes))

    def entries(self, space: Space) -> list[Trace]:
        """The bank as it is, oldest entry first."""
        return self.engine.store.find(space, ENTRIES & ACTIVE)[::-1]

    # -- recall -----------------------------------------------------------------------------------------------

    def recall(
        self, space: Space, query: str, k: int, now: float, *, where: Filter = ALL, reinforce: bool = True
    ) -> list[Hit]:
        """The k best entries, and messages that no `consolidate` has seen yet; distilled first if so asked."""
        check_content(query)
        hits = self._retrieve(space, query, max(k, POOL) if self.distil else k, now, where)
        if self.distil:
            with suppress(UnusableAnswer, ModelUnavailable):  # what was retrieved will do
                kept = self.answerer.select(query, [_candidate(hit) for hit in hits])
                hits = [hit for hit, keep in zip(hits, kept, strict=True) if keep]
            hits = hits[:k]
        if reinforce and hits:
            self.engine.store.reinforce([hit.id for hit in hits], now)
        return hits

    def answer(self, space: Space, question: str, now: float | None = None) -> Answer:
        """The answer agent's answer from 60 memories; those that it used are reinforced."""
        check_content(question)
        now = self.engine.clock() if now is None else now
        hits = self._retrieve(space, question, POOL, now, ALL)
        reply = self.answerer.answer(question, [_candidate(hit) for hit in hits])
        used = [hit for hit, keep in zip(hits, reply.kept, strict=True) if keep]
        if used:
            self.engine.store.reinforce([hit.id for hit in used], now)
        return Answer(reply.text, used)

    def _retrieve(self, space: Space, query: str, k: int, now: float, where: Filter) -> list[Hit]:
        waiting = [message.id for message in Backlog(self.engine, space, NAME).take()]
        if len(waiting) > MANY:  # nothing has been managed yet: all that was said is searched
            return self.engine.search(space, query, k, where=where, now=now)
        seen: dict[str, Any] = {"role": ROLE}
        if waiting:
            seen = {"OR": [seen, {"id": {"in": waiting}}]}
        return self.engine.search(space, query, k, where=where & parse(seen), now=now)

    # -- forgetting -------------------------------------------------------------------------------------------

    def mend(self, space: Space, now: float) -> list[ErasureReport]:
        """Erase the entries that lost a source, retired ones too, and manage what is left of their messages anew."""
        store = self.engine.store
        if store.space_id(space) is None:
            return []
        left = {id for entry in store.find(space, ENTRIES) if lost_a_source(entry) for id in entry.sources}
        reports = erase_stale(self.engine, space, ENTRIES, NAME, now)
        if left:
            Backlog(self.engine, space, NAME).again(sorted(left))
        return reports


def _manager(manager: Manager | ManagerPolicy, engine: Engine) -> ManagerPolicy:
    if not isinstance(manager, str):
        return manager
    if manager == "llm" or (manager == "auto" and engine.chat is not None):
        if engine.chat is None:
            raise InvalidInput("The manager 'llm' needs a language model.", "Give llm=..., or use manager='learned'.")
        return LLMManager(engine.chat)
    if manager in ("auto", "learned"):
        return LearnedManager()
    if manager == "rule":
        return RuleManager()
    if manager == "add":
        return AlwaysAdd()
    raise InvalidInput(f"There is no manager {manager!r}.", f"Use one of {', '.join(get_args(Manager))}, or a policy.")


def _candidate(hit: Hit) -> Candidate:
    return Candidate(hit.id, hit.text, hit.explain().parts.get("semantic", 0.0))


def _count(report: Report, diff: Diff) -> None:
    for id, (before, after) in diff.net.items():
        kind = report.deleted if after is None else report.added if before is None else report.updated
        kind.append(id)
