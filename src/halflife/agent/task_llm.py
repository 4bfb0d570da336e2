"""Turns read, taken apart and answered by a language model. What it says is checked before it is used.

Paper: "Task Memory Engine: Spatial Memory for Robust Multi-Step LLM Agents", arXiv 2505.19436 (its prompts are not
used here). One call reads a turn, as a list of typed operations; one more words an answer, from the nodes alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from halflife.agent.task_forest import Forest
from halflife.agent.task_nodes import MAX_NAME, MAX_VALUE, Impact
from halflife.agent.task_ops import Kind, Op
from halflife.agent.task_parts import Parts
from halflife.agent.task_replies import CONTEXT, RuleResponder
from halflife.agent.thoughts import entity
from halflife.llm.client import Chat
from halflife.llm.hashing import word_count

MAX_OPS, SHOWN = 24, 1500  # operations of a turn; tokens of the graph that a reader is shown


@dataclass
class Operation:
    """An operation as a model states it."""

    kind: Kind
    slot: str
    value: str | None = None
    task: str | None = None
    other: str | None = None
    needs: list[str] = field(default_factory=list)
    steps: int = 1
    everywhere: bool = False
    about: Literal["value", "removed", "never"] = "value"


@dataclass
class Reading:
    """All that a turn asks."""

    operations: list[Operation]


@dataclass
class Split:
    """A turn taken apart by a model."""

    label: str
    clauses: list[str]


class LLMIntents:
    """Intents by a language model, one call a turn. Raises `UnusableAnswer` where it gives none that can be used."""

    def __init__(self, chat: Chat) -> None:
        self.chat = chat

    def read(self, parts: Parts, forest: Forest) -> list[Op]:
        """The operations of a turn."""
        known = {entity(name) for node in forest.nodes.values() for name in (node.slot, forest.address(node))}
        shown = _shown(forest, SHOWN)
        reading = self.chat.ask(
            "task-graph.intent", Reading, check=lambda r: _check(r, known), turn=parts.text, graph=shown
        )  # fmt: skip
        return [_op(one) for one in reading.operations]


class LLMDecomposer:
    """Takes turns apart by a language model, one call more a turn: for turns that rules cut in wrong places."""

    def __init__(self, chat: Chat) -> None:
        self.chat = chat

    def split(self, text: str) -> Parts:
        """The parts of a turn."""

        def check(split: Split) -> None:
            if not 1 <= len(split.clauses) <= MAX_OPS or not all(clause.strip() for clause in split.clauses):
                raise ValueError(f"give 1 to {MAX_OPS} clauses, none of them empty.")
            if len(split.label) > MAX_NAME or any(len(clause) > len(text) + 80 for clause in split.clauses):
                raise ValueError("clauses are parts of the turn, not longer than it.")

        split = self.chat.ask("task-graph.decompose", Split, check=check, turn=text)
        return Parts(split.label.strip(), tuple(clause.strip() for clause in split.clauses))


class LLMResponder:
    """Answers questions by a language model that sees the nodes alone; changes are confirmed in fixed phrases."""

    def __init__(self, chat: Chat) -> None:
        self.chat = chat

    def reply(self, text: str, ops: Sequence[Op], impact: Impact, forest: Forest) -> str:
        """The answer to a turn."""
        plain = RuleResponder().reply(text, ops, impact, forest)
        if not any(op.kind in ("check", "ask") for op in ops):
            return plain
        return self.chat.text("task-graph.answer", turn=text, found=plain, graph=_shown(forest, CONTEXT))


def _shown(forest: Forest, tokens: int) -> str:
    """The graph as a model sees it, with what was taken out, which may be asked for or brought back."""
    return forest.to_context([], tokens, word_count, removed=True) or "(empty)"


def _check(reading: Reading, known: set[str]) -> None:
    """Refuse slots that are neither there nor made, and what no graph can hold."""
    if len(reading.operations) > MAX_OPS:
        raise ValueError(f"a turn has up to {MAX_OPS} operations.")
    known = set(known)
    for one in reading.operations:
        op = _op(one)
        if not one.slot.strip() and one.kind != "ask":
            raise ValueError(f"{one.kind} needs a slot.")
        if any(len(name) > MAX_NAME for name in (one.slot, one.task or "", one.other or "", *one.needs)):
            raise ValueError(f"a name has up to {MAX_NAME} characters.")
        if one.value is not None and not 0 < len(one.value.strip()) <= MAX_VALUE:
            raise ValueError(f"a value has 1 to {MAX_VALUE} characters, or is null.")
        if not 1 <= one.steps <= 100:
            raise ValueError("steps is at least 1.")
        if one.kind in ("replace", "need", "share") and not one.other:
            raise ValueError(f"{one.kind} needs other.")
        if one.kind in ("revert", "remove", "replace", "need", "share", "conflict") and entity(op.path) not in known:
            raise ValueError(f"there is no slot {op.path!r} to {one.kind}; use the names shown.")
        if unknown := [name for name in one.needs if entity(name) not in known]:
            raise ValueError(f"there is no slot {unknown[0]!r} to need; use the names shown.")
        known |= {entity(name) for name in (one.slot, op.path, one.task or one.slot, one.other or one.slot)}


def _op(one: Operation) -> Op:
    return Op(
        one.kind, one.slot.strip(), one.value, one.task or None, one.other or None, tuple(one.needs), one.steps,
        one.everywhere, about=one.about,
    )  # fmt: skip
