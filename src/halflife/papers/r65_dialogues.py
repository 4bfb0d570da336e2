"""Generated dialogues for Memory-R1: who says what, the frozen reader of a bank, and the right operations.

A dialogue is a list of turns, each one fact, drawn from a `World`. What is true after each turn is known, so that any
bank can be judged by the reader's answers from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np

from halflife.agent.bank import Entry
from halflife.agent.facts import Fact, facts_of
from halflife.agent.manager import Candidate
from halflife.agent.thoughts import sentences
from halflife.llm.embedder import Embedder
from halflife.papers.r65_worlds import NAMES, SYLLABLES, Kind, World

Phase: TypeAlias = Literal["first", "then", "repeat", "talk"]
Topic: TypeAlias = tuple[str, str]
"""A person and the name of a kind: what a question asks for."""
Truth: TypeAlias = Mapping[Topic, frozenset[str]]


@dataclass(frozen=True)
class Turn:
    """One fact of a dialogue, and what is true after it."""

    fact: Fact
    phase: Phase
    kind: str
    topic: Topic | None
    truth: Truth


@dataclass(frozen=True)
class Dialogue:
    """The turns; what each sentence says, for the reader; and the question for each topic."""

    turns: tuple[Turn, ...]
    says: Mapping[str, tuple[Topic, str]]
    questions: Mapping[Topic, str]
    natures: Mapping[str, str]

    @property
    def truth(self) -> Truth:
        """What is true in the end."""
        return self.turns[-1].truth


def dialogue(world: World, rng: np.random.Generator, turns: int = 40) -> Dialogue:
    """Draw a dialogue.

    Parameters
    ----------
    world: what can be said.
    rng: where all draws come from.
    turns: facts in the dialogue.

    >>> from halflife.papers.r65_worlds import PAPER
    >>> made = dialogue(PAPER, np.random.default_rng(0), turns=3)
    >>> [turn.phase for turn in made.turns]
    ['first', 'talk', 'talk']
    """
    return _Teller(world, rng).tell(turns)


class _Teller:
    def __init__(self, world: World, rng: np.random.Generator) -> None:
        self.world, self.rng = world, rng
        self.people = [str(name) for name in rng.choice(NAMES, world.people, replace=False)]
        which = np.sort(rng.permutation(len(world.kinds))[: world.kinds_each or None])
        self.kinds = [world.kinds[i] for i in which.tolist()]
        weights = np.array([kind.weight for kind in self.kinds])
        self.odds = weights / weights.sum()
        self.truth: dict[Topic, frozenset[str]] = {}
        self.says: dict[str, tuple[Topic, str]] = {}
        self.told: list[tuple[Kind, str, str, Fact]] = []  # kind, person, value, the fact itself

    def tell(self, turns: int) -> Dialogue:
        made = tuple(self._turn() for _ in range(turns))
        kinds = {kind.name: kind for kind in self.world.kinds}
        questions = {(p, name): kinds[name].question.format(p=p) for p, name in self.truth}
        return Dialogue(made, self.says, questions, {name: kind.nature for name, kind in kinds.items()})

    def _turn(self) -> Turn:
        drawn = self.rng.random()
        person = self._one(self.people)
        if drawn < self.world.talk_share:
            return Turn(Fact(self._one(self.world.talk).format(p=person)), "talk", "talk", None, dict(self.truth))
        if drawn < self.world.talk_share + self.world.repeat_share and (known := self._still_true()):
            kind, person, value, fact = known[int(self.rng.integers(len(known)))]
            if self.rng.random() < self.world.reworded:
                fact = self._say(kind, person, value, kind.first)
            return Turn(fact, "repeat", kind.name, (person, kind.name), dict(self.truth))
        return self._news(self.kinds[int(self.rng.choice(len(self.odds), p=self.odds))], person)

    def _news(self, kind: Kind, person: str) -> Turn:
        topic = person, kind.name
        held = self.truth.get(topic, frozenset())
        phase: Phase = "then" if held else "first"
        value = next(iter(held)) if held and kind.nature == "retract" else self._value(kind, held)
        fact = self._say(kind, person, value, kind.then if held else kind.first)
        if kind.nature == "retract":
            self.truth[topic] = frozenset() if held else frozenset((value,))
        else:
            self.truth[topic] = frozenset((value,)) | (held if kind.nature == "complement" else frozenset())
        if not (held and kind.nature == "retract"):
            self.told.append((kind, person, value, fact))
        return Turn(fact, phase, kind.name, topic, dict(self.truth))

    def _say(self, kind: Kind, person: str, value: str, templates: Sequence[str]) -> Fact:
        said = self._one(templates).format(p=person, v=value)
        fact = Fact(said) if person in said else facts_of(said, person)[0]
        if templates is kind.first or kind.nature != "retract":
            self.says[fact.text] = (person, kind.name), value
        return fact

    def _still_true(self) -> list[tuple[Kind, str, str, Fact]]:
        return [one for one in self.told if one[2] in self.truth[one[1], one[0].name]]

    def _value(self, kind: Kind, held: frozenset[str]) -> str:
        while True:
            value = self._one(kind.values) if kind.values else self._name()
            if value not in held or (kind.values and held >= set(kind.values)):
                return value

    def _name(self) -> str:
        return "".join(self.rng.choice(SYLLABLES.split(), 3)).capitalize()

    def _one(self, values: Sequence[str]) -> str:
        return values[int(self.rng.integers(len(values)))]


class Reader:
    """The frozen reader: ranks entries by the cosine with the question, and takes the values out of the best ones.

    Of a fact that is replaced it takes the last value in the first entry that has one; of one that is complemented, all
    values in what it reads; of one that can be retracted, the first that it finds.

    Parameters
    ----------
    embedder: of questions and entries; None: an ideal search, which finds what tells of the topic, oldest first.
    top: entries read.
    """

    def __init__(self, embedder: Embedder | None, top: int = 5) -> None:
        self.embedder, self.top = embedder, top
        self._answers: dict[tuple[tuple[str, ...], Topic], frozenset[str]] = {}

    def answer(self, of: Dialogue, texts: tuple[str, ...], topic: Topic) -> frozenset[str]:
        """What the entries say on a topic of their dialogue."""
        key = texts, topic
        if key not in self._answers:
            self._answers[key] = self._read(of, texts, topic)
        return self._answers[key]

    def _read(self, of: Dialogue, texts: tuple[str, ...], topic: Topic) -> frozenset[str]:
        if not texts:
            return frozenset()
        found = [[value for about, value in told(of, text) if about == topic] for text in texts]
        if self.embedder is not None:
            vectors = self.embedder.embed([of.questions[topic], *texts])
            best = np.argsort(-(vectors[1:] @ vectors[0]), kind="stable")[: self.top]
            found = [found[i] for i in best.tolist()]
        found = [values for values in found if values][: self.top]
        nature = of.natures[topic[1]]
        if nature == "complement":
            return frozenset(value for values in found for value in values)
        return frozenset(found[0][-1:] if nature == "replace" else found[0][:1]) if found else frozenset()

    def correct(self, of: Dialogue, texts: tuple[str, ...], topic: Topic, truth: Truth) -> bool:
        """Whether the answer is the true one, value for value."""
        return self.answer(of, texts, topic) == truth[topic]


def told(of: Dialogue, text: str) -> list[tuple[Topic, str]]:
    """What an entry says, in order: topics with their values."""
    return [of.says[part] for part in _parts(text) if part in of.says]


@lru_cache(maxsize=100_000)
def _parts(text: str) -> tuple[str, ...]:
    return tuple(sentences(text))


def oracle(of: Dialogue, turn: Turn, candidates: Sequence[Candidate]) -> int:
    """The right action on a turn, as a number of `halflife.agent.manager.plans`, as far as the candidates allow it."""
    if turn.phase in ("talk", "repeat"):
        return 1
    place = next((i for i, one in enumerate(candidates) if turn.topic in {t for t, _ in told(of, one.text)}), None)
    if turn.phase == "first" or place is None:
        return 0
    return 2 + 3 * place + ("replace", "complement", "retract").index(of.natures[turn.kind])


def nearest(embedder: Embedder, entries: Iterable[Entry], text: str, count: int) -> list[Candidate]:
    """The entries nearest to a text, nearest first."""
    held = list(entries)
    if not held:
        return []
    vectors = embedder.embed([text, *(entry.text for entry in held)])
    cosines = vectors[1:] @ vectors[0]
    best = np.argsort(-cosines, kind="stable")[:count]
    return [Candidate(held[i].id, held[i].text, float(cosines[i])) for i in best.tolist()]
