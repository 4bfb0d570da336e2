"""Post-thinking by a language model: three prompts, and answers that are checked before anything is believed.

Paper: "Think-in-Memory: Recalling and Post-thinking Enable LLMs with Long-Term Memory", arXiv 2311.08719. The
prompts are this project's own; the paper's are not known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from halflife.agent.summarise import TextModel
from halflife.agent.thoughts import Merged, Thought, entity
from halflife.errors import HalflifeError

T = TypeVar("T")

_THINK = """From this exchange, list what can be concluded about people, places and things, each as one relation.

User: {query}
AI: {response}

Answer with JSON only, of this schema; an empty list if there is nothing to conclude:
{{"thoughts": [{{"head": "entity", "relation": "verb phrase", "tail": "entity or value", "text": "the conclusion as a \
sentence", "from": "query" or "response"}}]}}"""

_FORGET = """These thoughts are numbered from old to new. Which of them have others in the list made untrue?

{thoughts}

Answer with JSON only, of this schema; an empty list if there is none:
{{"untrue": [numbers]}}"""

_MERGE = """These thoughts are numbered from old to new. Group those that are about the same head entity and can be \
said in one sentence, and say them so, without adding or losing anything.

{thoughts}

Answer with JSON only, of this schema, with groups of two or more; an empty list if there is none:
{{"groups": [{{"numbers": [numbers], "head": "entity", "relation": "verb phrase", "tails": ["entity or value"], \
"text": "the sentence"}}]}}"""

_REPAIR = """This answer cannot be used: {why}

{answer}

Write it again, as JSON only, of the schema that was asked for:

{prompt}"""


class UnusableAnswer(HalflifeError):
    """A language model did not answer in the form asked for, twice."""


class ModelPostThinker:
    """A `PostThinker` that asks a language model.

    Parameters
    ----------
    model: what is asked.
    chunk: how many thoughts are shown at once, so that a large bucket fits the model's window. Thoughts about one
        head stand together, and are only parted where there are more of them than that.

    Raises
    ------
    UnusableAnswer: from its methods, when an answer is malformed, and so is the one repair that is asked for.
        What came before it is not used either.

    >>> class Scripted:
    ...     def complete(self, prompt: str) -> str:
    ...         return '{"thoughts": [{"head": "Anna", "relation": "lives in", "tail": "Oslo"}]}'
    >>> [thought.text for thought in ModelPostThinker(Scripted()).think("I moved to Oslo.", "Nice!")]
    ['Anna lives in Oslo.']
    """

    def __init__(self, model: TextModel, chunk: int = 40) -> None:
        self.model, self.chunk = model, max(2, chunk)

    def think(self, query: str, response: str) -> list[Thought]:
        """The model's conclusions from a turn."""
        return self._ask(_THINK.format(query=query, response=response), _thoughts)

    def contradictions(self, thoughts: Sequence[Thought]) -> list[str]:
        """The ids of those that the model finds untrue by now."""
        out: list[str] = []
        for part in self._parts(thoughts):
            numbers = self._ask(_FORGET.format(thoughts=_listed(part)), partial(_untrue, count=len(part)))
            out += [part[i].id for i in numbers]
        return out

    def merge(self, thoughts: Sequence[Thought]) -> list[Merged]:
        """The groups that the model makes, each with its one thought, which is as new as its newest part."""
        out: list[Merged] = []
        for part in self._parts(thoughts):
            groups = self._ask(_MERGE.format(thoughts=_listed(part)), partial(_groups, count=len(part)))
            for numbers, item in groups:
                newest = max(part[i].created for i in numbers)
                out.append(
                    Merged(
                        tuple(part[i].id for i in numbers),
                        Thought(item["head"], item["relation"], tuple(item["tails"]), newest, wording=item["text"]),
                    )
                )
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

    def _ask(self, prompt: str, read: Callable[[Any], T]) -> T:
        answer = self.model.complete(prompt)
        try:
            return read(_json(answer))
        except ValueError as error:
            repaired = self.model.complete(_REPAIR.format(why=error, answer=answer, prompt=prompt))
        try:
            return read(_json(repaired))
        except ValueError as error:
            raise UnusableAnswer(
                f"The language model's answer is not of the form asked for: {error}",
                "Try again, or use a model that writes JSON reliably.",
            ) from None


def _json(answer: str) -> Any:
    """The JSON object in an answer, which may stand in a fence or between words."""
    match = re.search(r"\{.*\}", answer, re.DOTALL)
    if match is None:
        raise ValueError("there is no JSON object in it.")
    return json.loads(match.group())


def _list(answer: Any, key: str) -> list[Any]:
    if not isinstance(answer, dict) or not isinstance(answer.get(key), list):
        raise ValueError(f"it has no list {key!r}.")
    return list(answer[key])


def _word(item: Any, key: str, needed: bool = True) -> str:
    value = item.get(key, "") if isinstance(item, dict) else None
    if not isinstance(value, str) or (needed and not value.strip()):
        raise ValueError(f"{key!r} is not a text in {json.dumps(item)}.")
    return value.strip()


def _thoughts(answer: Any) -> list[Thought]:
    return [
        Thought(
            _word(item, "head"), _word(item, "relation"), (_word(item, "tail"),),
            source=_word(item, "from", needed=False), wording=_word(item, "text", needed=False),
        )
        for item in _list(answer, "thoughts")
    ]  # fmt: skip


def _numbers(values: Any, count: int) -> list[int]:
    """Numbers from 1 as positions from 0, each once."""
    if not isinstance(values, list) or not all(type(n) is int and 1 <= n <= count for n in values):
        raise ValueError(f"{json.dumps(values)} is not a list of numbers from 1 to {count}.")
    return list(dict.fromkeys(n - 1 for n in values))


def _untrue(answer: Any, count: int) -> list[int]:
    numbers = _numbers(_list(answer, "untrue"), count)
    if len(numbers) == count:
        raise ValueError("not every thought can have been made untrue by another.")
    return numbers


def _groups(answer: Any, count: int) -> list[tuple[list[int], dict[str, Any]]]:
    out: list[tuple[list[int], dict[str, Any]]] = []
    seen: set[int] = set()
    for item in _list(answer, "groups"):
        numbers = _numbers(item.get("numbers") if isinstance(item, dict) else None, count)
        if len(numbers) < 2 or seen & set(numbers):
            raise ValueError("a group needs two numbers or more, and a number can be in one group only.")
        seen |= set(numbers)
        tails = item.get("tails")
        if not isinstance(tails, list) or not tails or not all(isinstance(t, str) and t.strip() for t in tails):
            raise ValueError(f"'tails' is not a list of texts in {json.dumps(item)}.")
        fields = {"head": _word(item, "head"), "relation": _word(item, "relation"), "text": _word(item, "text", False)}
        out.append((numbers, {**fields, "tails": [tail.strip() for tail in tails]}))
    return out


def _listed(thoughts: Sequence[Thought]) -> str:
    return "\n".join(f"{i}. {thought.text}" for i, thought in enumerate(thoughts, start=1))
