"""The nodes of a task graph as plain data, and what operations on them say.

Paper: "Task Memory Engine: Spatial Memory for Robust Multi-Step LLM Agents", arXiv 2505.19436 (its TaskNode).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from halflife.agent.thoughts import entity
from halflife.errors import InvalidInput

MAX_NAME, MAX_VALUE = 120, 2000


@dataclass(frozen=True)
class Former:
    """What a node was: its slot, its value, and the turn that had set it."""

    slot: str
    value: str
    source: str = ""


@dataclass(frozen=True)
class Node:
    """A slot of a task. Other nodes are named by id, so that a change of name leaves the edges as they are.

    Parameters
    ----------
    id: stable; the trace's id once it is stored.
    slot: its name, without the value.
    value: what it is now; None for a task, for a request without a value, and once removed.
    parent, needs, shares: the node it is part of, those it depends on, those of other tasks with the same object.
    stale: nodes that changed since its value was set.
    former: what it was, oldest first. cues: words that led to its value ("from", "on").
    source: the turn that set the value. touched: every turn that left something here.
    removed, replaced_by: whether it was taken out, and what took its place.
    tick: rises with every change in the forest; the highest is in focus.
    """

    id: str
    slot: str
    value: str | None = None
    parent: str | None = None
    needs: tuple[str, ...] = ()
    shares: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    former: tuple[Former, ...] = ()
    cues: tuple[str, ...] = ()
    source: str = ""
    touched: tuple[str, ...] = ()
    removed: bool = False
    replaced_by: str | None = None
    tick: int = 0


@dataclass(frozen=True)
class Impact:
    """What an operation did: the slots it changed, those it made stale, and what a reader should know."""

    changed: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    def __add__(self, other: Impact) -> Impact:
        return Impact(
            tuple(dict.fromkeys(self.changed + other.changed)),
            tuple(dict.fromkeys(self.stale + other.stale)),
            tuple(dict.fromkeys(self.flags + other.flags)),
        )


class Verdict(NamedTuple):
    """Whether a claim about a slot holds, its current value, and what it was. Without either: not in memory."""

    holds: bool
    current: str | None
    history: tuple[Former, ...]

    @property
    def known(self) -> bool:
        return self.current is not None or bool(self.history)


def same(a: str, b: str) -> bool:
    """Whether two values say the same: without case, stray blanks or end marks.

    >>> same("San  Francisco.", "san francisco")
    True
    """
    return entity(a.strip(" .,!?")) == entity(b.strip(" .,!?"))


def checked_name(slot: str) -> str:
    """A slot's name with single blanks. Raises `InvalidInput` if it is none."""
    if not isinstance(slot, str) or not slot.strip() or "/" in slot or len(slot) > MAX_NAME:
        raise InvalidInput(f"{slot!r} is no name of a slot.", f"Up to {MAX_NAME} characters, none of them a slash.")
    return " ".join(slot.split())


def checked_value(value: str) -> str:
    """A value as it is kept. Raises `InvalidInput` if it is empty or too long."""
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_VALUE:
        raise InvalidInput(f"{value!r:.60} is no value of a slot.", f"Text of up to {MAX_VALUE} characters.")
    return " ".join(value.split())


def touch(node: Node, source: str) -> Node:
    """The node with a turn among those that left something in it."""
    return replace(node, touched=tuple(dict.fromkeys((*node.touched, source)))) if source else node
