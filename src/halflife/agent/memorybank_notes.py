"""MemoryBank's notes: what a day was about, what it showed of the user, and both over all days.

Paper: arXiv 2305.10250, section 2.1 (hierarchical event summary, dynamic personality understanding).

Notes are traces derived from turns, and know their sources, so that erasing the turns of a day erases its notes.
A note that has lost one source and kept others may still tell of it: it is erased and written anew by the next
`refresh`. Day summaries can be recalled; portraits and what is over all days are for the prompt, and have no
vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

from halflife.agent.derived import erase_stale, with_sources
from halflife.agent.engine import Engine
from halflife.agent.summarise import central
from halflife.store.draft import Draft
from halflife.store.erase import ErasureReport
from halflife.store.filters import parse
from halflife.store.protocol import Why
from halflife.store.trace import Space, Trace

Kind: TypeAlias = Literal["summary", "portrait"]
KINDS: tuple[Kind, ...] = ("summary", "portrait")

ACTOR = "memorybank"
ROLE: dict[Kind, str] = {kind: f"{ACTOR}:{kind}" for kind in KINDS}
OVERALL: dict[Kind, str] = {kind: f"{ACTOR}:overall-{kind}" for kind in KINDS}
DAILY = frozenset(ROLE.values())
ROLES = (*ROLE.values(), *OVERALL.values())
UNSEARCHED = frozenset(ROLES) - {ROLE["summary"]}
NOTES = parse({"role": {"in": list(ROLES)}})
TURNS = parse({"role": {"nin": list(ROLES)}})
ACTIVE = parse({"status": "active"})

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  # dates before it are negative, which fromtimestamp refuses


def date_of(at: float) -> str:
    """The day of a time, in UTC.

    >>> date_of(0.0), date_of(-1.0)
    ('1970-01-01', '1969-12-31')
    """
    return str((_EPOCH + timedelta(seconds=at)).date())


class Notes:
    """The notes of the spaces of an engine.

    Parameters
    ----------
    engine: where turns and notes are. Its language model writes the notes; without one they are the central sentences
        of the turns (for a portrait, of what the user said).
    sentences: how many, without a model.
    """

    def __init__(self, engine: Engine, sentences: int = 3) -> None:
        self.engine, self.sentences = engine, sentences

    def all(self, space: Space) -> list[Trace]:
        """Every note in use, oldest day first."""
        return self.engine.store.find(space, NOTES & ACTIVE)[::-1]

    def daily(self, space: Space, kind: Kind) -> dict[str, str]:
        """The notes of one kind, by date."""
        return {date_of(note.at): content(note) for note in self.all(space) if note.role == ROLE[kind]}

    def overall(self, space: Space, kind: Kind) -> str:
        """The note over all days; empty if there is none."""
        return next((content(note) for note in self.all(space) if note.role == OVERALL[kind]), "")

    def refresh(self, space: Space, now: float) -> tuple[list[str], list[str]]:
        """Write every note that is missing or out of date. Nothing is done twice.

        Returns the dates with new notes, and those for which the model answered with nothing (tried again at the
        next call).
        """
        self.mend(space, now)
        noted: set[str] = set()
        failed: set[str] = set()
        days = self._days(space)
        for kind in KINDS:
            old = {date_of(note.at): note for note in self.all(space) if note.role == ROLE[kind]}
            for date, turns in days.items():
                known = old.get(date)
                if known is not None and {turn.id for turn in turns} <= set(known.sources):
                    continue
                if text := self._daily_text(kind, date, turns):
                    self._replace(space, known, note(kind, date, text, [turn.id for turn in turns]), now)
                    noted.add(date)
                else:
                    failed.add(date)
            self._refresh_overall(space, kind, now)
        return sorted(noted), sorted(failed)

    def take_in(self, space: Space, notes: Sequence[tuple[Kind, str, str]], now: float) -> None:
        """Store notes that were written elsewhere: kind, date (empty: over all days), text."""
        days = self._days(space)
        drafts = [note(kind, date, text, [t.id for t in days[date]]) for kind, date, text in notes if date in days]
        self._store(space, drafts, now)
        for kind, date, text in notes:
            if not date:
                parts = [n.id for n in self.all(space) if n.role == ROLE[kind]]
                self._store(
                    space, [overall(kind, text, parts or [t.id for day in days.values() for t in day], now)], now
                )

    def _days(self, space: Space) -> dict[str, list[Trace]]:
        """The turns that are remembered, by date, oldest first."""
        days: dict[str, list[Trace]] = {}
        for turn in reversed(self.engine.store.find(space, TURNS & ACTIVE)):
            days.setdefault(date_of(turn.at), []).append(turn)
        return days

    def _daily_text(self, kind: Kind, date: str, turns: Sequence[Trace]) -> str:
        chat = self.engine.chat
        if chat is None:
            texts = [turn.text for turn in turns] if kind == "summary" else [sides(turn)[0] for turn in turns]
            return " ".join(central([text for text in texts if text], self.engine.embedder, self.sentences))
        talk = "\n".join(
            f"{who}: {side}" for turn in turns for who, side in zip(("User", "AI"), sides(turn), strict=True) if side
        )
        return chat.text(f"{ACTOR}.{kind}", date=date, conversation=talk)

    def _refresh_overall(self, space: Space, kind: Kind, now: float) -> None:
        notes = self.all(space)
        parts = [note for note in notes if note.role == ROLE[kind]]
        known = next((note for note in notes if note.role == OVERALL[kind]), None)
        if known is not None and {part.id for part in parts} == set(known.sources):
            return
        texts = [f"{date_of(part.at)}: {content(part)}" for part in parts]
        if not texts:
            text = ""
        elif self.engine.chat is None:
            text = " ".join(central([content(part) for part in parts], self.engine.embedder, self.sentences))
        else:
            text = self.engine.chat.text(f"{ACTOR}.overall-{kind}", days=texts)
        fresh = overall(kind, text, [part.id for part in parts], now) if text else None
        if known is not None or fresh is not None:
            self._replace(space, known, fresh, now)

    def _replace(self, space: Space, old: Trace | None, new: Draft | None, now: float) -> None:
        if new is not None and new.role == ROLE["summary"]:
            [new.vectors] = self.engine.embed([new.text])  # outside the transaction, which others wait for
        with self.engine.store.transaction():
            if old is not None:
                self.engine.store.set_status([old.id], "retired", Why("summarise", ACTOR), now)
            if new is not None:
                self._store(space, [new], now)

    def _store(self, space: Space, drafts: Sequence[Draft], now: float) -> None:
        searched = [draft for draft in drafts if draft.role not in UNSEARCHED]
        why = Why("summarise", ACTOR)
        self.engine.write(space, searched, why, now)
        unsearched, _ = self.engine.redacted([draft for draft in drafts if draft.role in UNSEARCHED])
        self.engine.store.add(space, unsearched, why, now)

    def mend(self, space: Space, now: float) -> list[ErasureReport]:
        """A note, in use or not, that lost a source is erased for good, and so is what was made of it."""
        return erase_stale(self.engine, space, NOTES, ACTOR, now)


def note(kind: Kind, date: str, text: str, sources: Sequence[str]) -> Draft:
    """The note of a day. Its text begins with the date, so that no two days have the same."""
    at = (datetime.fromisoformat(date).replace(tzinfo=UTC) - _EPOCH).total_seconds()
    return Draft(
        f"{date}: {text}",
        at,
        role=ROLE[kind],
        metadata=with_sources({}, sources),
        sources=tuple(sources),
        system=ACTOR,
    )


def overall(kind: Kind, text: str, sources: Sequence[str], now: float) -> Draft:
    """A note over all days."""
    return Draft(
        text, now, role=OVERALL[kind], metadata=with_sources({}, sources), sources=tuple(sources), system=ACTOR
    )


def content(note: Trace) -> str:
    """What a note says, without the date before it."""
    return note.text.partition(": ")[2] if note.role in DAILY else note.text


def sides(turn: Trace) -> tuple[str, str]:
    """The two sides of a turn; one is empty if only one was said."""
    start = turn.metadata.get("response_at")
    if isinstance(start, int) and turn.text[start - 1 : start] == "\n":
        return turn.text[: start - 1], turn.text[start:]
    return ("", turn.text) if turn.role == "assistant" else (turn.text, "")
