"""Training Memory-R1's manager on generated dialogues: states, rewards, networks, and the replay that judges it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from halflife.agent.bank import FactBank
from halflife.agent.facts import Fact
from halflife.agent.manager import ACTS, Candidate, Choice, ManagerPolicy, plans
from halflife.agent.manager_features import Floats, features
from halflife.llm.embedder import Embedder
from halflife.papers.r65_dialogues import Dialogue, Reader, Topic, Turn, nearest, oracle, told

if TYPE_CHECKING:
    from halflife.rl import Step

Reward: TypeAlias = Literal["linked", "retention", "count"]
SHOWN = 4  # candidates that a manager sees
OPS = ("ADD", "overwrite", "merge", "delete", "NOOP")
TUPLES = 152  # as many as the paper trains on


@dataclass(frozen=True)
class State:
    """A training tuple: a bank before a turn, the turn's fact, and the questions that judge what is done with it.

    `of_fact`, `of_pairs`: what the learned manager sees. `words`: what one that sees words does, see `words_of`.
    """

    dialogue: Dialogue
    turn: Turn
    bank: FactBank
    candidates: tuple[Candidate, ...]
    of_fact: Floats
    of_pairs: Floats
    words: Floats
    linked: Topic | None
    others: tuple[Topic, ...]


def states(
    dialogues: Sequence[Dialogue],
    embedder: Embedder,
    rng: np.random.Generator,
    manager: ManagerPolicy | None = None,
    shown: int = SHOWN,
) -> list[State]:
    """A tuple for each turn.

    Parameters
    ----------
    manager: acts on every second dialogue, so that banks hold its mistakes; the right operations are done otherwise.
    shown: candidates.
    """
    made = []
    for number, one in enumerate(dialogues):
        bank = FactBank()
        for turn in one.turns:
            candidates = nearest(embedder, bank, turn.fact.text, shown)
            made.append(_state(one, turn, bank.snapshot(), candidates, embedder, rng))
            if manager is not None and number % 2:
                bank.apply(manager.act(turn.fact, candidates, len(bank))[0].ops)
            else:
                bank.apply([plans(turn.fact, candidates)[oracle(one, turn, candidates)]])
    return made


def _state(
    of: Dialogue,
    turn: Turn,
    bank: FactBank,
    candidates: Sequence[Candidate],
    embedder: Embedder,
    rng: np.random.Generator,
) -> State:
    known = sorted(turn.truth)
    at_risk = dict.fromkeys(topic for one in candidates for topic, _ in told(of, one.text) if topic in turn.truth)
    linked = turn.topic or (known[int(rng.integers(len(known)))] if known else None)
    rest = [topic for topic in known if topic != linked]
    drawn = [rest[i] for i in rng.permutation(len(rest))[:2].tolist()]
    others = tuple(dict.fromkeys([*[t for t in at_risk if t != linked][:4], *drawn]))
    of_fact, of_pairs = features(turn.fact, candidates, len(bank))
    words = words_of(turn.fact, candidates, len(bank), embedder)
    return State(of, turn, bank, tuple(candidates), of_fact, of_pairs, words, linked, others)


def words_of(fact: Fact, candidates: Sequence[Candidate], size: int, embedder: Embedder) -> Floats:
    """What a manager of the calibrated experiment sees: both vectors, their product, cosine and size of the bank.

    Shape [3 dim + 2]; zeros in place of an entry where there is none.
    """
    a = embedder.embed([fact.text])[0]
    b = embedder.embed([candidates[0].text])[0] if candidates else np.zeros_like(a)
    cosine = candidates[0].cosine if candidates else 0.0
    return np.concatenate([a, b, a * b, [3 * cosine, size / 20]]).astype(np.float32)


class Judge:
    """The reward of an action: answers of the frozen reader from the bank as the action leaves it.

    Parameters
    ----------
    reader: answers.
    reward: `linked`, the paper's: is the question linked to the turn answered right? `retention`: the mean over that
        question, up to four on what the entries shown say, and two others. `count`: 1 less one half for each of these
        that is answered wrong, so that what is lost weighs the same however many are asked.
    word_cost, mixed_cost: taken off for each word that the bank grows by, and for each topic beside the first in an
        entry, which can then not be overwritten or deleted without loss; the paper has neither.
    """

    def __init__(self, reader: Reader, reward: Reward, word_cost: float = 0.0, mixed_cost: float = 0.0) -> None:
        self.reader, self.reward, self.word_cost, self.mixed_cost = reader, reward, word_cost, mixed_cost
        self._known: dict[tuple[int, int], float] = {}
        self._kept: list[State] = []  # so that no id is used again

    def __call__(self, state: State, action: int) -> float:
        """The reward of an action, by its number in `plans`."""
        key = id(state), action
        if key not in self._known:
            self._kept.append(state)
            self._known[key] = self._judge(state, action)
        return self._known[key]

    def _judge(self, state: State, action: int) -> float:
        after = state.bank.snapshot()
        after.apply([plans(state.turn.fact, state.candidates)[action]])
        texts = tuple(entry.text for entry in after)
        asked = [state.linked] if state.linked else []
        if self.reward != "linked":
            asked = [*asked, *state.others]
        wrong = sum(not self.reader.correct(state.dialogue, texts, t, state.turn.truth) for t in asked)
        value = 1 - wrong * (0.5 if self.reward == "count" else 1 / max(len(asked), 1))
        mixed = _mixed(state.dialogue, after) - _mixed(state.dialogue, state.bank) if self.mixed_cost else 0
        return value - self.word_cost * (_words(after) - _words(state.bank)) - self.mixed_cost * mixed


def _words(bank: FactBank) -> int:
    return sum(len(entry.text.split()) for entry in bank)


def _mixed(of: Dialogue, bank: FactBank) -> int:
    """Topics beside the first in each entry."""
    return sum(max(0, len({topic for topic, _ in told(of, entry.text)}) - 1) for entry in bank)


# -- judging a manager --------------------------------------------------------------------------------------------


@dataclass
class Replay:
    """What a manager made of whole dialogues.

    Parameters
    ----------
    right, asked: answers by kind of fact. entries: in each bank at the end.
    chosen: (phase or kind of the turn, operation) -> how often.
    """

    right: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    entries: list[int] = field(default_factory=list)
    chosen: Counter[tuple[str, str]] = field(default_factory=Counter)

    def exact(self, kind: str = "") -> float:
        """Exact match on the questions of a kind, or on all."""
        kinds = [kind] if kind else list(self.asked)
        return sum(self.right[k] for k in kinds) / max(sum(self.asked[k] for k in kinds), 1)

    @property
    def size(self) -> float:
        """Entries in a bank, on average."""
        return float(np.mean(self.entries))


Decide: TypeAlias = Callable[[Dialogue, Turn, Sequence[Candidate], int], int]
"""(dialogue, turn, candidates, size of the bank) -> the number of an action."""


def replay(dialogues: Sequence[Dialogue], embedder: Embedder, reader: Reader, decide: Decide) -> Replay:
    """Let a manager build the bank of each dialogue from nothing, then ask all that can be asked."""
    done = Replay()
    for of in dialogues:
        bank = FactBank()
        for turn in of.turns:
            candidates = nearest(embedder, bank, turn.fact.text, SHOWN)
            action = decide(of, turn, candidates, len(bank))
            bank.apply([plans(turn.fact, candidates)[action]])
            done.chosen[row_of(of, turn), op_name(action)] += 1
        texts = tuple(entry.text for entry in bank)
        done.entries.append(len(bank))
        for topic in of.truth:
            done.asked[topic[1]] += 1
            done.right[topic[1]] += reader.correct(of, texts, topic, of.truth)
    return done


def row_of(of: Dialogue, turn: Turn) -> str:
    """What a turn does, for the table of chosen operations: first, replace, complement, retract, repeat or talk."""
    return of.natures[turn.kind] if turn.phase == "then" else turn.phase


def op_name(action: int) -> str:
    """The name of an action, whichever entry it is done to.

    >>> [op_name(i) for i in (0, 1, 2, 6)]
    ['ADD', 'NOOP', 'overwrite', 'merge']
    """
    return ("ADD", "NOOP")[action] if action < 2 else ACTS[(action - 2) % 3]


def by_policy(manager: ManagerPolicy) -> Decide:
    """The likeliest operation of a policy."""

    def decide(of: Dialogue, turn: Turn, candidates: Sequence[Candidate], size: int) -> int:
        chosen: Choice = manager.act(turn.fact, candidates, size)[0]
        return plans(turn.fact, candidates).index(chosen.ops[0])

    return decide


def by_oracle(of: Dialogue, turn: Turn, candidates: Sequence[Candidate], size: int) -> int:
    """The right operation."""
    return oracle(of, turn, candidates)


def curve(log: Sequence[Step], name: str = "reward", window: int = 10) -> Mapping[int, float]:
    """A logged value by update, as the mean of a window."""
    values = np.array([getattr(step, name) for step in log])
    return {i: float(values[max(0, i - window + 1) : i + 1].mean()) for i in range(len(values))}
