"""Post-thinking by a language model: three questions, and answers that are checked before anything is believed.

Paper: "Think-in-Memory: Recalling and Post-thinking Enable LLMs with Long-Term Memory", arXiv 2311.08719. The
prompts (`prompts/think-in-memory`) are this project's own; the paper's are not known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from halflife.agent.thoughts import Merged, Thought, entity
from halflife.llm.client import Chat


@dataclass
class _Relation:
    head: str
    relation: str
    tail: str
    text: str = ""
    side: Literal["", "query", "response"] = ""


@dataclass
class _Thoughts:
    thoughts: list[_Relation]


@dataclass
class _Untrue:
    untrue: list[int]


@dataclass
class _Group:
    numbers: list[int]
    head: str
    relation: str
    tails: list[str] = field(default_factory=list)
    text: str = ""


@dataclass
class _Groups:
    groups: list[_Group]


class ModelPostThinker:
    """A `PostThinker` that asks a language model.

    Parameters
    ----------
    chat: what is asked.
    chunk: how many thoughts are shown at once, so that a large bucket fits the model's window. Thoughts about one
        head stand together, and are only parted where there are more of them than that.

    Raises
    ------
    UnusableAnswer: from its methods, when an answer is malformed, and so is the one repair that is asked for.
        What came before it is not used either.

    >>> from halflife.llm.callable import CallableChat
    >>> answer = '{"thoughts": [{"head": "Anna", "relation": "lives in", "tail": "Oslo"}]}'
    >>> thinker = ModelPostThinker(Chat(CallableChat(lambda prompt: answer)))
    >>> [thought.text for thought in thinker.think("I moved to Oslo.", "Nice!")]
    ['Anna lives in Oslo.']
    """

    def __init__(self, chat: Chat, chunk: int = 40) -> None:
        self.chat, self.chunk = chat, max(2, chunk)

    def think(self, query: str, response: str) -> list[Thought]:
        """The model's conclusions from a turn."""
        found = self.chat.ask("think-in-memory.think", _Thoughts, check=_said, query=query, response=response)
        return [
            Thought(t.head.strip(), t.relation.strip(), (t.tail.strip(),), source=t.side, wording=t.text.strip())
            for t in found.thoughts
        ]

    def contradictions(self, thoughts: Sequence[Thought]) -> list[str]:
        """The ids of those that the model finds untrue by now."""
        out: list[str] = []
        for part in self._parts(thoughts):
            found = self.chat.ask(
                "think-in-memory.forget", _Untrue, check=_some_of(len(part)), thoughts=[t.text for t in part]
            )
            out += [part[number - 1].id for number in dict.fromkeys(found.untrue)]
        return out

    def merge(self, thoughts: Sequence[Thought]) -> list[Merged]:
        """The groups that the model makes, each with its one thought, which is as new as its newest part."""
        out: list[Merged] = []
        for part in self._parts(thoughts):
            found = self.chat.ask(
                "think-in-memory.merge", _Groups, check=_groups_of(len(part)), thoughts=[t.text for t in part]
            )
            for group in found.groups:
                merged = [part[number - 1] for number in dict.fromkeys(group.numbers)]
                tails = tuple(tail.strip() for tail in group.tails)
                newest = max(thought.created for thought in merged)
                made = Thought(group.head.strip(), group.relation.strip(), tails, newest, wording=group.text.strip())
                out.append(Merged(tuple(thought.id for thought in merged), made))
        return out

    def _parts(self, thoughts: Sequence[Thought]) -> Iterator[list[Thought]]:
        """Chunks of two or more, thoughts about one head together, old before new."""
        order = sorted(thoughts, key=lambda thought: (entity(thought.head), thought.created))
        part: list[Thought] = []
        for i, thought in enumerate(order):
            ahead = sum(entity(other.head) == entity(thought.head) for other in order[i : i + self.chunk])
            begins = not part or entity(part[-1].head) != entity(thought.head)
            if len(part) == self.chunk or (begins and len(part) + ahead > self.chunk):
                yield part
                part = []
            part.append(thought)
        if len(part) > 1:
            yield part


def _said(found: _Thoughts) -> None:
    for thought in found.thoughts:
        if not (thought.head.strip() and thought.relation.strip() and thought.tail.strip()):
            raise ValueError("a head, a relation or a tail is empty.")


def _numbered(numbers: Sequence[int], count: int) -> set[int]:
    if not all(1 <= number <= count for number in numbers):
        raise ValueError(f"{list(numbers)} are not numbers from 1 to {count}.")
    return set(numbers)


def _some_of(count: int) -> Callable[[_Untrue], None]:
    def check(found: _Untrue) -> None:
        if len(_numbered(found.untrue, count)) == count:
            raise ValueError("not every thought can have been made untrue by another.")

    return check


def _groups_of(count: int) -> Callable[[_Groups], None]:
    def check(found: _Groups) -> None:
        seen: set[int] = set()
        for group in found.groups:
            numbers = _numbered(group.numbers, count)
            if len(numbers) < 2 or seen & numbers:
                raise ValueError("a group needs two numbers or more, and a number can be in one group only.")
            seen |= numbers
            words = [group.head, group.relation, *group.tails]
            if not group.tails or not all(word.strip() for word in words):
                raise ValueError("the head, the relation or a tail of a group is empty.")

    return check
