"""Think-in-Memory's two generated tests.

A: do answers agree when a conclusion is drawn once and reused? B: does tidying keep answers current?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

# fmt: off
NAMES = (
    "Ada", "Bo", "Cleo", "Dan", "Edda", "Finn", "Gus", "Hana", "Ivo", "Jo",
    "Kai", "Lena", "Mio", "Nora", "Otto", "Pia", "Quin", "Rosa", "Sven", "Tara",
    "Ulf", "Vera", "Wim", "Xenia", "Yuri", "Zoe", "Arlo", "Bea", "Cyril", "Dora",
    "Emil", "Faye", "Gil", "Hope", "Igor", "June", "Karl", "Lotte", "Max", "Nell",
)
# fmt: on
THINGS = ("eggs", "coins")


@dataclass(frozen=True)
class Update:
    """One event: someone gets (or gives away) so many things."""

    person: str
    thing: str
    change: int

    @property
    def text(self) -> str:
        """The event as a sentence.

        >>> Update("Ada", "eggs", -2).text
        'Ada gave away 2 eggs.'
        """
        verb = "got" if self.change >= 0 else "gave away"
        return f"{self.person} {verb} {abs(self.change)} {self.thing}."


def history(seed: int, person: str, events: int = 30) -> tuple[Update, ...]:
    """A person's events: things come and go, and nobody ever owes any."""
    rng = np.random.default_rng([seed, NAMES.index(person)])
    held = dict.fromkeys(THINGS, 0)
    updates = []
    for _ in range(events):
        thing = THINGS[rng.integers(len(THINGS))]
        change = int(rng.integers(1, 10))
        if held[thing] >= change and rng.random() < 0.4:
            change = -change
        held[thing] += change
        updates.append(Update(person, thing, change))
    return tuple(updates)


def quantity(updates: Sequence[Update], thing: str) -> int:
    """How many things are left after the events.

    >>> quantity([Update("Ada", "eggs", 5), Update("Ada", "coins", 1), Update("Ada", "eggs", -2)], "eggs")
    3
    """
    return sum(update.change for update in updates if update.thing == thing)


@dataclass(frozen=True)
class NoisyReasoner:
    """Derives a quantity from raw events, and errs now and then, each time independently.

    Parameters
    ----------
    error_rate: chance that one derivation is off, by 1 to 3 either way.
    """

    error_rate: float
    rng: np.random.Generator

    def derive(self, updates: Sequence[Update], thing: str) -> int:
        """The quantity, or with `error_rate` a wrong one."""
        slip = int(self.rng.choice([-3, -2, -1, 1, 2, 3])) if self.rng.random() < self.error_rate else 0
        return quantity(updates, thing) + slip


def inconsistency(answers: Sequence[int]) -> float:
    """Share of the pairs of answers to one question that differ.

    >>> inconsistency([3, 3, 4])
    0.6666666666666666
    """
    return float(np.mean([a != b for a, b in combinations(answers, 2)]))


RELATIONS = ("lives in", "works at", "works as", "favourite tea", "favourite sport")
_VALUES = {
    "lives in": ("Oslo", "Bergen", "Lima", "Quito", "Turin", "Porto", "Lyon", "Graz"),
    "works at": (
        "the harbour",
        "the museum",
        "the bakery",
        "the library",
        "the clinic",
        "the zoo",
        "the mill",
    ),
    "works as": ("a baker", "a nurse", "a pilot", "a tailor", "a teacher", "a painter", "a welder"),
    "favourite tea": ("mint", "ginger", "oolong", "rooibos", "jasmine", "fennel", "sencha"),
    "favourite sport": ("rowing", "fencing", "tennis", "chess", "judo", "hockey", "sailing"),
}


@dataclass(frozen=True)
class Statement:
    """One statement of the stream: at `time`, `head` stands in `relation` to `tail`.

    `sort` says what it does to what was known: `new`, `repeat` or `change`.
    """

    head: str
    relation: str
    tail: str
    time: float
    sort: str


def statements(seed: int, count: int = 300, *, changes: float = 0.3, repeats: float = 0.3) -> tuple[Statement, ...]:
    """Test B's stream: new facts, facts told again, and facts that change.

    Parameters
    ----------
    count: statements, one a second.
    changes, repeats: share of the statements that contradict, or repeat, what was said of the same subject.
    """
    rng = np.random.default_rng(seed)
    fresh = [(head, relation) for head in NAMES for relation in RELATIONS]
    fresh = [fresh[i] for i in rng.permutation(len(fresh))]
    known: dict[tuple[str, str], str] = {}
    said = []
    for time in range(count):
        draw = rng.random()
        if not known or (draw >= changes + repeats and fresh):
            subject, sort = fresh.pop(), "new"
            options = list(_VALUES[subject[1]])
        else:
            subject = list(known)[rng.integers(len(known))]
            sort = "change" if draw < changes else "repeat"
            options = [v for v in _VALUES[subject[1]] if v != known[subject]] if sort == "change" else [known[subject]]
        known[subject] = options[rng.integers(len(options))]
        said.append(Statement(subject[0], subject[1], known[subject], float(time), sort))
    return tuple(said)


def current(said: Sequence[Statement]) -> dict[tuple[str, str], str]:
    """The tail that is true at the end, for each head and relation."""
    return {(s.head, s.relation): s.tail for s in said}


def question(head: str, relation: str) -> str:
    """A question for the current tail.

    >>> question("Ada", "lives in"), question("Ada", "favourite tea")
    ('Where does Ada live?', "What is Ada's favourite tea?")
    """
    plain = {
        "lives in": f"Where does {head} live?",
        "works at": f"Where does {head} work?",
        "works as": f"What does {head} work as?",
    }
    return plain.get(relation, f"What is {head}'s {relation}?")
