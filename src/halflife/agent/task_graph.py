"""Task Memory Engine on the engine: a task graph that lasts, and the memory system that keeps one for each space.

Paper: "Task Memory Engine: Spatial Memory for Robust Multi-Step LLM Agents", arXiv 2505.19436.

Implemented: a forest of task nodes with dependencies, revision, roll-back, replacement and checks (`task_forest`);
decomposition and intents by rule (`task_intents`) or by a language model (`task_llm`); the loop of a turn
(`task_engine`). Where code and paper differ or leave it open: dependencies may cross trees, and the sharing of an
object is an edge of its own; an update keeps the slot's name, only a replacement renames; a turn is one transaction,
whose outcome is read back; a request that names other values than the slots hold is reported and changes nothing;
former values are never shown as current.

What users say is kept as messages. Nodes are derived from them and name every turn that left something in them. When
such a turn is erased, the nodes go, and the turns that are left are read anew, in their order.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from halflife.agent.derived import lost_a_source
from halflife.agent.engine import Engine
from halflife.agent.hit import Hit
from halflife.agent.task_engine import Reply, TaskMemoryEngine
from halflife.agent.task_forest import Forest
from halflife.agent.task_nodes import Impact, Node, Verdict
from halflife.agent.task_ops import Op, apply
from halflife.agent.task_parts import Decomposer, IntentModel
from halflife.agent.task_replies import Responder
from halflife.agent.task_traces import (
    ACTIVE,
    EDIT,
    NAME,
    NODE,
    NODES,
    metadata_of,
    node_of,
    plain,
    pruned,
)
from halflife.errors import InvalidInput, StoreError
from halflife.store.draft import Draft
from halflife.store.erase import ErasureReport, erase
from halflife.store.filters import ALL, Filter
from halflife.store.protocol import Added, Why
from halflife.store.trace import Space, Trace, new_ids


class TaskGraph:
    """The task graph of a space, kept as traces: each node has versions, a history and sources of its own.

    Parameters
    ----------
    engine: where it is kept.
    space: whose it is.

    >>> from halflife import Memory
    >>> graph = TaskGraph(Memory(embedder="hash").engine, Space.of(user_id="anna"))
    >>> before = graph.add("trip") + graph.add("date", "June 10", parent="trip") and graph.version
    >>> graph.update("date", "June 15").changed
    ('trip/date',)
    >>> graph.get("date").value, graph.get("date", at=before).value
    ('June 15', 'June 10')
    >>> graph.check("date", "June 10").holds
    False
    """

    def __init__(self, engine: Engine, space: Space) -> None:
        self.engine, self.space = engine, space
        self._forest, self._op = Forest(), -1
        self._lock = threading.RLock()

    # -- changing ---------------------------------------------------------------------------------------------

    def add(self, slot: str, value: str | None = None, parent: str | None = None, deps: Sequence[str] = ()) -> Impact:
        """Add a slot. Raises `InvalidInput` if the task has it."""
        if (found := self.forest().find(f"{parent}/{slot}" if parent else slot)) and not found.removed:
            raise InvalidInput(f"There is a slot {slot!r} already.", "Update it, or choose another name.")
        return self.apply([Op("new", slot, value, parent, needs=tuple(deps))])

    def update(
        self, slot: str, value: str | None = None, new_slot: str | None = None, *, everywhere: bool = False
    ) -> Impact:
        """Set a slot's value, and its name if a new one is given; `everywhere` also where its object is shared."""
        return self.apply([Op("set", slot, value, new_slot=new_slot, everywhere=everywhere)])

    def replace(self, old: str, new: str, value: str | None = None) -> Impact:
        """Put one object in the place of another in every task."""
        return self.apply([Op("replace", old, value, new_slot=new)])

    def rollback(self, slot: str, steps: int = 1, *, to: str | None = None) -> Impact:
        """Go back to a value that the slot had: `steps` back, or the one named."""
        return self.apply([Op("revert", slot, to, steps=steps)])

    def remove(self, slot: str, *, cascade: bool = False) -> Impact:
        """Take out a slot and its parts; what needs it becomes stale, or with `cascade` goes too."""
        return self.apply([Op("remove", slot, cascade=cascade)])

    def need(self, slot: str, on: str) -> Impact:
        """Let a slot depend on another. Raises `InvalidInput` for a cycle."""
        return self.apply([Op("need", slot, new_slot=on)])

    def share(self, a: str, b: str) -> Impact:
        """Say that two slots name the same object."""
        return self.apply([Op("share", a, new_slot=b)])

    def apply(self, ops: Sequence[Op], source: str | None = None, now: float | None = None) -> Impact:
        """Carry out operations in one transaction: all of them, or none and an error.

        `source` is the message that asked for them; without one, a message is written that says what was asked.
        """
        now = self.engine.clock() if now is None else now
        store = self.engine.store
        with self._lock, store.transaction():
            if source is None:
                ops, source = self._say(ops, now)
            forest = self.forest().copy()
            before = dict(forest.nodes)
            done = Impact()
            for op in ops:
                done += apply(forest, op, source)
            self._save(forest, before, now)
        with self._lock:
            self._forest, self._op = forest, store.last_op()
        return done

    def _say(self, ops: Sequence[Op], now: float) -> tuple[list[Op], str]:
        """The operations without secrets, and a message that holds them, to be the source of what they set."""
        data: list[dict[str, Any]] = [op.to_dict() for op in ops]
        if self.engine.redactor is not None:
            data, _ = self.engine.redactor.value(data)
        cleaned = [Op.of(one) for one in data]
        text = f"Edit {self.version + 1}: {'; '.join(map(str, cleaned))}"
        draft = Draft(text, now, role=EDIT, metadata={"ops": data}, system=NAME)
        return cleaned, self.engine.store.add(self.space, [draft], Why("edit", NAME), now)[0].id

    def _save(self, forest: Forest, before: Mapping[str, Node], now: float) -> None:
        """Write the nodes that differ, and look whether the store now says what the forest says."""
        store = self.engine.store
        changed = [node for id, node in forest.nodes.items() if before.get(id) != node]
        vectors = self.engine.embed([forest.line_of(node) for node in changed]) if changed else []
        drafts = []
        for node, rows in zip(changed, vectors, strict=True):
            text, metadata = forest.line_of(node), metadata_of(forest, node)
            if node.id in before:
                what = {"text": text, "metadata": metadata, "sources": list(node.touched)}
                store.update(node.id, what, rows, Why("task", NAME), now)
            else:
                drafts.append(Draft(
                    text, now, rows, NODE, metadata=metadata, sources=node.touched, system=NAME, id=node.id
                ))  # fmt: skip
        if drafts:
            embedder = (self.engine.embedder.fingerprint, self.engine.embedder.dim)
            store.add(self.space, drafts, Why("task", NAME), now, embedder)
            store.set_meta(self.key("nodes"), str(self._count() + len(drafts)))
        kept = [node_of(trace) for trace in store.get([node.id for node in changed])]
        if [plain(node) for node in kept] != [plain(node) for node in changed]:
            raise StoreError("The task graph was not kept as it was changed; nothing was written.", "Try again.")

    # -- reading ----------------------------------------------------------------------------------------------

    def forest(self) -> Forest:
        """The graph as it is now; to be read, not changed."""
        with self._lock:
            op = self.engine.store.last_op()
            if op != self._op:
                self._forest, self._op = self._read(self.traces(ACTIVE)), op
            return self._forest

    def traces(self, where: Filter = ALL) -> list[Trace]:
        """The traces that the nodes are kept as, oldest first."""
        store = self.engine.store
        return store.find(self.space, NODES & where)[::-1] if store.space_id(self.space) is not None else []

    def _read(self, traces: Sequence[Trace]) -> Forest:
        nodes = {trace.id: node_of(trace) for trace in traces}
        return Forest(
            [pruned(node, nodes) for node in nodes.values()], lambda: new_ids(1, self.engine.clock())[0]
        )  # fmt: skip

    @property
    def version(self) -> int:
        """The version of the graph: the number of the store's last operation."""
        return self.engine.store.last_op()

    def at(self, version: int) -> Forest:
        """The graph as it was after an operation, from the history of its nodes."""
        then = (self._then(trace, version) for trace in self.traces())
        return self._read([trace for trace in then if trace is not None and trace.status == "active"])

    def _then(self, trace: Trace, version: int) -> Trace | None:
        events = self.engine.store.history(trace.id)
        if events[0].op > version:
            return None
        for event in reversed([event for event in events if event.op > version and event.before]):
            before = dict(event.before)
            metadata = json.loads(before["metadata"]) if "metadata" in before else trace.metadata
            trace = replace(trace, metadata=metadata, status=before.get("status", trace.status))
        return trace

    def get(self, slot: str, at: int | None = None) -> Node:
        """A node, now or as it was `at` a version. Raises `UnknownTrace` if there was none."""
        return (self.forest() if at is None else self.at(at)).get(slot)

    def check(self, slot: str, claim: str) -> Verdict:
        """Whether a slot is what is claimed; its current value; what it was. All empty: not in memory."""
        return self.forest().check(slot, claim)

    def dependants(self, slot: str) -> list[Node]:
        """The nodes that a change of this one makes stale."""
        return self.forest().dependants(slot)

    def subtree(self, slot: str) -> list[Node]:
        """A node and its parts."""
        return self.forest().subtree(slot)

    def state(self) -> dict[str, str]:
        """The current value of every slot that has one."""
        return self.forest().state()

    def to_context(self, slots: Sequence[str] = (), max_tokens: int = 500) -> str:
        """Nodes as lines for a prompt, current values and former ones marked as such."""
        return self.forest().to_context(slots, max_tokens, self.engine.embedder.count_tokens)

    # -- what was erased --------------------------------------------------------------------------------------

    def torn(self) -> bool:
        """Whether something that nodes were derived from was erased, or nodes came from another store."""
        traces = self.traces()
        return len(traces) != self._count() or any(lost_a_source(trace) for trace in traces)

    def clear(self, now: float) -> list[ErasureReport]:
        """Erase every node, with its versions."""
        ids = [trace.id for trace in self.traces()]
        self.engine.store.set_meta(self.key("nodes"), "0")
        if not ids:
            return []
        report = erase(self.engine.store, ids, Why("forget", NAME, "a source was erased"), now)
        self.engine.drop(self.space)
        return [report]

    def _count(self) -> int:
        return int(self.engine.store.meta(self.key("nodes")) or 0)

    def key(self, what: str) -> str:
        """Where the store keeps a number about this graph."""
        return f"{NAME}:{self.engine.store.space_id(self.space)}:{what}"


class TaskMemory:
    """A memory of what is being done: a task graph for each space, read from the turns of its user.

    Parameters
    ----------
    engine: what it is built on. With a language model, turns are read by it; without, by rule.
    decomposer, intents: other readers. responder: what answers `turn`.

    >>> from halflife import Memory
    >>> memory = Memory(embedder="hash", system="task-graph")
    >>> said = ["destination: Set the destination to Seattle.", "destination: Actually, make that Rome."]
    >>> _ = memory.add([{"role": "user", "content": text} for text in said])
    >>> _ = memory.consolidate()
    >>> [hit.text for hit in memory.search("destination")]
    ['destination: Rome (current; formerly Seattle)']
    """

    def __init__(
        self,
        engine: Engine,
        *,
        decomposer: Decomposer | None = None,
        intents: IntentModel | None = None,
        responder: Responder | None = None,
    ) -> None:
        self.engine = engine
        self._options = (decomposer, intents, responder)
        self._minds: dict[str, TaskMemoryEngine] = {}

    def mind(self, space: Space) -> TaskMemoryEngine:
        """The loop that reads and answers the turns of a space."""
        if space.name not in self._minds:
            self._minds[space.name] = TaskMemoryEngine(TaskGraph(self.engine, space), *self._options)
        return self._minds[space.name]

    def graph(self, space: Space) -> TaskGraph:
        """The task graph of a space."""
        return self.mind(space).graph

    def write(self, space: Space, drafts: Sequence[Draft], now: float) -> list[Added]:
        """Store turns. What they change is worked out by `consolidate`, in their order."""
        return self.mind(space).hear(drafts, now)

    def turn(self, space: Space, text: str, now: float | None = None) -> Reply:
        """Take in one turn at once, and answer it."""
        return self.mind(space).turn(text, now)

    def recall(
        self, space: Space, query: str, k: int, now: float, *, where: Filter = ALL, reinforce: bool = True
    ) -> list[Hit]:
        """The k nodes that matter most for a query, current values marked as current and former ones as former."""
        hits = self.engine.search(space, query, k, where=NODES & where, now=now, collapse=False)
        if reinforce and hits:
            self.engine.store.reinforce([hit.id for hit in hits], now)
        return hits

    def consolidate(self, space: Space, now: float) -> Mapping[str, Any]:
        """Read the turns that are new, oldest first, each in one transaction.

        A turn that a model gives no usable answer for is read by rule, and named under `failed`.
        """
        return vars(self.mind(space).catch_up(now))

    def mend(self, space: Space, now: float) -> list[ErasureReport]:
        """If a turn was erased that left something in a node, erase every node; the turns left are read anew."""
        return self.mind(space).mend(now)
