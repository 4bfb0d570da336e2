"""The loop of a turn: take it apart, read what it asks, carry it out, answer; and the backlog of turns.

Paper: "Task Memory Engine: Spatial Memory for Robust Multi-Step LLM Agents", arXiv 2505.19436.

Turns are read in the order in which they arrived, since each means what it means after those before it: "go back"
depends on what was said last. A turn that arrives while others wait is read after them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from halflife.agent.backlog import Backlog
from halflife.agent.task_forest import Forest
from halflife.agent.task_intents import RuleIntents
from halflife.agent.task_llm import LLMIntents, LLMResponder
from halflife.agent.task_nodes import Impact
from halflife.agent.task_ops import Op, apply
from halflife.agent.task_parts import Decomposer, IntentModel, RuleDecomposer
from halflife.agent.task_replies import Responder, RuleResponder
from halflife.agent.task_traces import ACTIVE, NAME, is_edit, is_turn
from halflife.errors import InvalidInput, UnknownTrace, UnusableAnswer
from halflife.store.draft import Draft
from halflife.store.erase import ErasureReport
from halflife.store.protocol import Added, Why
from halflife.store.trace import Trace

if TYPE_CHECKING:
    from halflife.agent.task_graph import TaskGraph

_SAID_AGAIN = "said_again"  # metadata of a message: when the same words were said later


@dataclass(frozen=True)
class Reply:
    """The answer to a turn, what was done for it, and the slots that it made stale."""

    text: str
    ops: tuple[Op, ...]
    stale: tuple[str, ...]
    flags: tuple[str, ...] = ()


@dataclass
class TurnReport:
    """What became of the turns that were new; `failed` names those that a model gave no usable answer for."""

    turns: int = 0
    changed: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    operations: list[int] = field(default_factory=list)


class TaskMemoryEngine:
    """Reads and answers the turns of one space.

    Parameters
    ----------
    graph: what the turns change.
    decomposer: takes a turn apart; by rule unless given.
    intents: reads what it asks; by the engine's language model if there is one, else by rule.
    responder: words the answer; likewise.

    >>> from halflife import Memory
    >>> from halflife.agent.task_graph import TaskGraph
    >>> from halflife.store.trace import Space
    >>> mind = TaskMemoryEngine(TaskGraph(Memory(embedder="hash").engine, Space.of()))
    >>> _ = mind.turn("start: I will depart from Chicago.")
    >>> mind.turn("start: Wasn't I departing from Boston?").text
    'No. start: Chicago (current)'
    """

    def __init__(
        self,
        graph: TaskGraph,
        decomposer: Decomposer | None = None,
        intents: IntentModel | None = None,
        responder: Responder | None = None,
    ) -> None:
        engine = graph.engine
        self.graph = graph
        self.decomposer = decomposer or RuleDecomposer()
        self._rules = RuleIntents(engine.embedder)
        self.intents: IntentModel = intents or (LLMIntents(engine.chat) if engine.chat else self._rules)
        self.responder: Responder = responder or (LLMResponder(engine.chat) if engine.chat else RuleResponder())

    # -- one turn ---------------------------------------------------------------------------------------------

    def turn(self, text: str, now: float | None = None) -> Reply:
        """Store a turn, carry out what it asks (after those that wait), and answer it."""
        now = self.graph.engine.clock() if now is None else now
        [added] = self.hear([Draft(text, now, role="user", system=NAME)], now)
        done: dict[str, tuple[list[Op], Impact]] = {}
        self.catch_up(now, done)
        ops, impact = done.get(added.id, ([], Impact()))
        words = self.responder.reply(text, ops, impact, self.graph.forest())
        return Reply(words, tuple(ops), impact.stale, impact.flags)

    def read(self, text: str) -> tuple[list[Op], Impact, str]:
        """What a turn asks that can be carried out; what of it cannot, as flags; and why a model could not read it."""
        forest, why = self.graph.forest(), ""
        try:
            parts = self.decomposer.split(text)
            ops = self.intents.read(parts, forest)
        except UnusableAnswer as error:
            why = f"read by rule: {error}"
            ops = self._rules.read(RuleDecomposer().split(text), forest)
        ops, flags = feasible(ops, forest)
        return ops, Impact(flags=flags), why

    # -- the backlog ------------------------------------------------------------------------------------------

    def hear(self, drafts: Sequence[Draft], now: float) -> list[Added]:
        """Store turns, to be read later. What was said before is heard again: "go back" means something each time."""
        engine, store = self.graph.engine, self.graph.engine.store
        for draft in drafts:
            draft.system = draft.system or NAME
        with store.transaction():
            added = engine.write(self.graph.space, drafts, Why("add"), now)
            for trace in store.get([one.id for one in added if one.event == "met"]):
                if is_turn(trace):
                    again = [*trace.metadata.get(_SAID_AGAIN, ()), now]
                    store.revise([(trace.id, {"metadata": {**trace.metadata, _SAID_AGAIN: again}})], Why("add"), now)
                    self._backlog().again([trace.id])
        return added

    def catch_up(self, now: float, done: dict[str, tuple[list[Op], Impact]] | None = None) -> TurnReport:
        """Read the turns that wait, oldest first, each in one transaction. `done` takes what became of each."""
        self.mend(now)  # nodes that were imported, or whose mending was interrupted
        report, backlog, store = TurnReport(), self._backlog(), self.graph.engine.store
        mark = self.graph.key("read")
        todo = self._occurrences(backlog.take())
        for place, (time, message) in enumerate(todo):
            seen, before = store.meta(mark), store.last_op()
            ops, flags, why = self.read(message.text) if is_turn(message) else (self._edit(message), Impact(), "")
            with store.transaction():
                if store.meta(mark) != seen:
                    return report  # another process reads these turns
                impact = self.graph.apply(ops, message.id, now) + flags
                store.set_meta(mark, repr(time))
                if all(message.id != later.id for _, later in todo[place + 1 :]):
                    backlog.done(message)
            if done is not None:
                done[message.id] = ops, impact
            report.turns += is_turn(message)
            report.changed += impact.changed
            report.stale += impact.stale
            report.flags += impact.flags
            report.failed += [{"id": message.id, "why": why}] if why else []
            report.operations += range(before + 1, store.last_op() + 1)
        return report

    def mend(self, now: float) -> list[ErasureReport]:
        """If a turn was erased that left something in a node: erase every node, and put the turns left back.

        So too if nodes came from another store: what was read there is not known here.
        """
        store, space = self.graph.engine.store, self.graph.space
        if store.space_id(space) is None or not self.graph.torn():
            return []
        reports = self.graph.clear(now)
        with store.transaction():
            left = store.find(space, ACTIVE)[::-1]
            self._backlog().again([trace.id for trace in left if is_turn(trace) or is_edit(trace)])
            store.set_meta(self.graph.key("read"), "")
        return reports

    def _occurrences(self, messages: Sequence[Trace]) -> list[tuple[float, Trace]]:
        """Every time that one of these turns was said and not yet read, in the order of arrival."""
        read = float(self.graph.engine.store.meta(self.graph.key("read")) or "-inf") if messages else 0.0
        found = []
        for message in messages:
            if is_turn(message) or is_edit(message):
                times = [message.recorded_at, *message.metadata.get(_SAID_AGAIN, ())]
                found += [(time, message) for time in [t for t in times if t > read] or times[-1:]]
        return sorted(found, key=lambda item: item[0])

    def _edit(self, message: Trace) -> list[Op]:
        """The operations of an edit, unless they were carried out already."""
        known = any(message.id in node.touched for node in self.graph.forest().nodes.values())
        return [] if known else feasible([Op.of(data) for data in message.metadata["ops"]], self.graph.forest())[0]

    def _backlog(self) -> Backlog:
        return Backlog(self.graph.engine, self.graph.space, NAME)


def feasible(ops: Sequence[Op], forest: Forest) -> tuple[list[Op], tuple[str, ...]]:
    """The operations that can be carried out one after the other, and why the others cannot."""
    view, kept, flags = forest.copy(), list[Op](), list[str]()
    for op in ops:
        try:
            apply(view, op)
        except (InvalidInput, UnknownTrace) as error:
            flags.append(f"{op}: {error.message}")
        else:
            kept.append(op)
    return kept, tuple(flags)
