"""What is answered to a turn, from the nodes alone: what is current is said to be current, and what was, former."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from halflife.agent.task_forest import Forest
from halflife.agent.task_nodes import Impact, same
from halflife.agent.task_ops import SILENT, Op, judge, once
from halflife.errors import InvalidInput, UnknownTrace
from halflife.llm.hashing import word_count

CONTEXT = 400  # tokens of nodes in an answer


class Responder(Protocol):
    """Words an answer."""

    def reply(self, text: str, ops: Sequence[Op], impact: Impact, forest: Forest) -> str:
        """The answer to a turn, of which `ops` were carried out on `forest` with this impact."""
        ...


class RuleResponder:
    """Answers in fixed phrases.

    >>> forest = Forest()
    >>> _ = forest.add("date", "June 10"), forest.update("date", "June 15")
    >>> RuleResponder().reply("", [Op("check", "date", "June 10")], Impact(), forest)
    'Not any more. date: June 15 (current; formerly June 10)'
    >>> RuleResponder().reply("", [Op("check", "gate", "B4")], Impact(), forest)
    'gate: not in memory'
    """

    def reply(self, text: str, ops: Sequence[Op], impact: Impact, forest: Forest) -> str:
        """What was changed, then the answers to questions, then what needs care."""
        lines = [forest.line(slot) for slot in impact.changed if slot in forest]
        lines += [answer(op, forest) for op in ops if op.kind in SILENT]
        if impact.stale:
            lines.append(f"To be checked: {', '.join(impact.stale)}")
        return "\n".join(dict.fromkeys([*lines, *impact.flags])) or "Nothing was changed."


def answer(op: Op, forest: Forest) -> str:
    """What is said to a `check`, an `ask` or a `conflict`; an unclear name is said to be unclear."""
    try:
        if op.kind == "ask":
            return forest.to_context([op.path] if op.path else [], CONTEXT, word_count) or "Nothing is in memory."
        if op.kind == "conflict":
            return f"Conflict: {forest.line(op.path)}, not {op.value}. Nothing was changed."
        return _verdict(op, forest)
    except (InvalidInput, UnknownTrace) as error:
        return str(error)


def _verdict(op: Op, forest: Forest) -> str:
    verdict = judge(forest, op)
    node = once(forest, op)
    if node is None:
        return f"{'Yes. ' if verdict.holds else ''}{op.path}: not in memory"
    was = op.about == "value" and op.value and any(same(former.value, op.value) for former in verdict.history)
    word = "Yes" if verdict.holds else "Not any more" if was else "No"
    return f"{word}. {forest.line_of(node)}"
