"""What every benchmark of conversation memory is made of: a history of items, and questions with their evidence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that was said: a turn, a message, or a whole session where the benchmark counts those.

    Args:
        id: Name of the item in its benchmark, unique in its history.
        text: What was said, as a user would store it.
        at: When it was said (Unix seconds), None if unknown.
        session: Id of the conversation it belongs to.
        speaker: Who said it: a name, or ``"user"`` / ``"assistant"``.

    >>> Item("D1:3", "I adopted a dog.", at=0.0, session="session_1", speaker="Ann").speaker
    'Ann'
    """

    id: str
    text: str
    at: float | None = None
    session: str | None = None
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A question and where its answer stands.

    Args:
        id: Name of the question, unique in its benchmark.
        text: The question.
        asked_at: When it is asked (Unix seconds); None means after everything.
        kind: Type of question, as the benchmark names it.
        gold: Ids of the items that hold the evidence. Empty: not counted in retrieval (and said how many).
        gold_sessions: Ids of the sessions that hold the evidence.
        answer: The answer given by the benchmark.
    """

    id: str
    text: str
    asked_at: float | None
    kind: str
    gold: frozenset[str] = frozenset()
    gold_sessions: frozenset[str] = frozenset()
    answer: str = ""


@dataclass(frozen=True, slots=True)
class History:
    """One haystack: everything that one user has said, in order of time, and the questions asked of it."""

    id: str
    items: tuple[Item, ...]
    questions: tuple[Question, ...] = field(default=())


class Retriever(Protocol):
    """A memory under test: it takes a history in, and ranks its items for a question."""

    name: str

    def ingest(self, history: History) -> None:
        """Store a history (a new, empty memory for each call)."""

    def search(self, question: Question, k: int) -> list[str]:
        """Ids of the `k` best items of the history last ingested, best first."""

    def close(self) -> None:
        """Give back files and memory."""
