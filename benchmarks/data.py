"""Texts and vectors for the benchmark: the same ones for every system.

A corpus is one fixed list of rows: first `HELD_OUT` sentences that are only asked for, then `HELD_OUT` cues
(each a stored sentence with half of its words left out), then the memories. Its order depends on the seed
alone, so the memories of a small store are a prefix of those of a large one, and vectors cached for one serve
the other.
"""

from __future__ import annotations

import bz2
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HELD_OUT = 500
DIM = 384
SEED = 7
CHUNK = 5_000
WORDS = (6, 40)

Matrix = NDArray[np.float32]
Make = Callable[[int, list[str]], Matrix]  # the vectors of some texts, the first of which is row `start`


@dataclass(frozen=True)
class Corpus:
    """Rows of a corpus on disk; `load` brings them into memory.

    Parameters
    ----------
    texts: file with one sentence a line.
    vectors: file of float32 rows of length `DIM`, one for each line of `texts`.
    kind: `minilm` or `synthetic`.
    source: where the sentences come from, for the report.
    """

    texts: Path
    vectors: Path
    kind: str
    source: str

    def load(self, memories: int) -> Rows:
        count = 2 * HELD_OUT + memories
        with self.texts.open(encoding="utf-8") as lines:
            texts = [line.rstrip("\n") for _, line in zip(range(count), lines, strict=False)]
        vectors = np.fromfile(self.vectors, dtype=np.float32, count=count * DIM).reshape(-1, DIM)
        if len(texts) < count or len(vectors) < count:
            raise SystemExit(f"{memories} memories are needed; the corpus has {len(vectors) - 2 * HELD_OUT}")
        return Rows(texts, vectors)


@dataclass(frozen=True)
class Rows:
    """Sentences and their unit vectors, in memory."""

    texts: list[str]
    vectors: Matrix

    @property
    def queries(self) -> tuple[list[str], Matrix]:
        """Held-out sentences, which no store has."""
        return self.texts[:HELD_OUT], self.vectors[:HELD_OUT]

    @property
    def cues(self) -> tuple[list[str], Matrix]:
        """Cue i is memory i with half of its words left out."""
        return self.texts[HELD_OUT : 2 * HELD_OUT], self.vectors[HELD_OUT : 2 * HELD_OUT]

    @property
    def memories(self) -> tuple[list[str], Matrix]:
        return self.texts[2 * HELD_OUT :], self.vectors[2 * HELD_OUT :]


def prepare(memories: int, kind: str, data: Path | None, cache: Path) -> Corpus:
    """Make (or complete) the cached corpus with at least so many memories."""
    cache.mkdir(parents=True, exist_ok=True)
    texts, source = _texts(memories, data, cache)
    with texts.open(encoding="utf-8") as lines:
        rows = [line.rstrip("\n") for line in lines]
    available = len(rows) - 2 * HELD_OUT
    if available < memories:
        raise SystemExit(f"only {available} distinct sentences in {source}; lower --sizes below {available}")
    stamp = hashlib.sha256("\n".join(rows[: 4 * HELD_OUT]).encode()).hexdigest()[:8]
    vectors = cache / f"vectors-{kind}-{stamp}.f32"
    _embed_into(vectors, rows[: 2 * HELD_OUT + memories], kind)
    return Corpus(texts, vectors, kind, source)


def _texts(memories: int, data: Path | None, cache: Path) -> tuple[Path, str]:
    chats = None if data is None else data / "longmemeval"
    if chats is None or not chats.is_dir():
        path = cache / f"texts-generated-{memories}.txt"
        return _write(path, [_generated(memories + HELD_OUT)]), "sentences of made-up words"
    path = cache / "texts-longmemeval.txt"
    if not path.exists():
        _write(path, [_turns(chats, "user"), _turns(chats, "assistant")])
    return path, "LongMemEval chats, sentences of 6 to 40 words, users' first"


def _write(path: Path, pools: Iterable[Iterable[str]]) -> Path:
    """Shuffle each pool on its own, drop repeats, and lay out queries, cues and memories."""
    rng = np.random.default_rng(SEED)
    sentences: dict[str, None] = {}
    for pool in pools:
        distinct = sorted(set(pool))
        sentences.update(dict.fromkeys(distinct[i] for i in rng.permutation(len(distinct))))
    ordered = list(sentences)
    queries, memories = ordered[:HELD_OUT], ordered[HELD_OUT:]
    cues = [_half(text, rng) for text in memories[:HELD_OUT]]
    partial = path.with_suffix(".part")
    partial.write_text("\n".join([*queries, *cues, *memories]) + "\n", encoding="utf-8")
    return partial.replace(path)


def _half(text: str, rng: np.random.Generator) -> str:
    words = text.split()
    kept = sorted(rng.choice(len(words), size=max(3, len(words) // 2), replace=False))
    return " ".join(words[i] for i in kept)


def _turns(folder: Path, role: str) -> Iterator[str]:
    """Distinct sentences of one side of the chats."""
    boundary = re.compile(r"(?<=[.!?])\s+|\n+")
    for name in ("sessions_1.jsonl.bz2", "sessions_2.jsonl.bz2"):
        with bz2.open(folder / name, "rt", encoding="utf-8") as lines:
            for line in lines:
                for turn in json.loads(line)["turns"]:
                    if turn["role"] == role:
                        for sentence in boundary.split(turn["content"]):
                            words = sentence.replace("\x00", "").split()
                            if WORDS[0] <= len(words) <= WORDS[1]:
                                yield " ".join(words)


def _generated(count: int) -> Iterator[str]:
    """Sentences of made-up words whose frequencies follow Zipf's law, as in language."""
    rng = np.random.default_rng(SEED)
    syllables = [a + b for a in "bdfghklmnprstvz" for b in "aeiou"]
    vocabulary = ["".join(rng.choice(syllables, size=1 + rng.integers(1, 4))) for _ in range(30_000)]
    weights = 1.0 / np.arange(1, len(vocabulary) + 1)
    weights /= weights.sum()
    for length in rng.integers(WORDS[0], WORDS[1], size=count + count // 50):
        yield " ".join(vocabulary[i] for i in rng.choice(len(vocabulary), size=length, p=weights))


def _embed_into(path: Path, texts: list[str], kind: str) -> None:
    """Append the rows that the file lacks, in chunks, so that an interrupted run goes on where it was."""
    row = DIM * 4
    done = path.stat().st_size // row if path.exists() else 0
    if done >= len(texts):
        return
    make = _minilm() if kind == "minilm" else _synthetic()
    with path.open("r+b" if done else "wb") as file:
        file.truncate(done * row)
        file.seek(0, 2)
        for start in range(done, len(texts), CHUNK):
            block = make(start, texts[start : start + CHUNK])
            file.write(np.ascontiguousarray(block, dtype=np.float32).tobytes())
            file.flush()
            print(f"  vectors: {start + len(block):,} of {len(texts):,}", flush=True)


def _minilm() -> Make:
    from halflife.llm.minilm import MiniLM

    model = MiniLM()
    return lambda start, texts: model.embed(texts)


def _synthetic() -> Make:
    """Clustered unit vectors of low intrinsic dimension.

    A vector is a topic's centre plus its own part, both Gaussian with variances that fall as a power of the
    dimension's rank (so that few directions carry most of the variance, as in sentence embeddings), then
    normalised. A cue is its memory's vector with Gaussian noise added.
    """
    spectrum = (np.arange(1, DIM + 1) ** -0.35).astype(np.float32)
    centres = np.random.default_rng(SEED).standard_normal((2_000, DIM), dtype=np.float32) * spectrum

    def rows(start: int, count: int) -> Matrix:
        # One generator a row, so that a row's vector does not depend on how the rows were split into chunks.
        block = np.empty((count, DIM), dtype=np.float32)
        for i in range(count):
            rng = np.random.default_rng((SEED, start + i))
            own = rng.standard_normal(DIM, dtype=np.float32) * spectrum
            block[i] = 0.7 * centres[rng.integers(len(centres))] + 0.7 * own
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        return block

    def make(start: int, texts: list[str]) -> Matrix:
        block = rows(start, len(texts))
        for i in range(max(start, HELD_OUT), min(start + len(texts), 2 * HELD_OUT)):
            noise = np.random.default_rng((SEED, 1, i)).standard_normal(DIM, dtype=np.float32)
            noisy = rows(i + HELD_OUT, 1)[0] + 0.7 * noise / np.sqrt(DIM)
            block[i - start] = noisy / np.linalg.norm(noisy)
        return block

    return make
