"""What finds the evidence in A-MEM's reproduction: keys of a note as vectors, links, and the system itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from halflife.agent.amem import AgenticMemory
from halflife.agent.amem_notes import Note
from halflife.agent.amem_recall import NoteHit
from halflife.agent.amem_rules import TAU, RuleLinker
from halflife.agent.memory import Memory
from halflife.llm.embedder import Embedder
from halflife.papers.r33_talks import Talk
from halflife.store.bm25 import TextIndex
from halflife.store.recall import Weights
from halflife.store.text import query_ids, term_ids
from halflife.store.trace import Space

Floats = NDArray[np.float64]
Ranking = list[int]  # positions of turns, best first

RAW, SUMMED, JOINED, CONTROL, WORDS = (
    "raw turn",
    "enriched, summed",
    "enriched, one text",
    "control, summed",
    "BM25, raw turn",
)
ARMS = (RAW, SUMMED, JOINED, CONTROL, WORDS)
FEW = (RAW, SUMMED, WORDS)  # for the conversations that the claims are not about
KS = (1, 3, 5, 10, 20)
WHO = "talk"


@dataclass(frozen=True)
class Found:
    """What each way of searching found for the questions of some conversations.

    Parameters
    ----------
    rankings: way -> a ranking of turns for each question.
    gold: for each question the positions of its evidence.
    kinds: its type. when: where its last piece of evidence stands in the conversation, from 0 to 1.
    """

    rankings: Mapping[str, Sequence[Ranking]]
    gold: Sequence[frozenset[int]]
    kinds: Sequence[str]
    when: Sequence[float]

    def recall(self, way: str, k: int) -> Floats:
        """The share of the evidence of each question among the first k."""
        return recall(self.rankings[way], self.gold, k)


def recall(rankings: Sequence[Ranking], gold: Sequence[frozenset[int]], k: int) -> Floats:
    """The share of the gold turns among the first k, for each question.

    >>> recall([[3, 1, 2]], [frozenset({1, 9})], k=2).tolist()
    [0.5]
    """
    return np.array([len(of & set(ranking[:k])) / len(of) for ranking, of in zip(rankings, gold, strict=True)])


def joined(parts: Sequence[Found]) -> Found:
    """The questions of several conversations as one set."""
    return Found(
        {way: [one for part in parts for one in part.rankings[way]] for way in parts[0].rankings},
        [one for part in parts for one in part.gold],
        [one for part in parts for one in part.kinds],
        [one for part in parts for one in part.when],
    )


def found(talk: Talk, rankings: Mapping[str, Sequence[Ranking]]) -> Found:
    """Rankings of a conversation, with what they should have found."""
    place = {item.id: i for i, item in enumerate(talk.history.items)}
    gold = [frozenset(place[id] for id in question.gold) for question in talk.questions]
    last = max(len(place) - 1, 1)
    return Found(rankings, gold, [q.kind for q in talk.questions], [max(of) / last for of in gold])


# -- A and B: vectors --------------------------------------------------------------------------------------------------


def keys(talk: Talk, embedder: Embedder, wanted: Sequence[str] = ARMS) -> dict[str, Floats]:
    """The vectors [turns, dim] under which each arm that has vectors keeps the turns."""
    texts = [item.text for item in talk.history.items]
    raw = embedder.embed(texts).astype(float)
    made = {RAW: raw, SUMMED: _summed(raw, talk.contexts, embedder)}
    if CONTROL in wanted:
        made[CONTROL] = _summed(raw, talk.controls, embedder)
    if JOINED in wanted:
        together = [" ".join([text, *of]) for text, of in zip(texts, talk.contexts, strict=True)]
        made[JOINED] = embedder.embed(together).astype(float)
    return made


def _summed(raw: Floats, added: Sequence[Sequence[str]], embedder: Embedder) -> Floats:
    """Each vector plus those of some texts, at unit length."""
    out = raw.copy()
    for row, texts in enumerate(added):
        if texts:
            out[row] += embedder.embed(list(texts)).sum(axis=0)
    return np.asarray(out / np.linalg.norm(out, axis=1, keepdims=True))


def arms(talk: Talk, embedder: Embedder, wanted: Sequence[str] = ARMS) -> Found:
    """Part A: the ranking of all turns by every arm wanted, and part B: with links under the summed keys."""
    made = keys(talk, embedder, wanted)
    asked = embedder.embed([question.text for question in talk.questions]).astype(float)
    rankings = {arm: _ranked(asked @ vectors.T) for arm, vectors in made.items()}
    rankings[WORDS] = _by_words(talk)
    by_meaning = similar(made[SUMMED])
    beside = [[j for j in (i + 1, i - 1) if 0 <= j < len(by_meaning)] for i in range(len(by_meaning))]
    for name, links in (("cosine links", by_meaning), ("adjacent turns", beside)):
        rankings[name] = [spread(ranking[:5], links) for ranking in rankings[SUMMED]]
    return found(talk, rankings)


def _ranked(scores: Floats) -> list[Ranking]:
    return [order.tolist() for order in np.argsort(-scores, axis=1, kind="stable")]


def _by_words(talk: Talk) -> list[Ranking]:
    index = TextIndex()
    items = talk.history.items
    index.add(np.arange(len(items)), [term_ids(item.text) for item in items])
    return _ranked(np.array([index.scores(query_ids(q.text), len(items)) for q in talk.questions], dtype=float))


def similar(vectors: Floats, tau: float = TAU) -> list[Ranking]:
    """For each vector the others with a cosine of tau or more, the nearest first."""
    cosine = vectors @ vectors.T
    np.fill_diagonal(cosine, -1.0)
    return [[j for j in np.argsort(-row, kind="stable").tolist() if row[j] >= tau] for row in cosine]


def spread(direct: Sequence[int], links: Sequence[Ranking]) -> Ranking:
    """Direct hits, and after them the best link of each that is not there yet.

    >>> spread([0, 1], [[1, 2], [2, 3], [], []])
    [0, 1, 2, 3]
    """
    out = list(direct)
    for one in direct:
        new = [other for other in links[one] if other not in out]
        out += new[:1]
    return out


# -- the system --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Built:
    """A conversation in an A-MEM memory: the memory, and the position of each message by its id."""

    memory: Memory
    place: Mapping[str, int]

    @property
    def system(self) -> AgenticMemory:
        assert isinstance(self.memory.system, AgenticMemory)
        return self.memory.system

    def rankings(self, talk: Talk, k: int, linked: int = 0) -> list[Ranking]:
        """What `Memory.search` finds for every question, up to `linked` of the k by a link, as positions of turns."""
        self.system.link_budget = linked
        out = []
        for question in talk.questions:
            hits = self.memory.search(question.text, user_id=WHO, k=k, now=question.asked_at, reinforce=False)
            out.append([self.place[hit.of_message] for hit in hits if isinstance(hit, NoteHit)])
        return out

    def by_meaning_alone(self) -> None:
        """From now on rank by cosine."""
        self.memory.engine.weights = Weights.only(semantic=1.0)

    def notes(self) -> list[Note]:
        """Its notes, oldest first."""
        return self.system.notes(Space.of(WHO))

    def edges(self) -> tuple[list[tuple[int, int]], int]:
        """The strongest link of each note that has one, as positions of turns, and how many links there are."""
        at = {note.id: self.place[note.of_message] for note in self.notes()}
        links = self.system.graph(Space.of(WHO))
        best: dict[str, tuple[float, int, int]] = {}
        for a, b, weight in links:
            for end in (a, b):
                best[end] = max(best.get(end, (0.0, 0, 0)), (weight, at[a], at[b]))
        return sorted({(a, b) for _, a, b in best.values()}), len(links)


def build(talk: Talk, embedder: Embedder, *, contexts: bool, evolve: bool = True) -> Built:
    """Write a conversation and let the memory sleep after each session, with observations as contexts or none."""
    last = talk.history.items[-1].at or 0.0
    options = {"linker": RuleLinker(evolve=evolve)}
    memory = Memory(embedder=embedder, system="amem", options=options, clock=lambda: last)
    place: dict[str, int] = {}
    for session in dict.fromkeys(item.session for item in talk.history.items):
        place = {**_write(memory, talk, session, contexts), **place}
        memory.consolidate(user_id=WHO)
    return Built(memory, place)


def _write(memory: Memory, talk: Talk, session: str | None, contexts: bool) -> dict[str, int]:
    """Write the turns of a session. Returns the position of each message, the first if one repeats another."""
    of = [i for i, item in enumerate(talk.history.items) if item.session == session]
    messages = []
    for i in of:
        item = talk.history.items[i]
        given = {"context": " ".join(talk.contexts[i])} if contexts and talk.contexts[i] else {}
        messages.append({"text": item.text, "at": item.at, "session_id": session, "metadata": given})
    added = memory.add_many(messages, user_id=WHO)
    return {one.id: i for one, i in reversed(list(zip(added, of, strict=True)))}


def plain(talk: Talk, embedder: Embedder, k: int) -> list[Ranking]:
    """What a memory without any system finds among the turns as they were said."""
    last = talk.history.items[-1].at or 0.0
    with Memory(embedder=embedder, clock=lambda: last) as memory:
        place: dict[str, int] = {}
        for session in dict.fromkeys(item.session for item in talk.history.items):
            place = {**_write(memory, talk, session, contexts=False), **place}
        hits = [memory.search(q.text, user_id=WHO, k=k, now=q.asked_at, reinforce=False) for q in talk.questions]
    return [[place[hit.id] for hit in of] for of in hits]
