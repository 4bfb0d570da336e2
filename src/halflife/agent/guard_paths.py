"""Reasoning paths: what each retrieved record, taken by itself, would lead to.

Paper: "A-MemGuard: A Proactive Defense Framework for LLM-Based Agent Memory", arXiv 2510.02373.

A path is a chain of short steps, `entity → relation → response`. Its last step is what the record leads to, by which
paths are counted. `ExtractivePaths` reads it from the record, `ChatPaths` asks a language model to think it through.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from halflife.agent.thoughts import RulePostThinker, entity
from halflife.errors import InvalidInput, UnusableAnswer
from halflife.store.text import STOP_WORDS
from halflife.store.trace import Trace

if TYPE_CHECKING:
    from halflife.llm.client import Chat

ARROW = "→"
MAX_STEPS, MAX_STEP = 12, 200  # of a path that a model writes: steps, and characters of one
_TOPIC = 3  # words that stand for what a record is about


@runtime_checkable
class PathModel(Protocol):
    """Infers where each record leads.

    `alone` says that a path tells of its own record only. Where it does not, a lesson made of it counts as derived from
    every record that was looked at with it.
    """

    @property
    def alone(self) -> bool:
        """Whether each path was drawn from one record."""
        ...

    def paths(self, query: str, records: Sequence[Trace]) -> list[str]:
        """One path a record, in their order; empty for one of which no path could be drawn."""
        ...


def chain(steps: Iterable[str]) -> str:
    """Steps as one path; an arrow or a line break within a step cannot pass for another step.

    >>> chain(["the  user", "lives in → works in", "Oslo"])
    'the user → lives in works in → Oslo'
    """
    cleaned = (" ".join(step.replace(ARROW, " ").split()) for step in steps)
    return f" {ARROW} ".join(step for step in cleaned if step)


def outcome(path: str) -> str:
    """What a path leads to, as it is compared: its last step without case or stray blanks.

    >>> outcome("dose of aspirin → Medication")
    'medication'
    """
    return entity(path.rpartition(ARROW)[2])


def action_of(record: Trace, field: str = "action") -> str | None:
    """What a record says to do: a field of its metadata, or None if it has none."""
    value = record.metadata.get(field)
    return None if value is None or not str(value).strip() else str(value)


@dataclass(frozen=True)
class ExtractivePaths:
    """Paths without a model: what the record is about, and what it says to do.

    The last step is the action in the record's metadata. A record without one yields the first relation triple that it
    states ("I live in Oslo": the user → lives in → Oslo), or else its most telling words.

    Parameters
    ----------
    action: the field of metadata that holds the action.

    >>> from halflife import Memory
    >>> memory = Memory(embedder="hash")
    >>> dose = memory.add("What dose of aspirin did the patient get?", metadata={"action": "medication"})
    >>> home = memory.add("I live in Oslo.", role="user")
    >>> ExtractivePaths().paths("", [memory.get(dose[0].id), memory.get(home[0].id)])
    ['dose aspirin patient → medication', 'The user → lives in → Oslo']
    """

    action: str = "action"
    alone: bool = field(default=True, init=False)

    def paths(self, query: str, records: Sequence[Trace]) -> list[str]:
        """One path a record. The query plays no part in it."""
        return [self._path(record) for record in records]

    def _path(self, record: Trace) -> str:
        action = action_of(record, self.action)
        if action is not None:
            return chain([" ".join(_telling(record.text)), action])
        for thought in _RULES.think(record.text, ""):
            return chain([thought.head, thought.relation, ", ".join(thought.tails)])
        return chain(_telling(record.text) or [record.text[:MAX_STEP]])


_RULES = RulePostThinker()


def _telling(text: str) -> list[str]:
    """The longest words of a text that are no function words, in their order."""
    words = list(dict.fromkeys(word for word in re.findall(r"\w+", text) if word.lower() not in STOP_WORDS))
    longest = sorted(words, key=len, reverse=True)[:_TOPIC]
    return [word for word in words if word in longest]


@dataclass(frozen=True)
class Chain:
    """What a model answers for one record: steps of thought in order, and the response that they lead to."""

    number: int
    steps: list[str]
    response: str


@dataclass(frozen=True)
class Chains:
    """The chains of all records that were shown."""

    chains: list[Chain]


@dataclass(frozen=True)
class ChatPaths:
    """Paths by a language model: for each record, what would follow from it alone.

    Parameters
    ----------
    chat: answers `guard.path`.
    batch: how many records one call shows. With 1, as in the paper, a planted record cannot speak to the path of
        another; more are cheaper, and open that way.
    action: the field of metadata that holds the action; it is shown with the record.

    A record for which the model gives no usable answer has an empty path, which no validator finds consistent.

    Source: the paper's reasoning paths; one call a record.
    """

    chat: Chat
    batch: int = 1
    action: str = "action"

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise InvalidInput(f"batch is {self.batch}.", "Show one record a call, or more.")

    @property
    def alone(self) -> bool:
        """Whether each call shows one record."""
        return self.batch == 1

    def paths(self, query: str, records: Sequence[Trace]) -> list[str]:
        """One path a record, of `ceil(len(records) / batch)` calls."""
        shown = [self._shown(record) for record in records]
        parts = [shown[i : i + self.batch] for i in range(0, len(shown), self.batch)]
        return [path for part in parts for path in self._ask(query, part)]

    def _shown(self, record: Trace) -> str:
        action = action_of(record, self.action)
        return record.text if action is None else f"{record.text}\nAction taken: {action}"

    def _ask(self, query: str, records: list[str]) -> list[str]:
        def check(answer: Chains) -> None:
            if sorted(one.number for one in answer.chains) != list(range(1, len(records) + 1)):
                raise ValueError(f"give one chain for each of the records 1 to {len(records)}")
            for one in answer.chains:
                _check_chain(one)

        try:
            answer = self.chat.ask("guard.path", Chains, check=check, query=query, records=records)
        except UnusableAnswer:
            return [""] * len(records)
        by_number = {one.number: chain([*one.steps, one.response]) for one in answer.chains}
        return [by_number[number] for number in range(1, len(records) + 1)]


def _check_chain(one: Chain) -> None:
    if not 1 <= len(one.steps) < MAX_STEPS:
        raise ValueError(f"a chain has 1 to {MAX_STEPS - 1} steps before its response")
    if not all(chain([step]) and len(step) <= MAX_STEP for step in (*one.steps, one.response)):
        raise ValueError(f"a step or response is empty or longer than {MAX_STEP} characters")
