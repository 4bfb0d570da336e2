"""A memory manager that asks a language model, in the format of Mem0 that the paper uses.

Paper: Memory-R1, arXiv 2508.19828. The prompt is this project's own. "NOOP" is "NONE" in the answer, as there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from halflife.agent.bank import Op
from halflife.agent.facts import Fact
from halflife.agent.manager import Candidate, Choice
from halflife.llm.client import Chat

PURPOSE = "memory-r1.manage"
MAX_ENTRY = 2000  # characters

Event: TypeAlias = Literal["ADD", "UPDATE", "DELETE", "NONE"]


@dataclass
class Line:
    """What becomes of one entry, or a new one. `old_memory` is what it said; it is not used."""

    id: str
    event: Event
    text: str = ""
    old_memory: str = ""


@dataclass
class Answer:
    """The answer asked for."""

    memory: list[Line] = field(default_factory=list)


class LLMManager:
    """A `ManagerPolicy` that asks a language model. It sees the entries under numbers, and may name only these.

    An answer that cannot be used raises `UnusableAnswer` after one repair; the caller then changes nothing.

    Parameters
    ----------
    chat: what is asked.
    """

    def __init__(self, chat: Chat) -> None:
        self.chat = chat

    def act(self, fact: Fact, candidates: Sequence[Candidate], size: int) -> list[Choice]:
        """The operations that the model chose, with probability 1."""
        by_number = {str(number): one.id for number, one in enumerate(candidates, start=1)}
        answer = self.chat.ask(
            PURPOSE,
            Answer,
            check=lambda value: _checked(value, by_number),
            fact=fact.text,
            said=fact.said or fact.text,
            entries=[one.text for one in candidates] or ["(the memory is empty)"],
        )
        ops = [_op(line, by_number, fact) for line in answer.memory if line.event != "NONE"]
        return [Choice(tuple(ops) or (Op("NOOP"),), 1.0)]


def _checked(answer: Answer, by_number: dict[str, str]) -> None:
    """Refuse what names an entry that was not shown, or the same one twice, or gives no usable text."""
    touched = [line.id for line in answer.memory if line.event in ("UPDATE", "DELETE")]
    if unknown := sorted(set(touched) - by_number.keys()):
        raise ValueError(f"There is no entry {unknown[0]!r}; the entries are {', '.join(by_number) or 'none'}.")
    if len(set(touched)) < len(touched):
        raise ValueError("An entry is named twice.")
    for line in answer.memory:
        if line.event in ("ADD", "UPDATE") and not 0 < len(line.text.strip()) <= MAX_ENTRY:
            raise ValueError(f"The text of an {line.event} must have 1 to {MAX_ENTRY} characters.")


def _op(line: Line, by_number: dict[str, str], fact: Fact) -> Op:
    if line.event == "ADD":
        return Op("ADD", text=line.text.strip(), source=fact.source)
    if line.event == "UPDATE":
        return Op("UPDATE", by_number[line.id], line.text.strip(), fact.source)
    return Op("DELETE", by_number[line.id], source=fact.source)
