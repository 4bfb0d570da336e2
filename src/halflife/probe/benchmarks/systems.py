"""The systems under test by name, each made ready for a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from halflife.errors import InvalidInput
from halflife.llm.embedder import Embedder
from halflife.probe.benchmarks import recall
from halflife.probe.benchmarks.history import History, Question, Retriever
from halflife.probe.benchmarks.retrievers import BM25, Dense, Fusion, Halflife, ReciprocalRank, tuned_weight

OWN = ("halflife", "bm25", "dense", "fusion", "rrf")
PEERS = ("mem0", "chroma", "langgraph", "mempalace")
_WHOLE_FADING = "halflife:meaning*fading"  # with retention as a plain factor
_TIMED = ("semantic", "keyword", "context", "anchors", "voice", "time")
# What each part of Halflife's score gives, each with its default weight: from one part to all but links and fading.
PARTS: dict[str, tuple[str, ...]] = {
    "halflife:meaning": ("semantic",),
    _WHOLE_FADING: ("semantic",),
    "halflife:words": ("keyword",),
    "halflife:meaning+words": _TIMED[:2],
    "halflife:+context": _TIMED[:4],
    "halflife:+voice": _TIMED[:5],
    "halflife:+time": _TIMED,
    "halflife:+substance": (*_TIMED, "substance"),
}
NAMES = (*OWN, *PEERS, *PARTS)


def systems(names: Sequence[str], embedder: Embedder, weight: float | None = None) -> list[Retriever]:
    """A retriever for each name, all with one embedder.

    Parameters
    ----------
    names: any of `NAMES`, without repeats.
    embedder: turns texts into vectors.
    weight: of meaning in `fusion`; needed if that is among the names.

    Errors
    ------
    InvalidInput: there is no system of a name, or one is named twice. `MissingExtra`: it is not installed.

    >>> [system.name for system in systems(["dense", "halflife"], embedder=None)]
    ['dense', 'halflife']
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown or len(set(names)) < len(names) or not names:
        what = f"There is no system {unknown[0]!r}." if unknown else "Name each system once, and at least one."
        raise InvalidInput(what, f"There are {', '.join(NAMES)}.")
    return [_system(name, embedder, weight) for name in names]


def _system(name: str, embedder: Embedder, weight: float | None) -> Retriever:
    if name == "halflife":
        return Halflife(embedder)
    if name in PARTS:
        return _part(name, embedder)
    if name == "bm25":
        return BM25()
    if name == "dense":
        return Dense(embedder)
    if name == "fusion":
        if weight is None:
            raise InvalidInput("fusion needs the weight of meaning.", "Find it with best_weight.")
        return Fusion(Dense(embedder), BM25(), weight)
    if name == "rrf":
        return ReciprocalRank(Dense(embedder), BM25())
    from halflife.probe.benchmarks import peers

    return peers.PEERS[name](embedder)


def _part(name: str, embedder: Embedder) -> Halflife:
    """Halflife with some of the parts of its score."""
    from halflife.store.recall import Weights

    default = Weights()
    chosen = {part: getattr(default, part) for part in PARTS[name]} | ({"fading": 1.0} if name == _WHOLE_FADING else {})
    system = Halflife(embedder, weights=Weights.only(**chosen))
    system.name = name
    return system


def best_weight(
    histories: Sequence[History],
    embedder: Embedder,
    level: recall.Level,
    k: int,
    progress: Callable[[int, int], None] | None = None,
) -> float:
    """The weight of meaning with which `fusion` has the highest evidence recall@k on these histories."""

    def value(history: History, question: Question, ranking: Sequence[str]) -> float:
        return recall.share(history, question, ranking, level, k)

    counted = [history for history in histories if any(recall.evidence(q, level) for q in history.questions)]
    return tuned_weight(counted, Dense(embedder), BM25(), value, progress)
