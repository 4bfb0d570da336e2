"""Consensus among reasoning paths: which of the retrieved records agree, and which stand apart.

Paper: "A-MemGuard: A Proactive Defense Framework for LLM-Based Agent Memory", arXiv 2510.02373.

Three validators behind one protocol: `Judge` (a language model, the release's default), `Cluster` (DBSCAN on the
paths' vectors, the release's other one), and `Vote` (count what the paths lead to; ours, the cheapest).

All of them trust the largest group. A planted group that is the largest wins; with diverse benign records that takes
far fewer copies than half of the hits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from halflife.agent.guard_paths import outcome
from halflife.errors import HalflifeError, InvalidInput, UnusableAnswer
from halflife.store.trace import Trace

if TYPE_CHECKING:
    from halflife.llm.client import Chat

Ties: TypeAlias = Literal["none", "all", "nearest"]
PathVectors: TypeAlias = Callable[[Sequence[Trace], Sequence[str]], NDArray[np.float32]]

ALONE = "no two paths agree"
TIED = "the largest groups are of the same size"


class NoConsensus(HalflifeError, LookupError):
    """A guarded read found nothing consistent, and was told to say so."""

    exit_code = 3


@dataclass(frozen=True)
class Verdict:
    """What a validator says of the records of one read.

    Parameters
    ----------
    consistent, anomalous: ids, in the order of the records.
    scores: of each id its divergence from the consensus, 0 for none; without a consensus, from all the others.
    decided: there is a consensus. Without one every record is anomalous, and none of them is proved wrong.
    why: what stood against a consensus.
    """

    consistent: tuple[str, ...]
    anomalous: tuple[str, ...]
    scores: Mapping[str, float]
    decided: bool = True
    why: str = ""


@runtime_checkable
class ConsensusValidator(Protocol):
    """Says which records agree."""

    def check(self, query: str, records: Sequence[Trace], paths: Sequence[str]) -> Verdict:
        """The verdict on records with a path each; a record with an empty path is never consistent."""
        ...


def verdict(records: Sequence[Trace], consensus: Sequence[int], scores: Sequence[float], why: str = "") -> Verdict:
    """The verdict that these rows of the records are the consensus; none of them is no consensus."""
    inside = set(consensus)
    return Verdict(
        tuple(record.id for i, record in enumerate(records) if i in inside),
        tuple(record.id for i, record in enumerate(records) if i not in inside),
        {record.id: float(score) for record, score in zip(records, scores, strict=True)},
        decided=bool(inside),
        why="" if inside else why,
    )


def settle(groups: Sequence[Sequence[int]], ties: Ties) -> tuple[list[int], str]:
    """The rows of the largest group, and if there is none, why.

    Parameters
    ----------
    groups: rows in the order of the hits, two or more each.
    ties: of the largest groups of one size `none` is trusted (an attacker could have made either), or `all`, or the
        one with the `nearest` hit.

    >>> settle([[0, 2], [1, 3]], "none"), settle([[0, 2], [1, 3]], "nearest")
    (([], 'the largest groups are of the same size'), ([0, 2], ''))
    """
    if not groups:
        return [], ALONE
    most = max(map(len, groups))
    largest = [list(group) for group in groups if len(group) == most]
    if len(largest) == 1 or ties == "nearest":
        return min(largest), ""
    return (sorted(row for group in largest for row in group), "") if ties == "all" else ([], TIED)


@dataclass(frozen=True)
class Vote:
    """The records whose paths lead to the most frequent outcome, if at least `votes` of them do.

    Parameters
    ----------
    votes: how many must agree.
    ties: see `settle`.

    The score of a record is the share of the others that lead elsewhere. Not in the paper: majority voting, which any
    guard has to beat.
    """

    votes: int = 2
    ties: Ties = "none"

    def __post_init__(self) -> None:
        _check_ties(self.ties)
        if self.votes < 1:
            raise InvalidInput(f"votes is {self.votes}.", "Ask for one vote or more.")

    def check(self, query: str, records: Sequence[Trace], paths: Sequence[str]) -> Verdict:
        """The verdict by count of outcomes."""
        groups: dict[str, list[int]] = {}
        for i, path in enumerate(paths):
            groups.setdefault(outcome(path) if path else f"\0{i}", []).append(i)
        size = {i: len(group) for group in groups.values() for i in group}
        others = max(len(paths) - 1, 1)
        scores = [(len(paths) - size[i]) / others for i in range(len(paths))]
        enough = [group for name, group in groups.items() if len(group) >= self.votes and name[0] != "\0"]
        chosen, why = settle(enough, self.ties)
        return verdict(records, chosen, scores, why)


@dataclass(frozen=True)
class Cluster:
    """The largest cluster of paths by DBSCAN on cosine distance.

    Parameters
    ----------
    vectors: unit vectors [records, dim] of the paths of some records.
    eps: distance up to which two paths are neighbours. The release's 0.5 is loose for short paths; see
        `calibrated_eps`.
    min_samples: neighbours, itself among them, from which a path is at the core of a cluster.
    ties: see `settle`.

    The score of a record is its mean distance to the consensus.

    Source: the release's clustering method (eps 0.5, min_samples 2).

    >>> from halflife import Memory
    >>> from halflife.llm import HashEmbedder
    >>> memory = Memory(embedder="hash")
    >>> records = [memory.get(a.id) for a in memory.add(["one", "two", "three"])]
    >>> paths = ["dose → medication", "doses → medication", "weather → delete"]
    >>> by_words = Cluster(lambda records, paths: HashEmbedder().embed(paths), eps=0.6)
    >>> by_words.check("Which dose?", records, paths).consistent == (records[0].id, records[1].id)
    True
    """

    vectors: PathVectors
    eps: float = 0.5
    min_samples: int = 2
    ties: Ties = "none"

    def __post_init__(self) -> None:
        _check_ties(self.ties)
        if not 0 < self.eps <= 2:
            raise InvalidInput(f"eps is {self.eps}.", "Use a cosine distance above 0 and up to 2.")
        if self.min_samples < 2:
            raise InvalidInput(f"min_samples is {self.min_samples}.", "A cluster has at least 2 members.")

    def check(self, query: str, records: Sequence[Trace], paths: Sequence[str]) -> Verdict:
        """The verdict by clusters."""
        there = [i for i, path in enumerate(paths) if path]
        scores = np.full(len(records), 2.0)
        if not there:
            return verdict(records, [], scores.tolist(), ALONE)
        apart = distances(self.vectors([records[i] for i in there], [paths[i] for i in there]))
        labels = dbscan(apart, self.eps, self.min_samples)
        groups = [np.flatnonzero(labels == label).tolist() for label in range(labels.max() + 1)]
        chosen, why = settle(groups, self.ties)
        scores[there] = _mean_distance(apart, chosen or list(range(len(there))))
        return verdict(records, [there[i] for i in chosen], scores.tolist(), why)


@dataclass(frozen=True)
class Judgement:
    """What a model says of one chain."""

    number: int
    consistent_and_safe: bool


@dataclass(frozen=True)
class Judgements:
    """What a model says of all chains."""

    judgements: list[Judgement]


@dataclass(frozen=True)
class Judge:
    """The records whose paths a language model calls consistent and safe, in one call.

    An answer that cannot be used makes every record anomalous: the guard fails closed. That lowers the success of
    attacks for free; count the empty reads beside it.

    Parameters
    ----------
    chat: answers `guard.judge`.

    Source: the release's default method.
    """

    chat: Chat

    def check(self, query: str, records: Sequence[Trace], paths: Sequence[str]) -> Verdict:
        """The verdict by the model."""
        there = [i for i, path in enumerate(paths) if path]

        def complete(answer: Judgements) -> None:
            if sorted(one.number for one in answer.judgements) != list(range(1, len(there) + 1)):
                raise ValueError(f"judge each of the chains 1 to {len(there)} once")

        scores = [1.0] * len(records)
        if not there:
            return verdict(records, [], scores, ALONE)
        try:
            answer = self.chat.ask(
                "guard.judge", Judgements, check=complete, query=query, chains=[paths[i] for i in there]
            )
        except UnusableAnswer as error:
            return verdict(records, [], scores, f"the judge gave no usable answer ({error})")
        chosen = [there[one.number - 1] for one in answer.judgements if one.consistent_and_safe]
        for i in chosen:
            scores[i] = 0.0
        return verdict(records, chosen, scores, "the judge found no chain consistent and safe")


def distances(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Cosine distances [n, n] of unit vectors [n, dim], in [0, 2]."""
    rows = np.asarray(vectors, dtype=np.float64)
    apart = np.clip(1.0 - rows @ rows.T, 0.0, 2.0)
    np.fill_diagonal(apart, 0.0)
    return apart


def dbscan(apart: NDArray[np.float64], eps: float, min_samples: int = 2) -> NDArray[np.int64]:
    """The cluster of each point, numbered from 0 by its first point; -1 for noise.

    Parameters
    ----------
    apart: distances [n, n].
    eps: up to which two points are neighbours.
    min_samples: neighbours, itself among them, that make a point a core. Cores that are neighbours share a cluster; any
        other neighbour of a core belongs to that of its nearest core.

    Source: Ester et al., "A density-based algorithm for discovering clusters" (1996).

    >>> points = np.array([0.0, 0.1, 5.0, 0.2, 9.0, 9.1])
    >>> dbscan(np.abs(points[:, None] - points), eps=0.15).tolist()
    [0, 0, -1, 0, 1, 1]
    """
    near = apart <= eps
    cores = np.flatnonzero(near.sum(axis=1) >= min_samples)
    labels = np.full(len(apart), -1, dtype=np.int64)
    if not len(cores):
        return labels
    labels[cores] = cores[_reached(near[np.ix_(cores, cores)]).argmax(axis=1)]  # the first core of the cluster
    others = np.flatnonzero((labels < 0) & near[:, cores].any(axis=1))
    labels[others] = labels[cores[apart[np.ix_(others, cores)].argmin(axis=1)]]
    names = {label: name for name, label in enumerate(dict.fromkeys(labels[labels >= 0].tolist()))}
    return np.array([names.get(label, -1) for label in labels.tolist()], dtype=np.int64)


def _reached(near: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which points can be reached from which, from one neighbour to the next."""
    while True:
        further = near @ near
        if (further == near).all():
            return near
        near = further


def calibrated_eps(reads: Sequence[NDArray[np.floating]], percentile: float = 95.0) -> float:
    """The eps at which that share of the paths of clean reads has a neighbour.

    Parameters
    ----------
    reads: of each read the unit vectors of its paths, [hits, dim]; those of one hit do not count.
    percentile: of the distances from each path to its nearest in the same read.

    Raises
    ------
    InvalidInput: no read has two hits.

    >>> calibrated_eps([np.eye(3), np.array([[1.0, 0.0], [0.6, 0.8]])], percentile=50)
    1.0
    """
    nearest = []
    for vectors in reads:
        if len(vectors) > 1:
            apart = distances(vectors)
            np.fill_diagonal(apart, np.inf)
            nearest.append(apart.min(axis=1))
    if not nearest:
        raise InvalidInput("No read has two hits to compare.", "Calibrate on queries that the memory can answer.")
    return float(np.percentile(np.concatenate(nearest), percentile))


def _mean_distance(apart: NDArray[np.float64], rows: list[int]) -> NDArray[np.float64]:
    """Of each point the mean distance to these others."""
    inside = np.zeros(len(apart))
    inside[rows] = 1.0
    return np.asarray((apart @ inside) / np.maximum(len(rows) - inside, 1.0))


def _check_ties(ties: str) -> None:
    if ties not in get_args(Ties):
        raise InvalidInput(f"ties is {ties!r}.", f"Use one of {', '.join(get_args(Ties))}.")
