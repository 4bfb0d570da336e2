"""Think-in-Memory's three CPU parts: consistency (A), organisation (B), hashing on real text (C)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from halflife.agent.engine import Engine
from halflife.agent.lsh import CrossPolytope, LshIndex
from halflife.agent.think_in_memory import ThinkInMemory
from halflife.agent.thoughts import RulePostThinker, Thought, entity
from halflife.decay import FSRS6
from halflife.llm.embedder import Embedder
from halflife.papers.r35_worlds import (
    NAMES,
    THINGS,
    NoisyReasoner,
    Statement,
    current,
    history,
    inconsistency,
    quantity,
    question,
)
from halflife.store.sqlite import SqliteStore
from halflife.store.trace import Space

Floats: TypeAlias = NDArray[np.float32]

# -- A: consistency -----------------------------------------------------------------------------------------------


def consistency(
    seed: int, embedder: Embedder, *, people: int = 40, questions: int = 10, error_rate: float = 0.15
) -> dict[str, tuple[float, float]]:
    """Inconsistency and accuracy of an agent that derives every answer anew, and of two that keep their thoughts.

    Each person's eggs or coins are asked for `questions` times. An agent that keeps its thoughts looks in a real
    `ThinkInMemory` first (8 buckets), and derives only what it finds no thought about: `thoughts` looks into every
    bucket, `one bucket` into the one that the question falls into.
    """
    noise = {name: NoisyReasoner(error_rate, np.random.default_rng([seed, i])) for i, name in enumerate(AGENTS)}
    memories = {"thoughts": _memory(embedder, seed, probes=8), "one bucket": _memory(embedder, seed, probes=1)}
    scores: dict[str, list[tuple[float, float]]] = {name: [] for name in AGENTS}
    for i, person in enumerate(NAMES[:people]):
        thing, events = THINGS[i % len(THINGS)], history(seed, person)
        truth = quantity(events, thing)
        for name in AGENTS:
            derive = partial(noise[name].derive, events, thing)
            known = memories.get(name)
            said = [_from_thought(known, person, thing, derive) if known else derive() for _ in range(questions)]
            scores[name].append((inconsistency(said), float(np.mean([answer == truth for answer in said]))))
    for memory in memories.values():
        memory.engine.close()
    return {name: tuple(np.mean(values, axis=0).tolist()) for name, values in scores.items()}


AGENTS = ("raw", "thoughts", "one bucket")
WORLD = Space.of("world")


def _memory(embedder: Embedder, seed: int, probes: int) -> ThinkInMemory:
    engine = Engine(SqliteStore(law=FSRS6()), embedder, clock=lambda: 0.0)
    return ThinkInMemory(engine, seed=seed, probes=probes)


def _from_thought(memory: ThinkInMemory, person: str, thing: str, derive: Callable[[], int]) -> int:
    asked = f"How many {thing} does {person} have?"
    for hit in memory.recall(WORLD, asked, 10, 0.0, reinforce=False):
        if (hit.metadata["head"], hit.metadata["relation"]) == (person, thing):
            return int(hit.metadata["tails"][0])
    answer = derive()
    memory.insert(WORLD, [Thought(person, thing, (str(answer),))], 0.0)
    return answer


# -- B: organisation ----------------------------------------------------------------------------------------------

Hashed: TypeAlias = Literal["sentence", "head"]


@dataclass(frozen=True)
class Organised:
    """What became of a stream of statements.

    Parameters
    ----------
    stale: share of the subjects for which the best thought found states what is no longer true.
    size: thoughts kept.
    shared: share of the pairs of contradicting thoughts that lay in one bucket when the second came.
    answered: share of the subjects of which any thought was found.
    example: the thoughts of one bucket before and after it was tidied.
    """

    stale: float
    size: int
    shared: float
    answered: float
    example: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())


class Notebook:
    """Thoughts in buckets, tidied by rule: `ThinkInMemory` on plain lists, so that many streams take seconds.

    Parameters
    ----------
    bucket_of: the bucket of a thought.
    tidy: forget and merge in every bucket that is touched.
    """

    def __init__(self, bucket_of: Callable[[Thought], int], tidy: bool) -> None:
        self.bucket_of, self.tidies = bucket_of, tidy
        self.buckets: dict[int, list[Thought]] = {}
        self.rule = RulePostThinker()
        self.example: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        self._ids = 0

    @property
    def thoughts(self) -> list[Thought]:
        """All that are kept."""
        return [thought for bucket in self.buckets.values() for thought in bucket]

    def insert(self, thought: Thought) -> None:
        """Put a thought into its bucket, and tidy what it touches."""
        todo = [self._put(thought)]
        while self.tidies and todo:
            todo += self._tidy(todo.pop())

    def _put(self, thought: Thought) -> int:
        self._ids += 1
        bucket = self.bucket_of(thought)
        self.buckets.setdefault(bucket, []).append(replace(thought, id=str(self._ids)))
        return bucket

    def _tidy(self, bucket: int) -> list[int]:
        before = self.buckets[bucket]
        untrue = set(self.rule.contradictions(before))
        kept = [thought for thought in before if thought.id not in untrue]
        groups = self.rule.merge(kept)
        gone = {id for group in groups for id in group.ids}
        self.buckets[bucket] = [thought for thought in kept if thought.id not in gone]
        moved = [self._put(group.thought) for group in groups]
        if untrue and len(self.example[0]) < len(before) <= 8:
            self.example = (_texts(before), _texts(self.buckets[bucket]))
        return [other for other in moved if other != bucket]


def organise(said: Sequence[Statement], embedder: Embedder, seed: int, *, hashed: Hashed, tidy: bool) -> Organised:
    """Live through a stream of statements, then ask for what is true of every subject.

    Questions search all thoughts exactly, so that only the organisation is tested. The hash is centred on the
    mean of all sentences of the stream.

    Parameters
    ----------
    hashed: what of a thought decides its bucket.
    tidy: whether to forget and merge.
    """
    all_thoughts = [Thought(s.head, s.relation, (s.tail,), s.time) for s in said]
    keys = {"sentence": [t.text for t in all_thoughts], "head": [entity(t.head) for t in all_thoughts]}[hashed]
    hashing = CrossPolytope(embedder.dim, 8, seed=seed, mean=embedder.embed(keys).mean(axis=0))

    def bucket_of(thought: Thought) -> int:
        return int(
            hashing.buckets(embedder.embed([thought.text if hashed == "sentence" else entity(thought.head)]))[0, 0]
        )

    notebook = Notebook(bucket_of, tidy)
    pairs: list[bool] = []
    last: dict[tuple[str, str], Thought] = {}
    for statement, thought in zip(said, all_thoughts, strict=True):
        if statement.sort == "change":
            pairs.append(bucket_of(last[thought.subject]) == bucket_of(thought))
        last[thought.subject] = thought
        notebook.insert(thought)
    stale, answered = _examine(notebook.thoughts, current(said), embedder)
    return Organised(stale, len(notebook.thoughts), float(np.mean(pairs)), answered, notebook.example)


def _examine(
    thoughts: Sequence[Thought], truth: Mapping[tuple[str, str], str], embedder: Embedder, k: int = 10
) -> tuple[float, float]:
    vectors = embedder.embed([thought.text for thought in thoughts])
    questions = embedder.embed([question(*subject) for subject in truth])
    top = np.argsort(-(questions @ vectors.T), axis=1, kind="stable")[:, :k]
    stale, answered = [], []
    for (subject, tail), rows in zip(truth.items(), top, strict=True):
        wanted = (entity(subject[0]), entity(subject[1]))
        best = next((thoughts[i] for i in rows if thoughts[i].subject == wanted), None)
        answered.append(best is not None)
        stale.append(best is not None and best.tails != (tail,))
    return float(np.mean(stale)), float(np.mean(answered))


def _texts(thoughts: Sequence[Thought]) -> tuple[str, ...]:
    return tuple(thought.text for thought in thoughts)


# -- C: hashing ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Conversation:
    """A conversation as vectors: its observations [n, d], and the questions about it [m, d]."""

    thoughts: Floats
    questions: Floats


def conversations(samples: Sequence[Mapping[str, Any]], embedder: Embedder) -> list[Conversation]:
    """The observations of LoCoMo conversations as thoughts, with their questions."""
    out = []
    for sample in samples:
        said = [
            text
            for session in sample["observation"].values()
            for observations in session.values()
            for text, _ in observations
        ]
        out.append(Conversation(embedder.embed(said), embedder.embed([qa["question"] for qa in sample["qa"]])))
    return out


@dataclass(frozen=True)
class Setting:
    """One way to hash and to look."""

    n_buckets: int
    n_tables: int = 1
    probes: int = 1
    centred: bool = False

    def index(self, vectors: Floats, seed: int) -> LshIndex:
        """The index of vectors [n, d]."""
        mean = vectors.mean(axis=0) if self.centred else None
        return LshIndex(vectors, CrossPolytope(vectors.shape[1], self.n_buckets, self.n_tables, seed, mean))


def recall_and_scanned(
    found_in: Sequence[Conversation], setting: Setting, seed: int, k: int = 5
) -> tuple[float, float, float]:
    """Recall@k against exact search, share of the store looked at, and share of the store in the largest bucket.

    Means over all questions. Only the buckets probed count: no filling up from the next.
    """
    recall: list[float] = []
    scanned: list[float] = []
    largest = []
    for one in found_in:
        index = setting.index(one.thoughts, seed)
        largest.append(index.sizes()[0].max() / len(index))
        exact = np.argsort(-(one.questions @ one.thoughts.T), axis=1, kind="stable")[:, :k]
        for query, best in zip(one.questions, exact, strict=True):
            rows = index.candidates(query, setting.probes)
            recall.append(float(np.isin(best, rows).mean()))
            scanned.append(len(rows) / len(index))
    return float(np.mean(recall)), float(np.mean(scanned)), float(np.mean(largest))
