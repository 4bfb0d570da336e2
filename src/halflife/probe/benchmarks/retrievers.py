"""Memories under test that need nothing but Halflife and bm25s: Halflife itself, and the baselines it has to beat.

All are given one embedder by the caller, so that what differs is the memory. Baselines of meaning see the first
window of a long text (256 tokens for MiniLM), as sentence-transformers does; Halflife embeds all its windows.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from halflife.errors import MissingExtra
from halflife.llm.embedder import Embedder
from halflife.probe.benchmarks.history import History, Item, Question

if TYPE_CHECKING:
    from halflife.agent.memory import Memory

Scores: TypeAlias = NDArray[np.float64]

USER = "bench"
RRF = 60  # Cormack, Clarke & Buettcher, "Reciprocal Rank Fusion", SIGIR 2009: the constant of its pilot study

_HAN = re.compile("[\u4e00-\u9fff]+")


class Halflife:
    """Halflife as it comes: a `Memory` on disk, one user a history, and its hybrid search.

    Parameters
    ----------
    embedder: turns texts into vectors.
    options: more arguments of `Memory`, such as `weights`.
    """

    name = "halflife"

    def __init__(self, embedder: Embedder, **options: Any) -> None:
        self._embedder, self._options = embedder, options
        self._folder: Path | None = None
        self._memory: Memory | None = None

    @property
    def setup(self) -> str:
        """How it is set up."""
        options = ", ".join(f"{name}={value}" for name, value in self._options.items()) or "defaults"
        return f"Memory on disk, {options}; all windows of a long text"

    def ingest(self, history: History) -> None:
        """Store a history, each item with its time, session and speaker."""
        from halflife.agent.memory import Memory

        self.close()
        self._folder = Path(tempfile.mkdtemp(prefix="halflife-bench-"))
        self._memory = Memory(self._folder / "memory.db", embedder=self._embedder, **self._options)
        items = stored(history)
        added = self._memory.add_many([as_memory(item) for item in items], user_id=USER)
        self._items: dict[str, list[str]] = {}  # what was said twice is one memory that stands for both
        for item, one in zip(items, added, strict=True):
            self._items.setdefault(one.id, []).append(item.id)

    def search(self, question: Question, k: int) -> list[str]:
        """The items of the k best memories, nothing reinforced."""
        if self._memory is None:
            return []
        hits = self._memory.search(question.text, user_id=USER, k=k, now=question.asked_at, reinforce=False)
        return [id for hit in hits for id in self._items[hit.id]][:k]

    def close(self) -> None:
        """Close the memory and remove its file."""
        if self._memory is not None:
            self._memory.close()
            self._memory = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def as_memory(item: Item) -> dict[str, Any]:
    """An item as `Memory.add_many` takes it: the speaker in `role`, and so not before the text."""
    text = item.text.removeprefix(f"{item.speaker}: ") if item.speaker else item.text
    return {"text": text, "at": item.at, "session_id": item.session, "role": item.speaker}


class Scorer(Protocol):
    """A retriever that scores every item of the history: what fusion is made of."""

    def ingest(self, history: History) -> None: ...
    def scores(self, question: Question) -> Scores:
        """A score for each of `stored(history)`, the higher the better."""
        ...

    def close(self) -> None: ...


class _Ranked:
    """A retriever by the scores of all items; equal scores stay in the order of the history."""

    def __init__(self) -> None:
        self._ids: list[str] = []

    def ingest(self, history: History) -> None:
        """Store a history."""
        items = stored(history)
        self._ids = [item.id for item in items]
        self._index([item.text for item in items])

    def _index(self, texts: Sequence[str]) -> None:
        raise NotImplementedError

    def scores(self, question: Question) -> Scores:
        raise NotImplementedError

    def search(self, question: Question, k: int) -> list[str]:
        """The k items of highest score."""
        return [self._ids[i] for i in order(self.scores(question))[:k]] if self._ids else []

    def close(self) -> None:
        """Forget the history."""
        self._ids = []


class BM25(_Ranked):
    """BM25 (Lucene's form, k1 = 1.5, b = 0.75) by bm25s: its English stop words, PyStemmer's English stemmer.

    Chinese, which has no spaces for its tokenizer to cut at, is given to it as pairs of characters.
    """

    name = "bm25"
    setup = "bm25s, defaults, English stop words and stemmer"

    def __init__(self) -> None:
        super().__init__()
        try:
            import bm25s
        except ImportError:
            raise MissingExtra("bm25s", "bench") from None
        import Stemmer

        self._bm25s, self._stemmer = bm25s, Stemmer.Stemmer("english")

    def _words(self, texts: Sequence[str]) -> list[list[str]]:
        spaced = [_HAN.sub(_pairs, text) for text in texts]
        found: list[list[str]] = self._bm25s.tokenize(
            spaced, stopwords="en", stemmer=self._stemmer, return_ids=False, show_progress=False
        )
        return found

    def _index(self, texts: Sequence[str]) -> None:
        self._index_of = self._bm25s.BM25()
        words = self._words(texts)
        self._empty = not any(words)
        if not self._empty:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", RuntimeWarning
                )  # it divides by the mean length of a history of no words
                self._index_of.index(words, show_progress=False)

    def scores(self, question: Question) -> Scores:
        """BM25 of each item; zero where no word is shared."""
        [words] = self._words([question.text])
        if self._empty or not words:
            return np.zeros(len(self._ids))
        return np.asarray(self._index_of.get_scores(words), dtype=np.float64)


class Dense(_Ranked):
    """Exact cosine over one vector an item: the embedder's vector of the text's first window."""

    name = "dense"
    setup = "exact cosine, one vector an item (first window)"

    def __init__(self, embedder: Embedder) -> None:
        super().__init__()
        self._embedder = embedder

    def _index(self, texts: Sequence[str]) -> None:
        self._vectors = self._embedder.embed(texts)

    def scores(self, question: Question) -> Scores:
        """Cosine of each item with the question."""
        return np.asarray(self._vectors @ self._embedder.embed([question.text])[0], dtype=np.float64)


class Fusion:
    """A weighted sum of two scores, each scaled to [0, 1] over the history: the usual hybrid search.

    Parameters
    ----------
    meaning, words: the two retrievers.
    weight: of meaning, in [0, 1]; words have the rest. `tuned_weight` finds it.
    """

    name = "fusion"

    def __init__(self, meaning: Scorer, words: Scorer, weight: float) -> None:
        self._parts, self.weight = (meaning, words), weight
        self._ids: list[str] = []

    @property
    def setup(self) -> str:
        return f"{self.weight:.2f} x dense + {1 - self.weight:.2f} x bm25, each scaled to [0, 1]"

    def ingest(self, history: History) -> None:
        """Store a history in both."""
        self._ids = [item.id for item in stored(history)]
        for part in self._parts:
            part.ingest(history)

    def search(self, question: Question, k: int) -> list[str]:
        """The k items of highest sum."""
        meaning, words = (scaled(part.scores(question)) for part in self._parts)
        return [self._ids[i] for i in order(fused(meaning, words, self.weight))[:k]]

    def close(self) -> None:
        """Forget the history."""
        for part in self._parts:
            part.close()


class ReciprocalRank(Fusion):
    """Reciprocal-rank fusion of the two: 1 / (60 + rank), summed. An item that shares no word has no rank by words."""

    name = "rrf"
    setup = "1/(60 + rank) of dense and bm25, summed"

    def __init__(self, meaning: Scorer, words: Scorer) -> None:
        super().__init__(meaning, words, 0.5)

    def search(self, question: Question, k: int) -> list[str]:
        """The k items of highest sum."""
        meaning, words = (part.scores(question) for part in self._parts)
        total = _reciprocal(meaning) + np.where(words > 0.0, _reciprocal(words), 0.0)
        return [self._ids[i] for i in order(total)[:k]]


def tuned_weight(
    histories: Sequence[History],
    meaning: Scorer,
    words: Scorer,
    value: Callable[[History, Question, Sequence[str]], float],
    progress: Callable[[int, int], None] | None = None,
) -> float:
    """The weight of meaning (0, 0.05, ... 1) that serves the questions of these histories best.

    Parameters
    ----------
    histories: the tuning part; questions without evidence are passed over.
    meaning, words: the retrievers that will be fused.
    value: how good a ranking of all items is, such as its evidence recall. Of equal weights the first is taken.
    progress: called with (histories done, all of them).
    """
    weights = np.linspace(0.0, 1.0, 21)
    totals = np.zeros(len(weights))
    for done, history in enumerate(histories):
        ids = [item.id for item in stored(history)]
        meaning.ingest(history)
        words.ingest(history)
        for question in history.questions:
            if question.gold or question.gold_sessions:
                pair = scaled(meaning.scores(question)), scaled(words.scores(question))
                rankings = ([ids[i] for i in order(fused(*pair, weight))] for weight in weights)
                totals += [value(history, question, ranking) for ranking in rankings]
        if progress:
            progress(done + 1, len(histories))
    return float(weights[int(np.argmax(totals))])


def stored(history: History) -> list[Item]:
    """The items of a history that have any text: no memory stores an empty one."""
    return [item for item in history.items if item.text.strip()]


def order(scores: Scores) -> NDArray[np.intp]:
    """Places from the highest score to the lowest, equal ones in their order.

    >>> order(np.array([0.1, 0.5, 0.1])).tolist()
    [1, 0, 2]
    """
    return np.argsort(-scores, kind="stable")


def scaled(scores: Scores) -> Scores:
    """Scores moved and stretched to [0, 1]; all zero if they are all the same.

    >>> scaled(np.array([1.0, 3.0, 2.0])).tolist(), scaled(np.ones(2)).tolist()
    ([0.0, 1.0, 0.5], [0.0, 0.0])
    """
    if not scores.size or (spread := float(np.ptp(scores))) == 0.0:
        return np.zeros_like(scores)
    result: Scores = (scores - scores.min()) / spread
    return result


def fused(meaning: Scores, words: Scores, weight: float) -> Scores:
    """The weighted sum."""
    return weight * meaning + (1.0 - weight) * words


def _reciprocal(scores: Scores) -> Scores:
    """1 / (60 + rank), ranks from 1."""
    ranks = np.empty(len(scores))
    ranks[order(scores)] = np.arange(1, len(scores) + 1)
    result: Scores = 1.0 / (RRF + ranks)
    return result


def _pairs(run: re.Match[str]) -> str:
    """A run of Chinese as its pairs of characters, with spaces between."""
    text = run[0]
    return f" {' '.join(text[i : i + 2] for i in range(max(len(text) - 1, 1)))} "
