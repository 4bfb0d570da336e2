"""How good a ranking is, in LongMemEval's measures and in the standard ones.

Wu et al., "LongMemEval: Benchmarking Chat Assistants on Long-Term Interactive Memory" (arXiv 2410.10813), section 5,
and its evaluation code. The paper's "Recall@k" is `recall_all`; a published "R@5" of others is nearly always
`recall_any`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from halflife.errors import InvalidInput

Variant: TypeAlias = Literal["longmemeval", "standard"]


@dataclass(frozen=True, slots=True)
class Scores:
    """What the first k of a ranking are worth.

    Args:
        recall_any: 1 if any of the gold is among them.
        recall_all: 1 if all of it is.
        recall: The share of it that is.
        ndcg: Discounted gain over that of the best ranking of the corpus.
    """

    recall_any: float
    recall_all: float
    recall: float
    ndcg: float


def retrieval(
    ranking: Sequence[str], gold: Collection[str], corpus: Sequence[str], k: int, variant: Variant = "longmemeval"
) -> Scores:
    """The measures of one ranking.

    Parameters
    ----------
    ranking: ids, best first; an id may stand there more than once, as after `project`.
    gold: ids of the evidence, at least one. Questions without any are not counted; say how many.
    corpus: the ids of everything that could be found, repeats kept.
    k: how many of the ranking are looked at; it may exceed the corpus.
    variant: the discount of rank j: `"longmemeval"` max(1, log2(j)), so that ranks 1 and 2 weigh the same;
        `"standard"` log2(j + 1).

    Errors
    ------
    InvalidInput: no gold, k below 1, or an unknown variant.

    >>> retrieval(["b", "a", "c"], {"a", "d"}, ["a", "b", "c", "d"], k=2)
    Scores(recall_any=1.0, recall_all=0.0, recall=0.5, ndcg=0.5)
    """
    wanted = frozenset(gold)
    if not wanted:
        raise InvalidInput("A question without evidence has no recall.", "Leave it out, and say how many there are.")
    if k < 1:
        raise InvalidInput(f"k is {k}.", "Look at the first result at least.")
    if variant not in get_args(Variant):
        raise InvalidInput(f"The variant is 'longmemeval' or 'standard', not {variant!r}.")
    found = len(wanted.intersection(ranking[:k]))
    gains = np.array([id in wanted for id in ranking[:k]], dtype=float)
    weights = _weights(max(len(gains), min(k, len(corpus))), variant)
    best = float(weights[: min(k, sum(id in wanted for id in corpus))].sum())
    ndcg = float(gains @ weights[: len(gains)]) / best if best else 0.0
    return Scores(float(found > 0), float(found == len(wanted)), found / len(wanted), ndcg)


def project(
    ranking: Sequence[str], gold: Collection[str], corpus: Sequence[str], k: int
) -> tuple[list[str], frozenset[str], list[str], int]:
    """A ranking of turns `<session>_<n>` as one of sessions: the arguments of `retrieval`.

    Repeats are kept, and k grows until the first k' entries name k different sessions, or the ranking ends.

    Errors
    ------
    InvalidInput: an id is not `<session>_<n>`, or k is below 1.

    >>> project(["s_0", "s_3", "t_1"], {"t_1"}, ["s_0", "s_3", "t_1"], k=2)
    (['s', 's', 't'], frozenset({'t'}), ['s', 's', 't'], 3)
    """
    if k < 1:
        raise InvalidInput(f"k is {k}.", "Look at the first result at least.")
    sessions = [session_of(id) for id in ranking]
    seen: set[str] = set()
    depth = 0
    while depth < len(sessions) and len(seen) < k:
        seen.add(sessions[depth])
        depth += 1
    return sessions, frozenset(map(session_of, gold)), [session_of(id) for id in corpus], max(k, depth)


@lru_cache(maxsize=20_000)
def session_of(turn: str) -> str:
    """The session of a turn's id. Raises `InvalidInput` if it is not `<session>_<n>`.

    >>> session_of("answer_4be1b6b4_2_7")
    'answer_4be1b6b4_2'
    """
    session, _, number = turn.rpartition("_")
    if not session or not number.isdecimal():
        raise InvalidInput(f"{turn!r} is no turn of a session.", "Ids of turns are <session>_<n>.")
    return session


def _weights(n: int, variant: Variant) -> NDArray[np.float64]:
    """The weight of each of the first n ranks."""
    ranks = np.arange(1, n + 1, dtype=float)
    logs: NDArray[np.float64] = np.log2(ranks + 1 if variant == "standard" else np.maximum(ranks, 2))
    return 1.0 / logs
