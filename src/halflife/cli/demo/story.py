"""What the demo asks, what Pepys thinks back to, and whom it forgets. Every answer was checked in the text."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta


@dataclass(frozen=True)
class Question:
    """A question, the days on which the answer stands, and how it is found if not by meaning and words."""

    text: str
    answers: tuple[date, ...]
    how: str = ""


@dataclass(frozen=True)
class Recall:
    """A thought that comes back: what is asked, about which day, and how many days later, each time."""

    text: str
    about: date
    after: tuple[int, ...]

    def moments(self) -> list[date]:
        """The days on which it comes back."""
        return [self.about + timedelta(days=days) for days in self.after]


JUNE_1665 = tuple(date(1665, 6, day) for day in range(1, 31))

QUESTIONS = (
    Question("What did he bury in the garden during the fire?", (date(1666, 9, 4),)),
    Question("Where did he first see houses with a red cross on the door?", (date(1665, 6, 7),)),
    Question("What happened in June 1665?", JUNE_1665, "by the time it names"),
    Question("What made him weep?", (date(1666, 9, 2),)),
    Question("Was the hair of the dead used for wigs?", (date(1665, 9, 3),)),
    Question("Parmazan", (date(1666, 9, 4),), "by a rare word, as he spelt it"),
)

RECALLS = (
    Recall("the houses in Drury Lane with a red cross on the door", date(1665, 6, 7), (2, 9, 30, 90, 200, 400)),
    Recall("nobody will buy a periwig for fear of the infection", date(1665, 9, 3), (120,)),
    Recall("the wine and the cheese buried in the garden", date(1666, 9, 4), (2, 5, 14, 45, 100)),
    Recall("the great sea fight against the Dutch, and the victory", date(1665, 6, 8), (10, 60, 250)),
    Recall("the fire seen from the river at night, as one arch of flame", date(1666, 9, 2), (3, 20, 80)),
)

# The first of them who is met in what was read is forgotten.
PEOPLE = (("Balty", "Balty, his wife’s brother,"), ("Hewer", "His clerk Will Hewer"))
