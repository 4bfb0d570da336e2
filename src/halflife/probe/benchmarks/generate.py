"""Generated histories in LongMemEval's own schema: people tell facts in passing, in chats about something else.

Wu et al., "LongMemEval" (arXiv 2410.10813), section 3: evidence is hidden among sessions of other people, none of
which tells of the attribute asked for, and chats that tell nothing. A `World` holds every session once; each question
draws a haystack from it, so that its texts are embedded once however many questions there are.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from halflife.errors import InvalidInput
from halflife.probe.benchmarks.generate_texts import (
    ASIDES,
    EVENTS,
    EXPENSES,
    FACTS,
    FRAMES,
    REPLIES,
    TASTES,
    TOPICS,
    Attribute,
)
from halflife.probe.benchmarks.history import History
from halflife.probe.benchmarks.longmemeval import history

Rng: TypeAlias = np.random.Generator

KINDS = (
    "single-session-user",
    "single-session-preference",
    "multi-session",
    "knowledge-update",
    "temporal-reasoning",
)
ASKED_AT = datetime(2023, 6, 30, 18, 0, tzinfo=UTC)
SPAN = 150  # days that a history covers
APART = 25  # days between an event and others of its kind, at least
ROUNDS, SENTENCES = 5, 5  # of a session, and of a user turn
ABSENT = 16  # one question in so many cannot be answered


@dataclass(frozen=True, slots=True)
class Session:
    """A session of a world.

    Args:
        id: Its name in the world.
        attribute: What it tells of; empty for a chat that tells nothing.
        turns: Role and text of each turn.
        told: Which turn tells it; -1 for none.
    """

    id: str
    attribute: str
    turns: tuple[tuple[str, str], ...]
    told: int


@dataclass(frozen=True, slots=True)
class Case:
    """A question and what belongs to it.

    Args:
        kind: Its type.
        attribute: What it asks for.
        text: The question; `{when}` stands for a stretch of time that is known once the event has a date.
        answer: Its answer.
        evidence: Ids of the sessions that hold it, in the order in which they took place.
        others: Ids of sessions of the same person about other such events, which are in the history too.
    """

    kind: str
    attribute: str
    text: str
    answer: str
    evidence: tuple[str, ...]
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class World:
    """Everything that was ever said, and what may be asked of it."""

    sessions: Mapping[str, Session]
    cases: tuple[Case, ...]


def world(seed: int, *, questions: int = 200, personas: int = 120, chats: int = 120) -> World:
    """A world of people and chats.

    Parameters
    ----------
    seed: where all of it comes from.
    questions: how many may be asked, the five types in turn. Four questions about events share one person's four.
    personas: how many people; each tells of what a question is about, in turn.
    chats: how many sessions tell nothing.

    Errors
    ------
    InvalidInput: no question, no persona, or a negative number of chats.

    >>> small = world(0, questions=5, chats=3)
    >>> [case.kind for case in small.cases][:2], len(small.sessions)
    (['single-session-user', 'single-session-preference'], 13)
    """
    if questions < 1 or personas < 1 or chats < 0:
        raise InvalidInput(
            f"A world of {questions} questions, {personas} personas and {chats} chats cannot be made.",
            "It needs a question and a persona at least.",
        )
    maker = _Maker(np.random.default_rng([seed, 64]), personas)
    cases: list[Case] = []
    events: list[Case] = []
    for i in range(questions):
        kind = KINDS[i % len(KINDS)]
        if kind == "temporal-reasoning":
            events = events or maker.events()
            cases.append(events.pop(0))
        else:
            cases.append(maker.case(kind))
    for _ in range(chats):
        maker.session("", "")
    return World(maker.sessions, tuple(cases))


def instances(world: World, seed: int, *, sessions: int = 300) -> Iterator[dict[str, Any]]:
    """Each question of a world in LongMemEval's schema, with a haystack drawn for it.

    Evidence sits at random times, an old fact before the new one; other events of the same person are at least
    `APART` days away; fillers tell nothing of what is asked. One question in `ABSENT` has its evidence left out.

    Parameters
    ----------
    world: where the sessions come from.
    seed: where fillers, dates and abstentions come from.
    sessions: how many a history has.

    Errors
    ------
    InvalidInput: the world has too few sessions that do not conflict with a question.

    >>> one = next(instances(world(0, questions=5, chats=20), 0, sessions=12))
    >>> len(one["haystack_sessions"]), one["question_date"], one["answer_session_ids"][0][:7]
    (12, '2023/06/30 (Fri) 18:00', 'answer_')
    """
    rng = np.random.default_rng([seed, 410])
    for number, case in enumerate(world.cases):
        yield _instance(world, case, number, rng, sessions)


def histories(count: int = 48, *, sessions: int = 24, seed: int = 0) -> Iterator[History]:
    """A few histories for where no published data are at hand: small, and the same on every machine.

    Parameters
    ----------
    count: how many, each with one question. sessions: of each. seed: of all.

    >>> [len(history.questions) for history in histories(2, sessions=4)]
    [1, 1]
    """
    made = instances(world(seed, questions=count, personas=24, chats=max(24, sessions)), seed, sessions=sessions)
    return (history(instance) for instance in islice(made, count))


def write(rows: Iterator[dict[str, Any]] | Sequence[dict[str, Any]], path: str | Path) -> None:
    """Write instances as LongMemEval publishes them, for `longmemeval.read`; compressed if the name ends in .gz."""
    data = json.dumps(list(rows), ensure_ascii=False).encode()
    path = Path(path)
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


# -- sessions -------------------------------------------------------------------------------------------------


class _Maker:
    """Makes the sessions of a world, and the questions about them."""

    def __init__(self, rng: Rng, personas: int) -> None:
        self.rng, self.personas = rng, personas
        self.sessions: dict[str, Session] = {}
        self._cases = 0

    def session(self, attribute: str, fact: str) -> str:
        """A chat about some topic, with a fact told in one of its turns; gives its id."""
        topic = TOPICS[self.rng.integers(len(TOPICS))]
        told = int(self.rng.integers(ROUNDS)) if fact else -1
        turns: list[tuple[str, str]] = []
        for i in range(ROUNDS):
            said = [self._sentence(frame, topic) for frame in self.rng.permutation(FRAMES)[:SENTENCES]]
            if i == told:
                said.insert(int(self.rng.integers(len(said) + 1)), f"{self._one(ASIDES)} {fact}.")
            turns += [("user", " ".join(said)), ("assistant", self._sentence(self._one(REPLIES), topic))]
        id = f"{self.rng.integers(16**8):08x}_{len(self.sessions)}"
        self.sessions[id] = Session(id, attribute, tuple(turns), 2 * told if fact else -1)
        return id

    def case(self, kind: str) -> Case:
        """A question of a type, and its evidence."""
        if kind == "multi-session":
            return self._expenses()
        of = self._attribute(
            {
                "single-session-user": FACTS,
                "single-session-preference": TASTES,
                "knowledge-update": tuple(fact for fact in FACTS if fact.changed),
            }[kind]
        )
        old, new = (str(value) for value in self.rng.permutation(of.values)[:2])
        told = [self.session(of.name, self._one(of.told).format(v=old))]
        answer = old
        if kind == "knowledge-update":
            told.append(self.session(of.name, self._one(of.changed).format(v=new)))
            answer = new
        elif kind == "single-session-preference":
            answer = f"The user would prefer a suggestion that takes up {old}."
        return Case(kind, of.name, self._one(of.asked), answer, tuple(told))

    def events(self) -> list[Case]:
        """Four events of one person, and a question for each."""
        of = self._attribute(EVENTS)
        values = [str(value) for value in self.rng.permutation(of.values)[:4]]
        told = [self.session(of.name, self._one(of.told).format(v=value)) for value in values]
        return [
            Case("temporal-reasoning", of.name, self._one(of.asked), value, (id,), tuple(o for o in told if o != id))
            for id, value in zip(told, values, strict=True)
        ]

    def _expenses(self) -> Case:
        of = self._attribute(EXPENSES)
        items = self.rng.permutation(of.values)[: 2 + int(self.rng.integers(2))]
        prices = self.rng.integers(12, 190, len(items))
        told = [
            self.session(of.name, self._one(of.told).format(v=item, p=price))
            for item, price in zip(items, prices, strict=True)
        ]
        return Case("multi-session", of.name, self._one(of.asked), f"{prices.sum()} dollars", tuple(told))

    def _attribute(self, table: Sequence[Attribute]) -> Attribute:
        """What the next person tells of: people take the attributes of a table in an order of their own."""
        persona, round_ = self._cases % self.personas, self._cases // self.personas
        self._cases += 1
        order = np.random.default_rng([persona, len(table)]).permutation(len(table))
        return table[int(order[round_ % len(table)])]

    def _sentence(self, frame: str, topic: Sequence[str]) -> str:
        a, b = self.rng.permutation(topic)[:2]
        text = frame.format(a=a, b=b)
        return text[:1].upper() + text[1:] + ("" if text.endswith("?") else ".")

    def _one(self, texts: Sequence[str]) -> str:
        return texts[int(self.rng.integers(len(texts)))]


# -- haystacks ------------------------------------------------------------------------------------------------


def _instance(world: World, case: Case, number: int, rng: Rng, sessions: int) -> dict[str, Any]:
    absent = number % ABSENT == ABSENT - 1
    kept = () if absent else (*case.evidence, *case.others)
    fillers = [id for id, session in world.sessions.items() if session.attribute != case.attribute]
    if len(fillers) < sessions - len(kept) or sessions < len(kept):
        raise InvalidInput(
            f"A history of {sessions} sessions cannot be made: {len(kept)} belong to the question, "
            f"and {len(fillers)} do not conflict with it.",
            "Make a world of more chats, or ask for another number of sessions.",
        )
    times = _times(case, rng)
    drawn = rng.choice(fillers, sessions - len(kept), replace=False)
    placed = [(times[id], id) for id in kept] + [(_moment(rng), str(id)) for id in drawn]
    placed.sort()
    evidence = () if absent else case.evidence
    names = {id: f"answer_{id}" if id in evidence else id for _, id in placed}
    return {
        "question_id": f"{case.attribute}_{number}{'_abs' if absent else ''}",
        "question_type": case.kind,
        "question": case.text.format(when=_when(times[case.evidence[0]], rng)),
        "answer": "You did not mention it." if absent else case.answer,
        "question_date": _date(ASKED_AT),
        "haystack_session_ids": [names[id] for _, id in placed],
        "haystack_dates": [_date(at) for at, _ in placed],
        "haystack_sessions": [_turns(world.sessions[id], id in evidence) for _, id in placed],
        "answer_session_ids": [names[id] for id in evidence],
    }


def _turns(session: Session, evidence: bool) -> list[dict[str, Any]]:
    """The turns of a session; only as evidence do they say where the fact is."""
    return [
        {"role": role, "content": text} | ({"has_answer": n == session.told} if evidence else {})
        for n, (role, text) in enumerate(session.turns)
    ]


def _times(case: Case, rng: Rng) -> dict[str, datetime]:
    """When the sessions of a question took place: evidence in its order, other events far from it."""
    times = dict(zip(case.evidence, sorted(_moment(rng) for _ in case.evidence), strict=True))
    event = times[case.evidence[0]]
    for id in case.others:
        at = _moment(rng)
        while abs(at - event) < timedelta(days=APART):
            at = _moment(rng)
        times[id] = at
    return times


def _moment(rng: Rng) -> datetime:
    """Some minute of the days that a history covers; none is on the day of the question."""
    start = ASKED_AT.replace(hour=0) - timedelta(days=SPAN)
    return start + timedelta(minutes=int(rng.integers(SPAN * 24 * 60)))


def _when(at: datetime, rng: Rng) -> str:
    """A stretch of time around a moment, as one would say it."""
    month = f"{at:%B}"
    weeks = (ASKED_AT.date() - at.date() + timedelta(days=at.weekday() - ASKED_AT.weekday())).days // 7
    first = at - timedelta(days=int(rng.integers(5)))
    last = first + timedelta(days=5)
    ways = [
        f"on {month} {at.day}",
        f"in {('early', 'mid', 'late')[min((at.day - 1) // 10, 2)]} {month}",
        f"between {first:%B} {first.day} and {last:%B} {last.day}",
        f"{weeks} weeks ago",
    ]
    return ways[rng.integers(len(ways) if weeks > 1 else 3)]


def _date(at: datetime) -> str:
    return f"{at:%Y/%m/%d (%a) %H:%M}"
