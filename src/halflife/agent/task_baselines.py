"""Linear memories, for comparison: what the last turns say, and a scratchpad that is summed up now and then.

Paper: "Task Memory Engine: Spatial Memory for Robust Multi-Step LLM Agents", arXiv 2505.19436 (its baselines, here
without a language model). Both are given turns that were read already, as the graph is: what differs is the memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from halflife.agent.task_engine import Reply, feasible
from halflife.agent.task_forest import Forest
from halflife.agent.task_intents import RuleIntents
from halflife.agent.task_nodes import Impact
from halflife.agent.task_ops import Op, apply
from halflife.agent.task_parts import RuleDecomposer
from halflife.agent.task_replies import RuleResponder
from halflife.errors import InvalidInput, UnknownTrace
from halflife.llm.hashing import word_count

CHANGES = ("new", "set", "revert", "remove", "replace")


class TaskTracker(Protocol):
    """What keeps the state of tasks while turns go by."""

    def note(self, text: str, op: Op) -> None:
        """Take in a turn and what it asks."""
        ...

    def value(self, slot: str) -> str | None:
        """What a slot is now, as far as this memory tells."""
        ...

    def context(self, slot: str) -> str:
        """What a model would be shown to answer about a slot."""
        ...


@dataclass
class GraphTracker:
    """The task graph itself, in the working memory."""

    forest: Forest = field(default_factory=Forest)

    def note(self, text: str, op: Op) -> None:
        """Carry out the operation; one that cannot be is left out."""
        try:
            apply(self.forest, op)
        except (InvalidInput, UnknownTrace):
            return

    def value(self, slot: str) -> str | None:
        """The node's value."""
        node = self.forest.find(slot)
        return None if node is None or node.removed else node.value

    def context(self, slot: str) -> str:
        """The node with what it needs."""
        return self.forest.to_context([slot], 10_000, word_count) if slot in self.forest else ""


@dataclass
class FlatHistory:
    """The last turns, of which the last mention of a slot wins.

    Parameters
    ----------
    window: turns that are kept; None for all.
    steps_back: read "go back" without a value as the mention before the last; without it, it names nothing.

    >>> flat = FlatHistory(window=2)
    >>> for text, op in (("a is 1", Op("new", "a", "1")), ("a is 2", Op("set", "a", "2")), ("Hi.", Op("ask"))):
    ...     flat.note(text, op)
    >>> flat.value("a"), flat.context("a")
    ('2', 'a is 2\\nHi.')
    """

    window: int | None = None
    steps_back: bool = False
    turns: list[tuple[str, Op]] = field(default_factory=list)

    def note(self, text: str, op: Op) -> None:
        """Append the turn; the oldest falls out of the window."""
        self.turns.append((text, op))
        if self.window is not None:
            del self.turns[: -self.window]

    def value(self, slot: str) -> str | None:
        """By the last mention in the window."""
        return last_mention(None, [op for _, op in self.turns], slot, self.steps_back)

    def context(self, slot: str) -> str:
        """Every turn in the window."""
        return "\n".join(text for text, _ in self.turns)

    def state(self) -> dict[str, str]:
        """The value of every slot that is mentioned in the window."""
        return _state(self, [op.path for _, op in self.turns])

    def turn(self, text: str) -> Reply:
        """Take in a turn as the graph's engine does, and answer it from the mentions."""
        return _turn(self, text)


@dataclass
class ReActHistory:
    """A scratchpad: every few turns the state is summed up, and only the turns since are kept.

    Parameters
    ----------
    every: turns between two summaries.
    """

    every: int = 5
    summary: dict[str, str | None] = field(default_factory=dict)
    turns: list[tuple[str, Op]] = field(default_factory=list)

    def note(self, text: str, op: Op) -> None:
        """Append the turn; sum up when there are enough."""
        self.turns.append((text, op))
        if len(self.turns) == self.every:
            slots = dict.fromkeys([*self.summary, *(op.path for _, op in self.turns if op.kind in CHANGES)])
            self.summary = {slot: self.value(slot) for slot in slots}
            self.turns.clear()

    def value(self, slot: str) -> str | None:
        """The summary's, unless it was mentioned since; "go back" reaches back as far as that."""
        return last_mention(self.summary.get(slot), [op for _, op in self.turns], slot, True)

    def context(self, slot: str) -> str:
        """The summary and the turns since."""
        state = "; ".join(f"{slot}: {value}" for slot, value in self.summary.items() if value is not None)
        return "\n".join([f"State: {state}", *(text for text, _ in self.turns)])

    def state(self) -> dict[str, str]:
        """The value of every slot that is summed up or was mentioned since."""
        return _state(self, [*self.summary, *(op.path for _, op in self.turns)])

    def turn(self, text: str) -> Reply:
        """Take in a turn as the graph's engine does, and answer it from the scratchpad."""
        return _turn(self, text)


def last_mention(start: str | None, ops: Sequence[Op], slot: str, steps_back: bool) -> str | None:
    """The value of a slot after operations that name it, read one after the other without a history of values."""
    now, before = start, None
    for op in ops:
        if op.path != slot or op.kind not in CHANGES:
            continue
        if op.kind == "remove":
            now, before = None, now or before
        elif op.value is not None:
            now, before = op.value, now or before
        elif op.kind == "revert" and steps_back and op.steps == 1:
            now, before = before, now
    return now


def _state(memory: TaskTracker, slots: Sequence[str]) -> dict[str, str]:
    values = {slot: memory.value(slot) for slot in dict.fromkeys(slots)}
    return {slot: value for slot, value in values.items() if value is not None}


def _turn(memory: FlatHistory | ReActHistory, text: str) -> Reply:
    forest = Forest()
    for slot, value in memory.state().items():
        task, _, name = slot.rpartition("/")
        apply(forest, Op("new", name, value, task or None))
    ops = RuleIntents().read(RuleDecomposer().split(text), forest)
    for op in ops or [Op("ask")]:
        memory.note(text, op)
    done, flags = feasible(ops, forest)
    for op in done:
        apply(forest, op)
    changed = tuple(op.path for op in done if op.kind in CHANGES)
    return Reply(RuleResponder().reply(text, done, Impact(changed), forest), tuple(ops), (), flags)
