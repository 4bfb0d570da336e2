"""The memory manager: for each new fact, what to do with the bank.

Paper: Memory-R1, arXiv 2508.19828. A policy sees the fact and the entries that it may concern, and chooses ADD,
UPDATE, DELETE or NOOP; an update either overwrites the entry ("moved to Bergen") or merges the fact into it ("also
adopted a dog"). Policies: by rule (here), learned (`manager_learned`), and by a language model (`manager_llm`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from halflife.agent.bank import Op
from halflife.agent.facts import Fact
from halflife.agent.thoughts import entity, sentences
from halflife.errors import InvalidInput

Act: TypeAlias = Literal["overwrite", "merge", "delete"]
ACTS: tuple[Act, ...] = ("overwrite", "merge", "delete")
"""What can be done to an entry. With ADD and NOOP they are the actions of a manager, see `plans`."""


@dataclass(frozen=True)
class Candidate:
    """An entry that a fact may concern, with the cosine of the two."""

    id: str
    text: str
    cosine: float


class Choice(NamedTuple):
    """Operations that a manager might choose, together, and how likely it is to."""

    ops: tuple[Op, ...]
    probability: float


@runtime_checkable
class ManagerPolicy(Protocol):
    """Decides what a fact does to the bank."""

    def act(self, fact: Fact, candidates: Sequence[Candidate], size: int) -> list[Choice]:
        """A distribution over what to do, likeliest first.

        Parameters
        ----------
        fact: what is new.
        candidates: the entries nearest to it, nearest first. Of an empty bank there are none, and then only ADD and
            NOOP are legal.
        size: how many entries the bank has.
        """
        ...


def plans(fact: Fact, candidates: Sequence[Candidate]) -> list[Op]:
    """All actions on a fact: ADD, NOOP, then overwrite, merge and delete for each candidate in turn.

    >>> oslo = Candidate("e1", "Anna lives in Oslo.", 0.7)
    >>> [(op.kind, op.text) for op in plans(Fact("Anna has a dog."), [oslo])][2:4]
    [('UPDATE', 'Anna has a dog.'), ('UPDATE', 'Anna lives in Oslo. Anna has a dog.')]
    """
    made = [Op("ADD", text=fact.text, source=fact.source), Op("NOOP")]
    for one in candidates:
        made += [
            Op("UPDATE", one.id, fact.text, fact.source),
            Op("UPDATE", one.id, merged(one.text, fact.text), fact.source),
            Op("DELETE", one.id, source=fact.source),
        ]
    return made


def merged(text: str, fact: str) -> str:
    """An entry with a fact added to it; what it says already is not said again.

    >>> merged("Anna has a cat.", "Anna has a dog."), merged("Anna has a cat.", "anna has a cat")
    ('Anna has a cat. Anna has a dog.', 'Anna has a cat.')
    """
    known = {entity(part.rstrip(".!")) for part in sentences(text)}
    new = [part for part in sentences(fact) if entity(part.rstrip(".!")) not in known]
    return " ".join([text, *new])


class AlwaysAdd:
    """Keeps every fact as an entry of its own: the baseline that forgets nothing and updates nothing.

    >>> AlwaysAdd().act(Fact("Anna has a dog."), [], 0)[0].ops[0].kind
    'ADD'
    """

    def act(self, fact: Fact, candidates: Sequence[Candidate], size: int) -> list[Choice]:
        """ADD."""
        return [Choice((plans(fact, [])[0],), 1.0)]


class RuleManager:
    """Updates the nearest entry if it is near enough, and adds otherwise.

    Parameters
    ----------
    threshold: the cosine above which the fact is held to be about the same.
    act: what is done then.

    Raises
    ------
    InvalidInput: an unknown act.

    >>> oslo = Candidate("e1", "Anna lives in Oslo.", 0.7)
    >>> [choice.ops[0].kind for choice in RuleManager(0.6).act(Fact("Anna lives in Bergen."), [oslo], 1)]
    ['UPDATE']
    """

    def __init__(self, threshold: float = 0.6, act: Act = "overwrite") -> None:
        if act not in ACTS:
            raise InvalidInput(f"There is no act {act!r}.", f"Use one of {', '.join(ACTS)}.")
        self.threshold, self.does = threshold, ACTS.index(act)

    def act(self, fact: Fact, candidates: Sequence[Candidate], size: int) -> list[Choice]:
        """The act on the nearest entry, or ADD."""
        near = bool(candidates) and candidates[0].cosine > self.threshold
        return [Choice((plans(fact, candidates)[2 + self.does if near else 0],), 1.0)]
