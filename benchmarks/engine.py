"""Measure Halflife's engine against its peers: the same texts and vectors, one run, no network.

    make bench                                  # everything, in an environment of its own
    python benchmarks/engine.py --sizes 1000 --systems halflife,chroma,numpy --vectors synthetic

See docs/benchmarks.md for what is measured and how.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from data import Corpus, prepare
from measure import CUES, Plan, Remote, cold, exact_top, fsync_seconds, machine, recall, versions
from peers import SYSTEMS
from report import markdown

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent / ".bench"


def main() -> None:
    options = arguments()
    plan = Plan(singles=options.singles, batch=options.batch, rounds=options.rounds, budget=options.budget)
    names = options.systems.split(",")
    corpus = prepare(max(options.sizes) + plan.extra, options.vectors, options.data, CACHE)
    result: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "machine": machine() | {"fsync_ms": 1000 * fsync_seconds(CACHE)},
        "versions": versions(),
        "plan": asdict(plan) | {"vectors": corpus.kind, "texts": corpus.source},
        "setups": {name: SYSTEMS[name].setup for name in names},
        "sizes": {},
    }
    for size in options.sizes:
        result["sizes"][str(size)] = run_size(size, names, corpus, plan)
        if options.json:
            options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    page = markdown(result)
    print("\n" + page)
    if options.markdown:
        options.markdown.write_text(page, encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=_numbers, default=[1_000, 10_000, 100_000], help="such as 1000,10000")
    parser.add_argument("--systems", default=",".join(SYSTEMS), help=f"any of: {', '.join(SYSTEMS)}")
    parser.add_argument("--vectors", choices=["minilm", "synthetic"], default="minilm")
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("HALFLIFE_DATA"),
        help="folder that has longmemeval/ (default: $HALFLIFE_DATA; without it sentences are generated)",
    )
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file")
    parser.add_argument("--singles", type=int, default=Plan.singles)
    parser.add_argument("--batch", type=int, default=Plan.batch)
    parser.add_argument("--rounds", type=int, default=Plan.rounds)
    parser.add_argument("--budget", type=float, default=Plan.budget, help="seconds for one block of work")
    options = parser.parse_args()
    unknown = set(options.systems.split(",")) - set(SYSTEMS)
    if unknown:
        parser.error(f"unknown system {', '.join(sorted(unknown))}; known: {', '.join(SYSTEMS)}")
    return options


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def run_size(size: int, names: list[str], corpus: Corpus, plan: Plan) -> dict[str, dict[str, Any]]:
    """Every measure of every system at one size of the store. A system that fails is reported, not hidden."""
    rows = corpus.load(size)
    queries = rows.queries[1]
    scores, bar = exact_top(rows.memories[1], queries)
    with stores(size, names, corpus, plan) as field:
        field.all("fill_per_s", "fill")
        field.all("settle_s", "settle")
        for kind in ("vector", "hybrid"):
            blocks = field.rounds(kind, "searches", kind, "queries", only_hybrid=kind == "hybrid")
            for name, done in blocks.items():
                row = field.result[name]
                for q in (50, 95, 99):
                    row[f"{kind}_p{q}_ms"] = 1000 * median(block.percentile(q) for block in done)
                row[f"{kind}_recall"] = recall(done[0].found, scores, bar)
                row[f"{kind}_searches"] = sum(len(block.seconds) for block in done)
        for name, block in field.each("cues", "searches", "hybrid", "cues").items():
            field.result[name]["cue_hit"] = float(np.mean([i in found for i, found in enumerate(block.found[:CUES])]))
        for name, total in field.each("close", "close").items():
            field.result[name]["bytes_per_memory"] = total / size
            if SYSTEMS[name].durable:
                seconds, memory = cold(name, field.folders[name], queries[:20])
                field.result[name] |= {"cold_s": seconds, "serving_mib": memory / 2**20}
        field.drop([name for name in field.live if not SYSTEMS[name].durable])
        field.all("reopen_s", "reopen")
        for measure, method in (("add_per_s", "single_adds"), ("batch_per_s", "batched_adds")):
            for name, rates in field.rounds(measure, method).items():
                field.result[name][measure] = median(rates)
        for name, block in field.each("after adds", "searches", "vector", "queries").items():
            field.result[name]["vector_p50_after_adds_ms"] = 1000 * block.percentile(50)
    return field.result


class Field:
    """The systems of one run, each with its process, its folder and its figures."""

    def __init__(self, size: int, names: list[str], corpus: Corpus, plan: Plan, folder: Path) -> None:
        self.size, self.plan = size, plan
        self.result: dict[str, dict[str, Any]] = {name: {} for name in names}
        self.folders = {name: folder / name for name in names}
        self.live: dict[str, Remote] = {}
        for name in names:
            self.folders[name].mkdir(parents=True)
            try:
                self.live[name] = Remote(name, corpus, size, self.folders[name], plan)
            except RuntimeError as error:
                self._failed(name, error)

    def each(self, label: str, method: str, *args: Any) -> dict[str, Any]:
        """Ask every system for one block, in turn."""
        answers = {}
        for name in list(self.live):
            print(f"  {self.size:>9,}  {label:<12} {name}", flush=True)
            try:
                answers[name] = getattr(self.live[name], method)(*args)
            except RuntimeError as error:
                self._failed(name, error)
        return answers

    def all(self, measure: str, method: str) -> None:
        for name, value in self.each(measure, method).items():
            self.result[name][measure] = value

    def rounds(self, label: str, method: str, *args: Any, only_hybrid: bool = False) -> dict[str, list[Any]]:
        """Ask for a block of every system, as many times over as the plan has rounds."""
        resting = {}
        if only_hybrid:
            resting = {name: self.live.pop(name) for name in list(self.live) if not SYSTEMS[name].hybrid}
        blocks: dict[str, list[Any]] = {}
        for number in range(self.plan.rounds):
            for name, block in self.each(f"{label} {number + 1}", method, *args).items():
                blocks.setdefault(name, []).append(block)
        self.live |= resting
        return blocks

    def drop(self, names: list[str]) -> None:
        for name in names:
            self.live.pop(name).stop()

    def _failed(self, name: str, error: Exception) -> None:
        print(f"  {name}: {error}", flush=True)
        self.result[name]["failed"] = str(error)
        if name in self.live:
            self.drop([name])


@contextmanager
def stores(size: int, names: list[str], corpus: Corpus, plan: Plan) -> Iterator[Field]:
    """A field of empty stores on the disk that holds the cache, removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=CACHE))
    field = Field(size, names, corpus, plan, folder)
    try:
        yield field
    finally:
        field.drop(list(field.live))
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
