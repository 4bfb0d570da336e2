"""What a search gives back, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from halflife.store.timeparse import format_time
from halflife.store.trace import Trace

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  # dates before it are negative, which fromtimestamp refuses
PART_NAMES = {
    "semantic": "meaning",
    "keyword": "words",
    "time": "named time",
    "voice": "said by whom it asks about",
    "link": "linked to a match",
}


@dataclass(frozen=True)
class Explanation:
    """How a score came about.

    `sum(parts) == relevance`, and `relevance * substance * retention ** fading * importance == score`.
    """

    parts: Mapping[str, float]
    relevance: float
    substance: float
    retention: float
    fading: float
    importance: float
    score: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "parts": dict(self.parts), "relevance": self.relevance, "substance": self.substance,
            "retention": self.retention, "fading": self.fading, "importance": self.importance, "score": self.score,
        }  # fmt: skip

    def __str__(self) -> str:
        parts = " + ".join(f"{PART_NAMES.get(k, k)} {v:.3f}" for k, v in self.parts.items() if v)
        return (
            f"{self.score:.3f} = relevance {self.relevance:.3f} ({parts}) x substance {self.substance:.3f} "
            f"x retention {self.retention:.3f}^{self.fading:g} x importance {self.importance:.3f}"
        )


@dataclass(frozen=True)
class Hit:
    """A memory found. `also` holds the ids of near-duplicates that were left out in its favour."""

    trace: Trace
    score: float
    retention: float
    _parts: Mapping[str, float] = field(repr=False)
    _importance: float = field(repr=False)
    _fading: float = field(repr=False, default=1.0)
    _substance: float = field(repr=False, default=1.0)
    also: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return self.trace.id

    @property
    def text(self) -> str:
        return self.trace.text

    @property
    def at(self) -> datetime:
        """When it was said or happened (UTC)."""
        return _EPOCH + timedelta(seconds=self.trace.at)

    @property
    def role(self) -> str | None:
        return self.trace.role

    @property
    def agent_id(self) -> str | None:
        return self.trace.agent_id

    @property
    def session_id(self) -> str | None:
        return self.trace.session_id

    @property
    def metadata(self) -> Mapping[str, Any]:
        return self.trace.metadata

    def explain(self) -> Explanation:
        """What each part gave to the score."""
        return Explanation(
            self._parts,
            sum(self._parts.values()),
            self._substance,
            self.retention,
            self._fading,
            self._importance,
            self.score,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        t = self.trace
        return {
            "id": t.id, "text": t.text, "at": format_time(t.at), "role": t.role, "user_id": t.space.user_id,
            "agent_id": t.agent_id, "session_id": t.session_id, "metadata": dict(t.metadata), "layer": t.layer,
            "score": self.score, "explain": self.explain().to_dict(), "also": list(self.also),
        }  # fmt: skip
