"""How often the evidence comes back: LoCoMo's questions asked of its conversations.

    python benchmarks/recall.py path/to/locomo5.json.gz [--k 10] [--json FILE]

Each conversation is one user's memory, each turn a trace with its session and time. A question with evidence (the
unanswerable ones have none that counts) is asked the day after the last session; its score is the share of its
evidence turns among the first k results. Nothing is tuned here: rows differ in `Weights` alone.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from halflife import Memory
from halflife.agent.hit import Hit
from halflife.decay.law import DAY
from halflife.store.recall import Weights
from halflife.store.timeparse import parse_time

UNANSWERABLE = 5
CATEGORIES = {1: "several turns", 2: "time", 3: "open", 4: "one turn"}
NOTHING = {"semantic": 0.0, "keyword": 0.0, "time": 0.0, "neighbour": 0.0, "link": 0.0, "fading": 0.0}
ROWS = {
    "meaning": Weights(**{**NOTHING, "semantic": 1.0}),
    "meaning, retention as a factor": Weights(**{**NOTHING, "semantic": 1.0, "fading": 1.0}),
    "words": Weights(**{**NOTHING, "keyword": 1.0}),
    "meaning and words": Weights(**{**NOTHING, "semantic": 1.0, "keyword": 1.5}),
    "... and neighbours": Weights(**{**NOTHING, "semantic": 1.0, "keyword": 1.5, "neighbour": 0.2}),
    "... and named time": Weights(**{**NOTHING, "semantic": 1.0, "keyword": 1.5, "neighbour": 0.2, "time": 0.25}),
    "default": Weights(),
}


@dataclass(frozen=True)
class Question:
    """A question with the turns that answer it."""

    user: str
    text: str
    asked_at: float
    evidence: frozenset[str]
    category: int


def read(memory: Memory, samples: list[dict[str, Any]]) -> Iterator[Question]:
    """Fill the memory and yield the questions."""
    for sample in samples:
        user, conversation = sample["sample_id"], sample["conversation"]
        sessions = sorted((k for k in conversation if re.fullmatch(r"session_\d+", k)), key=lambda k: int(k[8:]))
        items, end = [], 0.0
        for session in sessions:
            start = parse_time(conversation[f"{session}_date_time"])
            end = max(end, start)
            items += [turn(t, session, start + 30.0 * i) for i, t in enumerate(conversation[session])]
        memory.add_many(items, user_id=user)
        for question in sample["qa"]:
            evidence = frozenset(re.findall(r"D\d+:\d+", " ".join(question.get("evidence") or [])))
            if evidence and question["category"] != UNANSWERABLE:
                yield Question(user, question["question"], end + DAY, evidence, question["category"])


def turn(turn: dict[str, Any], session: str, at: float) -> dict[str, Any]:
    """One turn as an item; an image counts by its caption."""
    caption = f" [{turn['blip_caption']}]" if turn.get("blip_caption") else ""
    text = f"{turn['speaker']}: {turn['text']}{caption}"
    return {"text": text, "at": at, "session_id": session, "metadata": {"turn": turn["dia_id"]}}


def evaluate(memory: Memory, questions: list[Question], vectors: Any, weights: Weights, k: int) -> dict[str, float]:
    """Mean evidence recall@k, in all and by category."""
    memory.engine.weights = weights
    scores: dict[str, list[float]] = defaultdict(list)
    for question, vector in zip(questions, vectors, strict=True):
        hits: list[Hit] = memory.search(
            question.text, user_id=question.user, vector=vector, k=k, now=question.asked_at, reinforce=False
        )
        found = {hit.metadata["turn"] for hit in hits}
        share = len(question.evidence & found) / len(question.evidence)
        scores["all"].append(share)
        scores[CATEGORIES[question.category]].append(share)
    return {name: float(np.mean(values)) for name, values in scores.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    samples = json.loads(gzip.decompress(options.data.read_bytes()))
    with Memory() as memory:
        questions = list(read(memory, samples))
        vectors = memory.engine.embedder.embed([question.text for question in questions])
        print(f"{len(questions)} questions of {len(samples)} conversations", file=sys.stderr)
        names = ["all", *CATEGORIES.values()]
        print(f"| evidence recall@{options.k} | " + " | ".join(names) + " |")
        print("|---|" + "---:|" * len(names))
        results = {}
        for row, weights in ROWS.items():
            results[row] = evaluate(memory, questions, vectors, weights, options.k)
            print(f"| {row} | " + " | ".join(f"{results[row][name]:.3f}" for name in names) + " |", flush=True)
    if options.json:
        options.json.write_text(json.dumps({"k": options.k, "questions": len(questions), "rows": results}, indent=2))


if __name__ == "__main__":
    main()
