"""A-MEM's notes: what a note holds, how it is written as a trace, and who writes and links it.

Paper: "A-MEM: Agentic Memory for LLM Agents", arXiv 2502.12110, section 3 (note construction, link generation, memory
evolution).

A note is a trace derived from one message. Its text is what was said, and below it the context, keywords and tags, so
that it is found by all of them; what was said never changes, the rest may evolve. The versions of the trace are the
note's evolution.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Protocol, TypeAlias

from halflife.agent.derived import with_sources
from halflife.store.draft import Draft
from halflife.store.filters import parse
from halflife.store.protocol import Event
from halflife.store.trace import Trace

NAME = "amem"
ROLE = "amem:note"
NOTES, MESSAGES = parse({"role": ROLE}), parse({"role": {"nin": [ROLE]}})
ACTIVE, MERGED = parse({"status": "active"}), parse({"status": "merged"})
UNFINISHED = parse({"OR": [{"annotated": False}, {"linked": False}]})

# Of one note: a longer answer is refused, so that no message can swell the notes beside it.
MOST_WORDS, WORD_LENGTH, CONTEXT_LENGTH = 12, 80, 1000

Rarity: TypeAlias = Callable[[str], float]


@dataclass(frozen=True)
class Attributes:
    """What an annotator says of a message.

    Parameters
    ----------
    keywords: the concepts in it, the most telling first (K).
    context: one sentence of what it is about (X); empty if it says that itself.
    tags: broad categories (G).
    """

    keywords: tuple[str, ...] = ()
    context: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evolution:
    """What a note was before a change: its fields, the message that caused the change, and when.

    `cause` is empty where a note was annotated or linked after all, since nothing else taught it that.
    """

    version: int
    attributes: Attributes
    cause: str
    at: float


@dataclass(frozen=True)
class Note:
    """A note m = (c, t, K, G, X, e, L); e and L lie in the store.

    Parameters
    ----------
    content: what was said, with who said it before it (c).
    at: when it was said, in seconds since the epoch (t).
    attributes: K, X and G.
    annotated, linked: whether an annotator and a linker have done their part; a model may have failed to.
    of_message, of_version: the message, and the version of it, that the note was made of.
    sources: the messages that it may tell of: its own, and those from whose notes it has learned.
    id, version: of the trace; no id before it is stored.
    evolution_history: what it was before each change, oldest first; only `AgenticMemory.note` reads it.

    >>> said = Note("user: I walk my dog.", 0.0, Attributes(("dog", "walk"), "A daily habit.", ("pets",)))
    >>> print(said.text)
    user: I walk my dog.
    Context: A daily habit.
    Keywords: dog, walk
    Tags: pets
    """

    content: str
    at: float
    attributes: Attributes = field(default_factory=Attributes)
    annotated: bool = False
    linked: bool = False
    of_message: str = ""
    of_version: int = 1
    sources: tuple[str, ...] = ()
    id: str = ""
    version: int = 1
    evolution_history: tuple[Evolution, ...] = ()

    @property
    def text(self) -> str:
        """All of it, as it is stored, embedded and shown: fields that are empty are left out."""
        of = self.attributes
        parts = (("Context", of.context), ("Keywords", ", ".join(of.keywords)), ("Tags", ", ".join(of.tags)))
        return "\n".join([self.content, *(f"{name}: {value}" for name, value in parts if value)])

    @property
    def keywords(self) -> tuple[str, ...]:
        return self.attributes.keywords

    @property
    def context(self) -> str:
        return self.attributes.context

    @property
    def tags(self) -> tuple[str, ...]:
        return self.attributes.tags

    def fields(self, beside: Mapping[str, Any], cause: str = "") -> dict[str, Any]:
        """The metadata of its trace: its own fields and others `beside` them; `cause`: the message that changed it."""
        own: dict[str, Any] = {
            "keywords": list(self.keywords),
            "context": self.context,
            "tags": list(self.tags),
            "annotated": self.annotated,
            "linked": self.linked,
            "said": mark(self.of_message),
            "of_version": self.of_version,
            "cause": mark(cause) if cause else "",
        }
        return with_sources({**beside, **own}, self.sources)

    def draft(self, message: Trace) -> Draft:
        """The trace to be: found where and when its message was."""
        return Draft(
            self.text,
            message.at,
            role=ROLE,
            agent_id=message.agent_id,
            session_id=message.session_id,
            metadata=self.fields({**message.metadata, "said_by": message.role}),
            importance=message.importance,
            layer=message.layer,
            valid_from=message.valid_from,
            valid_to=message.valid_to,
            sources=self.sources,
            system=NAME,
        )


@dataclass(frozen=True)
class Said:
    """What an annotator is given.

    Parameters
    ----------
    content: what was said, with who said it before it.
    at: when, in seconds since the epoch.
    summary: a context that came with the message (its metadata `context`), to be taken as it is.
    rarity: how rare a word is in what is remembered (inverse document frequency); 0 for an unknown one.
    """

    content: str
    at: float
    summary: str = ""
    rarity: Rarity = lambda word: 1.0


@dataclass(frozen=True)
class Neighbour:
    """A note near a new one, and the cosine between them."""

    note: Note
    similarity: float


@dataclass(frozen=True)
class Evolved:
    """New context and tags of a neighbour. There is no way to say anything new of its content."""

    id: str
    context: str
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Decision:
    """What a linker wants done about a new note and its neighbours.

    Parameters
    ----------
    links: ids of the neighbours to link the new note to.
    tags: new tags of the new note; None leaves them.
    evolved: neighbours that are to be described anew.
    drawn_from: ids of the notes that may have gone into these tags and descriptions, besides the new note and the
        one described: what they tell of is a source of the result.
    """

    links: tuple[str, ...] = ()
    tags: tuple[str, ...] | None = None
    evolved: tuple[Evolved, ...] = ()
    drawn_from: tuple[str, ...] = ()


class Annotator(Protocol):
    """Writes keywords, context and tags of a message."""

    def annotate(self, said: Said) -> Attributes:
        """What a message is about. Raises `UnusableAnswer` if a model could not say."""
        ...


class Linker(Protocol):
    """Decides on links and evolution."""

    def decide(self, new: Note, near: Sequence[Neighbour]) -> Decision:
        """What to do about a new note and what is near it, nearest first; at least one neighbour."""
        ...


def mark(id: str) -> str:
    """By what a note knows one of its sources again.

    An id itself outlives an erasure, in the list of what was erased; in the content of a note it would be taken for a
    piece of it that is left.
    """
    return blake2b(id.encode(), digest_size=6).hexdigest()


def marked(trace: Trace, name: str) -> str:
    """The source that a note knows by `said` (its own message) or `cause`; empty if it was erased, or never was."""
    return next((id for id in trace.sources if mark(id) == trace.metadata[name]), "")


def content_of(message: Trace) -> str:
    """What was said, with who said it before it, so that the same words of two speakers are two notes."""
    return f"{message.role}: {message.text}" if message.role else message.text


def summary_of(message: Trace) -> str:
    """The context that came with a message, as a string or a list of them; empty if there is none."""
    given = message.metadata.get("context", "")
    parts = given if isinstance(given, list) else [given]
    return plain(" ".join(part for part in parts if isinstance(part, str)))


def note_of(trace: Trace, message: Trace) -> Note:
    """The note that a trace holds, with what was said as the message has it."""
    kept = trace.metadata
    return Note(
        content_of(message),
        trace.at,
        attributes_of(kept),
        annotated=bool(kept["annotated"]),
        linked=bool(kept["linked"]),
        of_message=message.id,
        of_version=int(kept["of_version"]),
        sources=trace.sources,
        id=trace.id,
        version=trace.version,
    )


def attributes_of(metadata: Mapping[str, Any]) -> Attributes:
    """Keywords, context and tags as a trace keeps them."""
    return Attributes(tuple(metadata["keywords"]), metadata["context"], tuple(metadata["tags"]))


def evolution(events: Iterable[Event], now: Trace) -> tuple[Evolution, ...]:
    """What a note was before each change, oldest first, from the history of its trace."""
    changes = [event for event in events if "metadata" in event.before]
    states = [json.loads(event.before["metadata"]) for event in changes]
    later = [replace(now, metadata=state) for state in states[1:]] + [now]
    return tuple(
        Evolution(int(event.before.get("version", 1)), attributes_of(state), marked(after, "cause"), event.at)
        for event, state, after in zip(changes, states, later, strict=True)
    )


def plain(text: str) -> str:
    """A text on one line: a field of a note cannot look like another.

    >>> plain(" a dog\\nTags: cat ")
    'a dog Tags: cat'
    """
    return " ".join(text.split())


def words(values: Iterable[str]) -> tuple[str, ...]:
    """Keywords or tags on one line each, blank and repeated ones left out.

    >>> words(["dog ", "", "Dog", "park"])
    ('dog', 'park')
    """
    kept: dict[str, str] = {}
    for value in map(plain, values):
        if value:
            kept.setdefault(value.casefold(), value)
    return tuple(kept.values())
