"""A-MEM with a language model: note construction, and link generation with memory evolution.

Paper: "A-MEM: Agentic Memory for LLM Agents", arXiv 2502.12110, sections 3.1 to 3.3. One call a step, as in the
released code. What the model answers is checked: it names neighbours by the numbers under which it was shown them,
and can say nothing but links, tags and contexts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from halflife.agent.amem_notes import (
    CONTEXT_LENGTH,
    MOST_WORDS,
    WORD_LENGTH,
    Attributes,
    Decision,
    Evolved,
    Neighbour,
    Note,
    Said,
    plain,
    words,
)
from halflife.llm.client import Chat
from halflife.store.timeparse import format_time


@dataclass
class Annotation:
    """The answer to `amem.note`."""

    keywords: list[str]
    context: str | list[str]
    tags: list[str]


@dataclass
class Described:
    """A neighbour described anew, by its number."""

    number: int
    context: str | list[str]
    tags: list[str]


@dataclass
class Links:
    """The answer to `amem.evolve`: empty lists change nothing."""

    connect: list[int] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    neighbours: list[Described] = field(default_factory=list)


@dataclass
class Keywords:
    """The answer to `amem.keywords`."""

    keywords: list[str]


class ModelAnnotator:
    """A language model writes keywords, context and tags."""

    def __init__(self, chat: Chat) -> None:
        self.chat = chat

    def annotate(self, said: Said) -> Attributes:
        """One call. A summary that came with the message stays its context. Raises `UnusableAnswer`."""
        answer = self.chat.ask(
            "amem.note", Annotation, check=_check_annotation, content=said.content, time=format_time(said.at)
        )
        return Attributes(words(answer.keywords), said.summary or _joined(answer.context), words(answer.tags))


class ModelLinker:
    """A language model chooses links, and describes the new note's neighbours anew.

    Whatever it writes may tell of every note that it was shown, and counts as drawn from all of them.
    """

    def __init__(self, chat: Chat) -> None:
        self.chat = chat

    def decide(self, new: Note, near: Sequence[Neighbour]) -> Decision:
        """One call. Raises `UnusableAnswer`."""
        answer = self.chat.ask(
            "amem.evolve",
            Links,
            check=lambda links: _check_links(links, len(near)),
            max_tokens=1024,
            note=new.text,
            neighbours=[_line(one.note) for one in near],
        )
        ids = [one.note.id for one in near]
        return Decision(
            tuple(ids[number - 1] for number in answer.connect),
            words(answer.tags) or None,
            tuple(Evolved(ids[d.number - 1], _joined(d.context), words(d.tags)) for d in answer.neighbours),
            drawn_from=tuple(ids),
        )


def keywords_of(chat: Chat, question: str) -> str:
    """A question as keywords to search by (paper, section 3.4). Raises `UnusableAnswer`."""
    answer = chat.ask("amem.keywords", Keywords, check=_check_keywords, question=question)
    return " ".join(words(answer.keywords))


def _line(note: Note) -> str:
    """A note on one line: when it was said, what, and its fields."""
    return f"[{format_time(note.at)}] {' | '.join(note.text.splitlines())}"


def _joined(context: str | list[str]) -> str:
    return plain(context if isinstance(context, str) else " ".join(context))


def _check_annotation(answer: Annotation) -> None:
    _check_words("keywords", answer.keywords)
    _check_words("tags", answer.tags)
    _check_context(answer.context)


def _check_links(answer: Links, shown: int) -> None:
    _check_words("tags", answer.tags)
    described = [one.number for one in answer.neighbours]
    for what, numbers in (("connect", answer.connect), ("neighbours", described)):
        if wrong := [number for number in numbers if not 1 <= number <= shown]:
            raise ValueError(f"{what}: there is no neighbour {wrong[0]}; they are numbered from 1 to {shown}.")
        if len(set(numbers)) < len(numbers):
            raise ValueError(f"{what}: a neighbour is named twice.")
    for one in answer.neighbours:
        _check_words(f"tags of neighbour {one.number}", one.tags)
        _check_context(one.context)


def _check_keywords(answer: Keywords) -> None:
    _check_words("keywords", answer.keywords)
    if not words(answer.keywords):
        raise ValueError("keywords: there is none.")


def _check_words(what: str, values: Sequence[str]) -> None:
    if len(values) > MOST_WORDS:
        raise ValueError(f"{what}: {len(values)} are too many, {MOST_WORDS} is the most.")
    if any(len(value) > WORD_LENGTH for value in values):
        raise ValueError(f"{what}: one is longer than {WORD_LENGTH} characters.")


def _check_context(context: str | list[str]) -> None:
    if len(_joined(context)) > CONTEXT_LENGTH:
        raise ValueError(f"context: it is longer than {CONTEXT_LENGTH} characters.")
