"""From texts to a durable store with embeddings: Halflife against what people use for it, on the same cores.

    python benchmarks/ingest.py --data FOLDER [--count 600] [--repeats 3] [--threads 2] [--json FILE]

FOLDER holds longmemeval/ and locomo/: turns of users are drawn from both in equal parts, with a seed. Every system
takes the same texts in one call, from the text to the vector to the disk, and they take turns.

`halflife` embeds whole texts, in windows where one is longer than the model's; `halflife first window` embeds what
the others do, the first 256 tokens, and is the comparison of the same work. The others cut a text there: what
stands behind is not found by meaning. `sentence-transformers + chroma` is `encode` at its defaults, in torch, and
`Collection.add`; `chroma default` is the embedding function that Chroma uses when none is given (the same model by
onnxruntime); it runs where its files are in `.bench/onnx`, since nothing is downloaded.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from halflife import Memory
from halflife.llm import models
from halflife.llm.minilm import MiniLM

Ingest = Callable[[Sequence[str], Path], None]
PEER = "sentence-transformers + chroma"
CACHE = Path(__file__).resolve().parent.parent / ".bench"


def turns(data: Path, count: int, seed: int = 7) -> list[str]:
    """Distinct turns, half from LongMemEval's users and half from LoCoMo, in random order."""
    chats: set[str] = set()
    with bz2.open(data / "longmemeval" / "sessions_1.jsonl.bz2", "rt", encoding="utf-8") as lines:
        for line in lines:
            chats |= {turn["content"] for turn in json.loads(line)["turns"] if turn["role"] == "user"}
    rng = np.random.default_rng(seed)
    halves = [sorted(text for text in pool if text.strip()) for pool in (chats, set(locomo(data)))]
    drawn = [pool[i] for pool in halves for i in rng.choice(len(pool), size=count // 2, replace=False)]
    return [drawn[i].replace("\x00", "") for i in rng.permutation(len(drawn))]


def locomo(data: Path) -> list[str]:
    """What is said in LoCoMo."""
    with gzip.open(data / "locomo" / "locomo5.json.gz", "rt", encoding="utf-8") as file:
        chats = [sample["conversation"] for sample in json.load(file)]
    sessions = [part for chat in chats for part in chat.values() if isinstance(part, list)]
    return [turn["text"] for session in sessions for turn in session]


class FirstWindow(MiniLM):
    """The default model, which looks at the first window only."""

    def split(self, text: str) -> list[str]:
        return [text]


def halflife(model: MiniLM) -> Ingest:
    def ingest(texts: Sequence[str], folder: Path) -> None:
        with Memory(folder / "memory.db", embedder=model) as memory:
            memory.add_many(texts, user_id="bench")

    return ingest


def sentence_transformers(threads: int) -> Ingest:
    """sentence-transformers' `encode` at its defaults, then Chroma's `add`."""
    import chromadb
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    model = SentenceTransformer(str(models.locate().directory), device="cpu")
    model.max_seq_length = 256  # as its own configuration says; the files here may leave it out

    def ingest(texts: Sequence[str], folder: Path) -> None:
        vectors = model.encode(list(texts))
        collection = chromadb.PersistentClient(str(folder)).create_collection("bench", embedding_function=None)
        collection.add(ids=[str(i) for i in range(len(texts))], documents=list(texts), embeddings=vectors)

    return ingest


def chroma_default(cache: Path) -> Ingest:
    """Chroma with nothing said about embedding. Its model is looked for in `cache`, since nothing is downloaded."""
    import chromadb
    from chromadb.utils.embedding_functions import DefaultEmbeddingFunction, ONNXMiniLM_L6_V2

    ONNXMiniLM_L6_V2.DOWNLOAD_PATH = cache

    def ingest(texts: Sequence[str], folder: Path) -> None:
        collection = chromadb.PersistentClient(str(folder)).create_collection(
            "bench", embedding_function=DefaultEmbeddingFunction()
        )
        collection.add(ids=[str(i) for i in range(len(texts))], documents=list(texts))

    return ingest


def measure(systems: dict[str, Ingest], texts: list[str], repeats: int, folder: Path) -> dict[str, dict[str, float]]:
    """Texts a second (wall), and seconds of CPU a thousand texts: medians over rounds in which all take turns."""
    rates: dict[str, list[float]] = {name: [] for name in systems}
    work: dict[str, list[float]] = {name: [] for name in systems}
    for number in range(-1, repeats):
        for name, ingest in systems.items():
            some = texts[:32] if number < 0 else texts  # a round to warm up
            with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as place:
                start, busy = time.perf_counter(), time.process_time()
                ingest(some, Path(place))
                if number >= 0:
                    rates[name].append(len(some) / (time.perf_counter() - start))
                    work[name].append(1000 * (time.process_time() - busy) / len(some))
    return {name: {"texts_per_s": median(rates[name]), "cpu_s_per_1000": median(work[name])} for name in systems}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("HALFLIFE_DATA"), required=False)
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.data is None:
        parser.error("give --data or set HALFLIFE_DATA: a folder that has longmemeval/ and locomo/")
    texts = turns(args.data, args.count)
    model = MiniLM(threads=args.threads)
    systems = {
        "halflife": halflife(model),
        "halflife, first window": halflife(FirstWindow(threads=args.threads)),
        PEER: sentence_transformers(args.threads),
    }
    if (args.cache / "onnx" / "model.onnx").exists():
        systems["chroma default"] = chroma_default(args.cache)
    figures: dict[str, Any] = measure(systems, texts, args.repeats, args.cache)
    lengths = np.array([model.count_tokens(text) + 2 for text in texts])
    setting = {
        "texts": len(texts), "threads": args.threads, "repeats": args.repeats,
        "tokens_median": float(np.median(lengths)), "longer_than_a_window": float(np.mean(lengths > 256)),
        "windows": sum(len(model.split(text)) for text in texts),
    }  # fmt: skip
    for row in figures.values():
        row["rate_ratio"] = row["texts_per_s"] / figures[PEER]["texts_per_s"]
        row["cpu_ratio"] = figures[PEER]["cpu_s_per_1000"] / row["cpu_s_per_1000"]
    if args.json:
        args.json.write_text(json.dumps({**setting, "figures": figures}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(setting))
    print(f"{'':34}{'texts/s':>9}{'times':>7}{'CPU s/1000':>12}{'times':>7}")
    for name, row in figures.items():
        print(f"{name:34}" + "{texts_per_s:9.1f}{rate_ratio:7.2f}{cpu_s_per_1000:12.2f}{cpu_ratio:7.2f}".format(**row))


if __name__ == "__main__":
    main()
