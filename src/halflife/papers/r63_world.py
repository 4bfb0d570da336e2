"""The simulated tasks of Memento's reproduction: what to do depends on a skill, what a task looks like on its topic.

A task is the unit vector of [skill part, topic part]. The skill part (4 numbers) is the centre of the task's class,
one of six, with noise; the topic part (12 numbers) is one of 40 directions, twice as long. The right plan is the
class. So the nearest task is one of the same topic, and of the same class only by chance and by the skill part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from halflife.agent.cases_bank import CaseBank
from halflife.agent.cases_case import Case
from halflife.agent.cases_mdp import MemoryAugmentedMDP, Online
from halflife.agent.cases_policy import How, NeuralCasePolicy, SimilarityPolicy
from halflife.agent.engine import Engine
from halflife.decay import FSRS6
from halflife.llm.embedder import Vectors
from halflife.store.sqlite import SqliteStore
from halflife.store.trace import Space

Arm: TypeAlias = Literal["none", "non-parametric", "parametric"]
ARMS: tuple[Arm, ...] = ("none", "non-parametric", "parametric")

CLASSES, TOPICS = 6, 40
SKILL, DIM = 4, 16
NOISE, TOPIC_SCALE = 0.35, 2.0
COPIES, KNOWS = 0.9, 0.3  # chance of following a good example, and of knowing without one
ALPHA = 0.5
SPACE = Space.of()


@dataclass(frozen=True)
class Tasks:
    """Tasks in the order in which they come.

    Parameters
    ----------
    vectors: shape [n, 16], unit length. skills, topics: class and topic of each, shape [n].
    """

    vectors: Vectors
    skills: NDArray[np.int64]
    topics: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.vectors)

    def first(self, n: int) -> Tasks:
        """The n tasks that come first."""
        return Tasks(self.vectors[:n], self.skills[:n], self.topics[:n])


def tasks(n: int, seed: int, even: bool = False) -> Tasks:
    """Draw n tasks of a world. `even`: centres of classes are normal vectors, so that both parts are about as long.

    >>> tasks(3, seed=0).vectors.shape
    (3, 16)
    """
    rng = np.random.default_rng(seed)
    centres, directions = rng.normal(size=(CLASSES, SKILL)), _unit(rng.normal(size=(TOPICS, DIM - SKILL)))
    centres = centres if even else _unit(centres)
    skills, topics = rng.integers(CLASSES, size=n), rng.integers(TOPICS, size=n)
    skill = centres[skills] + NOISE * rng.normal(size=(n, SKILL))
    vectors = _unit(np.concatenate([skill, TOPIC_SCALE * directions[topics]], axis=1))
    return Tasks(vectors.astype(np.float32), skills, topics)


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    unit: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


class TaskEmbedder:
    """Gives the name of a task (`task 17`) the task's vector."""

    fingerprint = "tasks"
    dim = DIM

    def __init__(self, world: Tasks) -> None:
        self.world = world

    def split(self, text: str) -> list[str]:
        """A task is seen whole."""
        return [text]

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors [len(texts), 16]."""
        return self.world.vectors[[number(text) for text in texts]]

    def count_tokens(self, text: str) -> int:
        """Words."""
        return len(text.split())


def number(state: str) -> int:
    """Which task a state is."""
    return int(state.split()[1])


class Simulated:
    """A model and its world: it follows a good example if it has one, and knows or guesses otherwise."""

    def __init__(self, world: Tasks, seed: int) -> None:
        self.world = world
        self._rng = np.random.default_rng(seed)

    def act(self, state: str, cases: Sequence[Case]) -> str:
        """The plan chosen: that of any good example in view, or one's own."""
        good = [case for case in cases if case.label == "positive"]
        if good and self._rng.random() < COPIES:
            return good[int(self._rng.integers(len(good)))].action
        knows = self._rng.random() < KNOWS
        return f"plan {self.world.skills[number(state)] if knows else self._rng.integers(CLASSES)}"

    def reward(self, state: str, action: str) -> float:
        """1 for the right plan."""
        return float(action == f"plan {self.world.skills[number(state)]}")


@dataclass(frozen=True)
class Lived:
    """What became of a run: the reward of each task, and the policy at its end if one was learned."""

    rewards: NDArray[np.float64]
    policy: NeuralCasePolicy | None

    def by_iteration(self, count: int) -> NDArray[np.float64]:
        """The accuracy of each of `count` equal parts."""
        accuracy: NDArray[np.float64] = self.rewards.reshape(count, -1).mean(axis=1)
        return accuracy


def live(world: Tasks, arm: Arm, seed: int, *, k: int = 1, how: How = "sample", online: Online | None = None) -> Lived:
    """Go through the tasks once, in a real store, learning from each.

    Parameters
    ----------
    k: cases in view. how: the learned policy draws from the soft policy, or takes the best.
    """
    store = SqliteStore(law=FSRS6(), synchronous="NORMAL")
    try:
        bank = CaseBank(Engine(store, TaskEmbedder(world)), SPACE)
        model = Simulated(world, seed)
        learned = NeuralCasePolicy(DIM, alpha=ALPHA, seed=seed) if arm == "parametric" else None
        process = MemoryAugmentedMDP(
            model.reward,
            model.act,
            bank,
            learned or SimilarityPolicy(),
            k=0 if arm == "none" else k,
            how=how if learned else "greedy",
            online=online,
            seed=seed,
        )
        rewards = [process.step(f"task {i}", now=float(i)).reward for i in range(len(world))]
    finally:
        store.close()
    return Lived(np.array(rewards), learned)
