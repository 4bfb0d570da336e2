"""Speed of the default embedder against sentence-transformers, and what its int8 form loses.

    python benchmarks/embed.py [--texts FILE] [--count 1000] [--repeats 5] [--json]

All contenders run in one process with the same number of threads and take turns, so that whatever else the
machine does falls on all of them; a figure is the median of the repeats, a ratio is against sentence-transformers
(or MiniLM fp32 where that is not installed). FILE has one text a line; without it, texts are made up with the
lengths of chat turns.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from halflife.llm import models
from halflife.llm.minilm import MiniLM

Embed = Callable[[Sequence[str]], Any]
PEER = "sentence-transformers"
QUERIES = 30
MINILM = "from halflife.llm.minilm import MiniLM; MiniLM(precision={!r}).embed(['hello'])"
STARTS = {
    "MiniLM fp32": MINILM.format("fp32"),
    "MiniLM int8": MINILM.format("int8"),
    PEER: "from sentence_transformers import SentenceTransformer as S; "
    "from halflife.llm.models import locate; S(str(locate().directory), device='cpu').encode(['hello'])",
}


def made_up(count: int, seed: int = 0) -> list[str]:
    """Texts of frequent and rare words; lengths are log-normal with a median of 20 words, as in chat."""
    rng = np.random.default_rng(seed)
    words = np.array(["".join(rng.choice(list("etaoinshrdlu"), rng.integers(2, 9))) for _ in range(5000)])
    ranks = np.minimum(rng.zipf(1.3, size=(count, 200)) - 1, len(words) - 1)
    lengths = np.clip(rng.lognormal(np.log(20), 0.8, count), 1, 200).astype(int)
    return [" ".join(words[row[:n]]) for row, n in zip(ranks, lengths, strict=True)]


def contenders(threads: int) -> dict[str, Embed]:
    found: dict[str, Embed] = {
        "MiniLM fp32": MiniLM(threads=threads).embed,
        "MiniLM int8": MiniLM(precision="int8", threads=threads).embed,
    }
    if find_spec("sentence_transformers"):
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(threads)
        peer = SentenceTransformer(str(models.locate().directory), device="cpu")
        found[PEER] = lambda texts: peer.encode(list(texts), normalize_embeddings=True, batch_size=32)
    return found


def measure(embeds: dict[str, Embed], texts: list[str], repeats: int) -> dict[str, dict[str, float]]:
    rates: dict[str, list[float]] = {name: [] for name in embeds}
    latencies: dict[str, list[float]] = {name: [] for name in embeds}
    for embed in embeds.values():
        embed(texts[:64])
    for _ in range(repeats):
        for name, embed in embeds.items():
            rates[name].append(len(texts) / _seconds(embed, texts))
            latencies[name] += [1000 * _seconds(embed, [text]) for text in texts[:QUERIES]]
    return {
        name: {
            "texts_per_s": median(rates[name]),
            "query_ms": median(latencies[name]),
            "start_s": _start(name),
        }
        for name in embeds
    }


def loss(reference: Embed, other: Embed, texts: list[str], k: int = 10) -> dict[str, float]:
    """How far another form's vectors are from the reference's, and how much of the top k they share."""
    a, b = reference(texts), other(texts)
    cosines = (a * b).sum(axis=1)
    return {
        "cosine_mean": float(cosines.mean()),
        "cosine_min": float(cosines.min()),
        "recall_10": _overlap(a, b, k),
    }


def _overlap(a: Any, b: Any, k: int) -> float:
    tops = []
    for vectors in (a, b):
        scores = vectors @ vectors.T
        np.fill_diagonal(scores, -1)
        tops.append(np.argsort(-scores, axis=1)[:, :k])
    return float(np.mean([len(set(x) & set(y)) / k for x, y in zip(*tops, strict=True)]))


def _seconds(embed: Embed, texts: list[str]) -> float:
    start = time.perf_counter()
    embed(texts)
    return time.perf_counter() - start


def _start(name: str, repeats: int = 3) -> float:
    """Seconds from a new Python process to its first vector."""
    command = [sys.executable, "-c", STARTS[name]]
    return median(
        _seconds(lambda _: subprocess.run(command, check=True, capture_output=True), []) for _ in range(repeats)
    )


def _machine() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    flags = next((line for line in lines if line.startswith("flags")), "")
    vnni = "with VNNI" if "vnni" in flags else "no VNNI" if flags else "VNNI unknown"
    return f"{cpu or platform.processor()} ({vnni}), {os.cpu_count()} cores, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    texts = args.texts.read_text().splitlines()[: args.count] if args.texts else made_up(args.count)
    embeds = contenders(args.threads)
    figures = measure(embeds, texts, args.repeats)
    base = PEER if PEER in figures else "MiniLM fp32"
    for row in figures.values():
        row["rate_ratio"] = row["texts_per_s"] / figures[base]["texts_per_s"]
    lost = loss(embeds["MiniLM fp32"], embeds["MiniLM int8"], texts)
    if args.json:
        setting = {
            "machine": _machine(),
            "threads": args.threads,
            "texts": len(texts),
            "repeats": args.repeats,
        }
        print(json.dumps({**setting, "base": base, "figures": figures, "int8_loss": lost}, indent=2))
        return
    print(f"{_machine()}; {args.threads} threads; {len(texts)} texts; median of {args.repeats}")
    print(f"{'':24}{'texts/s':>10}{'ratio':>8}{'query ms':>10}{'start s':>9}")
    for name, row in figures.items():
        rate, ratio, query, start = (row[key] for key in ("texts_per_s", "rate_ratio", "query_ms", "start_s"))
        print(f"{name:24}{rate:10.0f}{ratio:8.2f}{query:10.2f}{start:9.2f}")
    print("int8 against fp32: " + ", ".join(f"{key} {value:.4f}" for key, value in lost.items()))


if __name__ == "__main__":
    main()
