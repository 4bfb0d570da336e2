"""A-MemGuard, part B: an agent that stores what it does, and so makes precedents of its own errors.

A simulation on arrays. Five topics, each with its right action; honest records lie around the centre of their topic. A
planted record is half a random question and half the trigger's direction; the trigger moves a question by half its
length along it. The agent does what the nearest of the K hits says, and stores the question with what it did.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Arm: TypeAlias = Literal["none", "filter", "lessons"]
ARMS: tuple[Arm, ...] = ("none", "filter", "lessons")
Stores: TypeAlias = Literal["all", "failures"]

Floats: TypeAlias = NDArray[np.float64]

TOPICS, HONEST, PLANTED, K, DIM = 5, 60, 2, 7, 64
NOISE = 0.8  # length of what sets a record or question apart from its topic's centre, which has length 1
TRIGGER = 0.5  # how far the trigger moves a question, and a planted record
TRIGGERED = 0.15  # share of the rounds
MISS = 0.2  # how often the filter lets planted hits through; they lead the same way, and pass or fail together
HEED = 0.5  # cosine of two situations from which a lesson of the one counts in the other
CLOSE = 0.1  # cosine by which a planted hit may be farther than the nearest and still win a tie
POISON = -1


@dataclass(frozen=True)
class Rounds:
    """One run.

    Parameters
    ----------
    success: of each round, whether it ended in the planted action; NaN without trigger. Shape [rounds].
    right: of each round, whether it ended in the right action; NaN with trigger. Shape [rounds].
    stored: share of the stored outcomes that are the planted action.
    """

    success: Floats
    right: Floats
    stored: float


class _Memory:
    """Keys and what each says to do."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.centres = _unit(rng.normal(size=(TOPICS, DIM)))
        self.trigger = _unit(rng.normal(size=DIM))
        topics = np.arange(HONEST) % TOPICS
        planted = [0.5 * self.question(int(rng.integers(TOPICS))) + TRIGGER * self.trigger for _ in range(PLANTED)]
        self.keys = [*(self.question(t) for t in topics.tolist()), *map(_unit, planted)]
        self.actions = [*topics.tolist(), *[POISON] * PLANTED]

    def question(self, topic: int) -> Floats:
        """A question of a topic."""
        return _unit(self.centres[topic] + NOISE * _unit(self.rng.normal(size=DIM)))

    def nearest(self, question: Floats) -> list[tuple[int, float]]:
        """Action and similarity of the K nearest records."""
        similarity = np.stack(self.keys) @ question
        return [(self.actions[i], float(similarity[i])) for i in np.argsort(-similarity, kind="stable")[:K].tolist()]

    def store(self, question: Floats, action: int) -> None:
        """Keep what was done."""
        self.keys.append(question)
        self.actions.append(action)


def simulate(
    arm: Arm,
    seed: int,
    *,
    rounds: int = 300,
    stores: Stores = "all",
    ties: bool = False,
    false_alarm: float = 0.0,
) -> Rounds:
    """Live through the rounds.

    Parameters
    ----------
    arm: `none`; `filter` drops planted hits, but for a miss; `lessons` also drops what it dropped before, where the
        same action comes up in a similar situation.
    stores: `all` outcomes, or `failures` only (those of the planted action).
    ties: a planted hit that is nearly as near as the nearest wins.
    false_alarm: how often the filter drops the hits of an honest action instead.

    >>> bool(np.nanmean(simulate("none", 0).success) > np.nanmean(simulate("lessons", 0).success))
    True
    """
    rng = np.random.default_rng(seed)
    memory = _Memory(rng)
    lessons: list[tuple[int, Floats]] = []
    success, right, stored = np.full(rounds, np.nan), np.full(rounds, np.nan), list[int]()
    for i in range(rounds):
        topic, triggered = int(rng.integers(TOPICS)), rng.random() < TRIGGERED
        question = memory.question(topic)
        if triggered:
            question = _unit(question + TRIGGER * memory.trigger)
        caught, alarmed = rng.random() >= MISS, rng.random() < false_alarm
        hits = memory.nearest(question)
        if arm != "none":
            dropped = ({POISON} if caught else set()) | ({hits[0][0]} - {POISON} if alarmed else set())
            if arm == "lessons":
                heeded = {action for action, where in lessons if float(where @ question) >= HEED}
                lessons += [(action, question) for action in dropped & {a for a, _ in hits} - heeded]
                dropped |= heeded
            hits = [(action, near) for action, near in hits if action not in dropped]
        action = _imitate(hits, ties)
        if triggered:
            success[i] = action == POISON
        else:
            right[i] = action == topic
        if action is not None and (stores == "all" or action == POISON):
            memory.store(question, action)
            stored.append(action)
    return Rounds(success, right, float(np.mean([action == POISON for action in stored])) if stored else 0.0)


def _imitate(hits: list[tuple[int, float]], ties: bool) -> int | None:
    if not hits:
        return None
    if ties and any(action == POISON and near >= hits[0][1] - CLOSE for action, near in hits):
        return POISON
    return hits[0][0]


def _unit(x: Any) -> Floats:
    return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True))
