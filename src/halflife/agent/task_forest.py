"""A forest of tasks: slots with values, what each needs, and what each was. `task_graph` makes it last.

Paper: "Task Memory Engine: Spatial Memory for Robust Multi-Step LLM Agents", arXiv 2505.19436.

A slot keeps its name when its value changes; only the replacement of an object renames it. Edges are of three kinds,
kept apart: a node is part of its parent, needs others (`needs`, without cycles), and shares its object with slots of
other tasks (`shares`). A node that changes makes stale what needs it, directly or not, and what it is part of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import count

from halflife.agent.task_nodes import Former, Impact, Node, Verdict, checked_name, checked_value, same, touch
from halflife.agent.thoughts import entity
from halflife.errors import InvalidInput, UnknownTrace

_FORMER_SHOWN = 3


class Forest:
    """Task nodes, found by slot in O(1), changed in time linear in the nodes affected.

    A slot is named by itself where that is clear, and as `task/slot` where two tasks have one of that name.

    >>> trip = Forest()
    >>> _ = trip.add("trip"), trip.add("destination", "Seattle", "trip"), trip.add("hotel", "Pike Inn", "trip")
    >>> trip.need("hotel", "destination").stale
    ()
    >>> trip.update("destination", "San Francisco").stale
    ('trip/hotel',)
    >>> _ = trip.rollback("destination")
    >>> trip.line("destination")
    'trip/destination: Seattle (current; formerly San Francisco, Seattle)'
    """

    def __init__(self, nodes: Iterable[Node] = (), new_id: Callable[[], str] | None = None) -> None:
        numbers = count()
        self.new_id = new_id or (lambda: f"node-{next(numbers)}")
        self.nodes: dict[str, Node] = {}
        self._place: dict[str, int] = {}
        self._named: dict[str, set[str]] = {}
        self._needed_by: dict[str, set[str]] = {}
        self._parts: dict[str, set[str]] = {}
        self.tick = 0
        for node in nodes:
            self._put(node)

    def copy(self) -> Forest:
        """An independent forest with the same nodes."""
        return Forest(self.nodes.values(), self.new_id)

    # -- finding ----------------------------------------------------------------------------------------------

    def __contains__(self, slot: str) -> bool:
        return self.find(slot) is not None

    def find(self, slot: str) -> Node | None:
        """The node of this name, one in use before a removed one. Raises `InvalidInput` where several have it."""
        task, _, name = slot.rpartition("/")
        found = [self.nodes[id] for id in self._named.get(entity(name), ())]
        if task:
            found = [node for node in found if node.parent and entity(self.root(node).slot) == entity(task)]
        live = [node for node in found if not node.removed] or found
        roots = [node for node in live if node.parent is None]  # a task's own name means the task
        live = roots if len(roots) == 1 and not task else live
        if len(live) > 1 and live[0].removed:
            live = [max(live, key=lambda node: node.tick)]
        if len(live) > 1:
            names = ", ".join(sorted(self.address(node) for node in live))
            raise InvalidInput(f"{slot!r} is a slot of several tasks.", f"Say which: {names}.")
        return live[0] if live else None

    def get(self, slot: str) -> Node:
        """The node of this name. Raises `UnknownTrace` if there is none."""
        node = self.find(slot)
        if node is None:
            known = ", ".join(self.address(node) for node in list(self.live())[:8])
            raise UnknownTrace(f"There is no slot {slot!r}.", f"There are: {known}." if known else "There is none yet.")
        return node

    def named(self, slot: str) -> list[Node]:
        """Every node in use of this name, whatever its task."""
        return self._sorted(id for id in self._named.get(entity(slot), ()) if not self.nodes[id].removed)

    def live(self) -> Iterator[Node]:
        """The nodes in use, in the order in which they were added."""
        return (node for node in self.nodes.values() if not node.removed)

    def root(self, node: Node) -> Node:
        """The task that a node belongs to."""
        return self._ancestry(node)[-1]

    def address(self, node: Node) -> str:
        """`task/slot`, or the slot of a task itself."""
        return node.slot if node.parent is None else f"{self.root(node).slot}/{node.slot}"

    def state(self) -> dict[str, str]:
        """The current value of every slot that has one."""
        return {self.address(node): node.value for node in self.live() if node.value is not None}

    def focus(self) -> Node | None:
        """The node in use that was changed last."""
        return max(self.live(), key=lambda node: node.tick, default=None)

    def subtree(self, slot: str) -> list[Node]:
        """A node and all its parts in use, parents first."""
        return self._reach(self.get(slot), lambda node: self._parts.get(node.id, ()))

    def dependants(self, slot: str) -> list[Node]:
        """What needs a node, directly or not, and what it is part of: the nodes that a change makes stale."""
        return self._after(self.get(slot))

    def sharing(self, slot: str) -> list[Node]:
        """A node and those that share its object, directly or not."""
        return self._reach(self.get(slot), lambda node: node.shares)

    # -- changing ---------------------------------------------------------------------------------------------

    def add(
        self,
        slot: str,
        value: str | None = None,
        parent: str | None = None,
        deps: Sequence[str] = (),
        *,
        source: str = "",
        cue: str = "",
    ) -> Impact:
        """Add a slot, or bring back one that was removed. Raises `InvalidInput` if the task has it already."""
        above = None if parent is None else self.get(parent)
        if above is not None and above.removed:
            above = replace(above, removed=False, replaced_by=None)
            self._put(touch(above, source))
        name = checked_name(slot)
        needs = tuple(dict.fromkeys(self.get(other).id for other in deps))
        there = self._there(name, above)
        old = next((node for node in there if not node.removed), there[0] if there else None)
        if old is not None and not old.removed:
            raise InvalidInput(f"There is a slot {self.address(old)!r} already.", "Update it, or choose another name.")
        if old is None:
            old = Node(self.new_id(), name)
        elif above is not None and old in self._ancestry(above):
            raise InvalidInput(f"{name!r} cannot be a part of its own part.", "Choose another parent.")
        old = replace(old, parent=above.id if above else None)
        node = replace(old, needs=tuple(dict.fromkeys(old.needs + needs)), removed=False, replaced_by=None)
        self._refuse_cycle(node)
        return self._set(node, checked_value(value) if value is not None else None, source, cue)

    def update(
        self,
        slot: str,
        value: str | None = None,
        new_slot: str | None = None,
        *,
        everywhere: bool = False,
        source: str = "",
        cue: str = "",
    ) -> Impact:
        """Set a value, and with `new_slot` a name. A slot that is not there is added, and flagged.

        `everywhere` changes the slots that share its object with it. Raises `InvalidInput` if the new name is taken.
        """
        node = self.find(slot)
        if node is None:
            task, _, name = slot.rpartition("/")
            made = self.add(new_slot or name, value, task or None, source=source, cue=cue)
            return made + Impact(flags=(f"{slot} was not in memory: added",))
        value = node.value if value is None else checked_value(value)
        if new_slot is not None and entity(new_slot) != entity(node.slot):
            return self._rename(node, checked_name(new_slot), value, source)
        done = Impact()
        for one in self._reach(node, lambda n: n.shares) if everywhere else [node]:
            done += self._set(replace(self.nodes[one.id], removed=False, replaced_by=None), value, source, cue)
        return done

    def replace(self, old: str, new: str, value: str | None = None, *, source: str = "") -> Impact:
        """Put one object in the place of another in every task; values stay unless one is given.

        Where a task has the new one already, the old one goes, and what needed it needs the new one.
        """
        nodes = self.named(old.rpartition("/")[2])
        nodes = list({n.id: n for node in nodes for n in self._reach(node, lambda n: n.shares)}.values())
        if not nodes:
            raise UnknownTrace(f"There is no slot {old!r} to replace.")
        done = Impact()
        for node in nodes:
            taken = next((n for n in self._there(new, self._parent(node)) if not n.removed), None)
            current = checked_value(value) if value is not None else node.value
            done += self._fold(node, taken, source) if taken else self._rename(node, checked_name(new), current, source)
        return done

    def rollback(self, slot: str, steps: int = 1, *, to: str | None = None, source: str = "") -> Impact:
        """Set a value that the slot had: `steps` back, or the one named. What it is now joins its history."""
        node = self.get(slot)
        if to is not None:
            found = [former for former in node.former if same(former.value, to)]
            if not found:
                raise InvalidInput(f"{self.address(node)} never was {to!r}.", "Update it instead.")
            former = found[-1]
        elif 1 <= steps <= len(node.former):
            former = node.former[-steps]
        else:
            raise InvalidInput(f"{self.address(node)} has {len(node.former)} former values, not {steps}.")
        back = replace(node, removed=False, replaced_by=None)
        if entity(former.slot) != entity(node.slot) and not self._there(former.slot, self._parent(node)):
            return self._rename(back, former.slot, former.value, source)
        return self._set(back, former.value, source)

    def remove(self, slot: str, *, cascade: bool = False, source: str = "") -> Impact:
        """Take out a slot and its parts. What needs it becomes stale, or with `cascade` is taken out too."""
        node = self.get(slot)
        if node.removed:
            return Impact(flags=(f"{self.address(node)} was removed already",))
        gone = self._reach(node, lambda n: self._parts.get(n.id, ()))
        if cascade:
            above = {n.id for n in self._ancestry(node)}
            gone += [n for n in self._after(node) if n not in gone and n.id not in above]
        done = Impact()
        for one in gone:
            done += self._take_out(self.nodes[one.id], source)
        return done

    def need(self, slot: str, on: str, *, source: str = "") -> Impact:
        """Let a slot depend on another, of whatever task. Raises `InvalidInput` for a cycle."""
        node, other = self.get(slot), self.get(on)
        node = replace(node, needs=tuple(dict.fromkeys((*node.needs, other.id))))
        self._refuse_cycle(node)
        self._put(touch(node, source))
        return Impact((self.address(node),))

    def share(self, a: str, b: str, *, source: str = "") -> Impact:
        """Say that two slots name the same object."""
        first, second = self.get(a), self.get(b)
        if first.id == second.id:
            raise InvalidInput(f"{a!r} cannot share with itself.")
        for node, other in ((first, second), (second, first)):
            self._put(touch(replace(node, shares=tuple(dict.fromkeys((*node.shares, other.id)))), source))
        return Impact((self.address(first), self.address(second)))

    # -- asking -----------------------------------------------------------------------------------------------

    def check(self, slot: str, claim: str) -> Verdict:
        """Whether a slot is what is claimed now; a former value does not count. Unknown slots: not in memory."""
        node = self.find(slot)
        if node is None:
            return Verdict(False, None, ())
        return Verdict(node.value is not None and same(node.value, claim), node.value, node.former)

    def line(self, slot: str) -> str:
        """A node in words, its value marked as current and what it was as former."""
        return self.line_of(self.get(slot))

    def line_of(self, node: Node) -> str:
        """The same, of a node at hand."""
        words = list(dict.fromkeys(
            former.value if entity(former.slot) == entity(node.slot) else f"{former.slot}, {former.value}"
            for former in reversed(node.former)
        ))  # fmt: skip
        formerly = f"formerly {', '.join(words[:_FORMER_SHOWN])}" if words else ""
        changed = ", ".join(self.nodes[id].slot for id in node.stale if id in self.nodes)
        if node.removed:
            instead = self.nodes.get(node.replaced_by or "")
            what = f"replaced by {instead.slot}" if instead else "removed"
            twins = sum(n.removed and n.id < node.id for n in self._there(node.slot, self._parent(node)))
            times = f", for the {twins + 1}. time" if twins else ""
            return f"{self.address(node)}: {what}{times}{f' ({formerly})' if formerly else ''}"
        if node.value is None:
            return f"{self.address(node)}{f' ({formerly})' if formerly else ''}"
        marks = [mark for mark in ("current", changed and f"to be checked, since {changed} changed", formerly) if mark]
        return f"{self.address(node)}: {node.value} ({'; '.join(marks)})"

    def to_context(
        self, slots: Sequence[str], max_tokens: int, count_tokens: Callable[[str], int], *, removed: bool = False
    ) -> str:
        """The nodes asked for, their parts and what they need, a line each, within a budget of tokens.

        Its length depends on these nodes, not on the number of turns. No slots: all that is in use; with `removed`,
        then what is not.
        """
        wanted = [node for slot in slots for node in self.subtree(slot)] if slots else list(self.live())
        wanted += [self.nodes[id] for node in list(wanted) for id in node.needs]
        wanted += [node for node in self.nodes.values() if removed and node.removed]
        lines, left = list[str](), max_tokens
        for node in dict.fromkeys(wanted):
            line = self.line_of(node)
            cost = count_tokens(line) + 1
            if cost <= left:
                lines.append(line)
                left -= cost
        return "\n".join(lines)

    # -- within -----------------------------------------------------------------------------------------------

    def _put(self, node: Node) -> None:
        old = self.nodes.get(node.id)
        if old is not None:
            self._index(old, set.discard)
        self.nodes[node.id] = node
        self._place.setdefault(node.id, len(self._place))
        self._index(node, set.add)
        self.tick = max(self.tick, node.tick)

    def _index(self, node: Node, act: Callable[[set[str], str], None]) -> None:
        for index, keys in (
            (self._named, {entity(node.slot)}),
            (self._needed_by, node.needs),
            (self._parts, (node.parent,) if node.parent else ()),
        ):
            for key in keys:
                act(index.setdefault(key, set()), node.id)

    def _set(self, node: Node, value: str | None, source: str, cue: str = "") -> Impact:
        """Give a node its value, and mark what depends on it. The same value again confirms it."""
        old = self.nodes.get(node.id)
        changes = old is None or old.removed or old.slot != node.slot or value != old.value
        if old is not None and old.value is not None and (value != old.value or old.slot != node.slot):
            node = replace(node, former=(*node.former, Former(old.slot, old.value, old.source)))
        self.tick += 1
        cues = tuple(dict.fromkeys((*node.cues, cue))) if cue else node.cues
        node = replace(node, value=value, stale=(), cues=cues, source=source, tick=self.tick)
        self._put(touch(node, source))
        spread = self._spread(node, source) if changes else Impact()
        return Impact((self.address(node),)) + spread

    def _spread(self, node: Node, source: str) -> Impact:
        marked = []
        for other in self._after(node):
            if other.value is not None:
                stale = tuple(dict.fromkeys((*other.stale, node.id)))
                self._put(touch(replace(other, stale=stale), source))
                marked.append(self.address(other))
        return Impact(stale=tuple(marked))

    def _take_out(self, node: Node, source: str) -> Impact:
        self.tick += 1
        former = node.former if node.value is None else (*node.former, Former(node.slot, node.value, node.source))
        gone = replace(node, value=None, former=former, stale=(), removed=True, source=source, tick=self.tick)
        self._put(touch(gone, source))
        return Impact((self.address(gone),)) + self._spread(gone, source)

    def _rename(self, node: Node, name: str, value: str | None, source: str) -> Impact:
        taken = [other for other in self._there(name, self._parent(node)) if other.id != node.id and not other.removed]
        if taken:
            raise InvalidInput(f"{self.address(taken[0])!r} is a slot already.", "Choose another name, or replace it.")
        done = self._set(replace(node, slot=name, removed=False, replaced_by=None), value, source)
        parts = self._reach(self.nodes[node.id], lambda n: self._parts.get(n.id, ()))[1:]
        for part in parts:  # their addresses changed with it
            self._put(touch(part, source))
        return done + Impact(tuple(self.address(part) for part in parts))

    def _fold(self, node: Node, into: Node, source: str) -> Impact:
        """Take out a node whose place is taken; what needed it needs the other, unless that needs it."""
        for other in self._sorted(self._needed_by.get(node.id, ())):
            rest = tuple(need for need in other.needs if need != node.id)
            moved = replace(other, needs=tuple(dict.fromkeys((*rest, into.id))))
            self._put(touch(moved if self._acyclic(moved) else replace(other, needs=rest), source))
        done = self._take_out(node, source)
        self._put(replace(self.nodes[node.id], replaced_by=into.id))
        self._put(touch(self.nodes[into.id], source))
        return done + self._spread(into, source) + Impact((self.address(into),))

    def _there(self, name: str, parent: Node | None) -> list[Node]:
        """The nodes that have an address already, removed ones too."""
        root = None if parent is None else self.root(parent).id
        found = self._sorted(self._named.get(entity(name), ()))
        return [n for n in found if (n.parent is None if root is None else n.parent and self.root(n).id == root)]

    def _parent(self, node: Node) -> Node | None:
        return self.nodes[node.parent] if node.parent else None

    def _after(self, node: Node) -> list[Node]:
        return self._reach(node, lambda n: (*self._needed_by.get(n.id, ()), *((n.parent,) if n.parent else ())))[1:]

    def _reach(self, start: Node, step: Callable[[Node], Iterable[str]]) -> list[Node]:
        """A node and those in use that are reached from it step by step, nearest first."""
        seen, todo = {start.id: start}, [start]
        while todo:
            new = [node for node in self._sorted(set(step(todo.pop(0))) - seen.keys()) if not node.removed]
            seen.update((node.id, node) for node in new)
            todo += new
        return list(seen.values())

    def _ancestry(self, node: Node) -> list[Node]:
        """A node, what it is part of, and so on up to its task."""
        found = [node]
        while found[-1].parent is not None:
            found.append(self.nodes[found[-1].parent])
        return found

    def _acyclic(self, node: Node) -> bool:
        """Whether a node, as it is to be, does not come to need itself."""
        todo, seen = list(node.needs), set[str]()
        while todo:
            id = todo.pop()
            if id == node.id:
                return False
            if id not in seen:
                seen.add(id)
                todo += self.nodes[id].needs
        return True

    def _refuse_cycle(self, node: Node) -> None:
        if not self._acyclic(node):
            raise InvalidInput(f"{node.slot!r} would come to need itself.", "Leave out one of the dependencies.")

    def _sorted(self, ids: Iterable[str]) -> list[Node]:
        """Nodes in the order in which they were added."""
        return [self.nodes[id] for id in sorted(ids, key=self._place.__getitem__)]
