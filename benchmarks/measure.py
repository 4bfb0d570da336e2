"""What is measured, inside a process of its own for each system.

A `Session` holds one open store. The parent asks its sessions for one short block of work at a time, in turn,
so that a slow minute of the machine falls on all of them.
"""

from __future__ import annotations

import importlib.metadata
import multiprocessing
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from data import Corpus, Matrix
from peers import SYSTEMS, top

K = 10
WARM_UP = 20
LEAST = 20
CUES = 100


@dataclass(frozen=True)
class Plan:
    """How much of each thing is measured.

    Parameters
    ----------
    singles, batch: how many memories a block of single adds, or one batched add, brings in.
    rounds: blocks of each measure; rates and percentiles are medians over them.
    budget: seconds after which a block of searches or single adds stops early, though never below `LEAST`.
    """

    singles: int = 300
    batch: int = 1_000
    rounds: int = 3
    budget: float = 20.0

    @property
    def extra(self) -> int:
        """Memories needed beyond the size of the store."""
        return self.rounds * (self.singles + self.batch)


@dataclass(frozen=True)
class Searches:
    """A block of searches: seconds of each, and the rows found (indices of memories)."""

    seconds: list[float]
    found: list[list[int]] = field(default_factory=list)

    def percentile(self, q: float) -> float:
        return float(np.percentile(self.seconds, q))


class Session:
    """One system with one store, in this process."""

    def __init__(self, name: str, corpus: Corpus, size: int, folder: Path, plan: Plan) -> None:
        self._system = SYSTEMS[name]()
        self._rows = corpus.load(size + plan.extra)
        self._texts, self._vectors = self._rows.memories
        self._row_of = {text: i for i, text in enumerate(self._texts)}
        self._size, self._folder, self._plan = size, folder, plan
        self._next = size
        self._system.open(folder)

    def fill(self) -> float:
        """Memories a second while filling the empty store in batches."""
        step = self._plan.batch
        start = time.perf_counter()
        for at in range(0, self._size, step):
            until = min(at + step, self._size)
            self._system.fill(self._texts[at:until], self._vectors[at:until])
        return self._size / (time.perf_counter() - start)

    def settle(self) -> float:
        """Seconds of work away from the hot path after filling."""
        start = time.perf_counter()
        self._system.settle()
        return time.perf_counter() - start

    def searches(self, kind: str, asked: str) -> Searches:
        """A block of `vector` or `hybrid` searches with the `queries` or the `cues`."""
        texts, vectors = getattr(self._rows, asked)
        system = self._system

        def find(text: str, vector: Matrix) -> list[str]:
            return system.search(text, vector, K) if kind == "hybrid" else system.vector_search(vector, K)

        for i in range(WARM_UP):
            find(texts[-1 - i], vectors[-1 - i])
        seconds, found = [], []
        least = CUES if asked == "cues" else LEAST  # a share of cues found is compared over the same cues
        end = time.perf_counter() + self._plan.budget
        for text, vector in zip(texts, vectors, strict=True):
            start = time.perf_counter()
            hits = find(text, vector)
            now = time.perf_counter()
            seconds.append(now - start)
            found.append([self._row_of[hit] for hit in hits])
            if now > end and len(seconds) >= least:
                break
        return Searches(seconds, found)

    def single_adds(self) -> float:
        """Adds a second, one call a memory, each acknowledged before the next."""
        texts, vectors = self._take(self._plan.singles)
        end = time.perf_counter() + self._plan.budget
        start = time.perf_counter()
        done = 0
        for text, vector in zip(texts, vectors, strict=True):
            self._system.add(text, vector)
            done += 1
            if done >= LEAST and time.perf_counter() > end:
                break
        rate = done / (time.perf_counter() - start)
        self._must_find(texts[done - 1], vectors[done - 1])
        return rate

    def batched_adds(self) -> float:
        """Memories a second through the public call that takes many at once."""
        texts, vectors = self._take(min(self._plan.batch, self._system.most))
        start = time.perf_counter()
        self._system.add_batch(texts, vectors)
        rate = len(texts) / (time.perf_counter() - start)
        self._must_find(texts[-1], vectors[-1])
        return rate

    def close(self) -> int:
        """Close the store; the bytes that it takes on disk."""
        self._system.close()
        return sum(file.stat().st_size for file in self._folder.rglob("*") if file.is_file())

    def reopen(self) -> float:
        """Seconds to open the store again in this process and to answer one search."""
        vector = self._rows.queries[1][0]
        start = time.perf_counter()
        self._system.open(self._folder)
        self._system.vector_search(vector, K)
        return time.perf_counter() - start

    def _take(self, count: int) -> tuple[list[str], Matrix]:
        at, self._next = self._next, self._next + count
        return self._texts[at : self._next], self._vectors[at : self._next]

    def _must_find(self, text: str, vector: Matrix) -> None:
        """What was acknowledged can be found at once: adds that cannot be searched have no rate."""
        if text not in self._system.vector_search(vector, K):
            raise RuntimeError(f"{self._system.name}: a memory just added was not found by its own vector")


class Remote:
    """A `Session` in a fresh process."""

    def __init__(self, *session: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, session))
        self._process.start()
        other.close()
        self._answer()

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            self._pipe.send((method, args))
            return self._answer()

        return call

    def _answer(self) -> Any:
        try:
            ok, value = self._pipe.recv()
        except EOFError:
            raise RuntimeError(f"the process died (exit code {self._process.exitcode})") from None
        if not ok:
            raise RuntimeError(value)
        return value

    def stop(self) -> None:
        self._pipe.close()
        self._process.join(timeout=30)
        if self._process.is_alive():
            self._process.terminate()


def _serve(pipe: Any, arguments: tuple[Any, ...]) -> None:
    refuse_network()
    try:
        session = Session(*arguments)
        pipe.send((True, None))
    except Exception as error:
        pipe.send((False, f"{arguments[0]}: {type(error).__name__}: {error}"))
        return
    while True:
        try:
            method, args = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((True, getattr(session, method)(*args)))
        except Exception as error:
            pipe.send((False, f"{arguments[0]}: {method}: {type(error).__name__}: {error}"))


def cold(name: str, folder: Path, queries: Matrix) -> tuple[float, int]:
    """In a new process: seconds from import to the first answer, and the most memory that it held."""
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    process = context.Process(target=_cold, args=(other, name, folder, queries))
    process.start()
    other.close()
    answer: tuple[float, int] = pipe.recv()
    process.join()
    return answer


def _cold(pipe: Any, name: str, folder: Path, queries: Matrix) -> None:
    refuse_network()
    system = SYSTEMS[name]()
    start = time.perf_counter()
    system.open(folder)
    system.vector_search(queries[0], K)
    first = time.perf_counter() - start
    for vector in queries[1:]:
        system.vector_search(vector, K)
    pipe.send((first, peak_memory()))
    system.close()


def exact_top(memories: Matrix, queries: Matrix) -> tuple[Matrix, Matrix]:
    """Scores of every memory for every query [queries, memories], and each query's K-th best score."""
    scores = queries @ memories.T
    return scores, np.array([scores[q][top(scores[q], K)[-1]] for q in range(len(queries))])


def recall(found: list[list[int]], scores: Matrix, bar: Matrix) -> float:
    """Share of the exact top K that was found; a memory that ties with the K-th counts as one of them."""
    hits = [sum(scores[q, row] >= bar[q] - 1e-5 for row in set(rows)) for q, rows in enumerate(found)]
    return float(np.mean(hits)) / K


def refuse_network() -> None:
    """Make any connection to another machine fail, so that no peer can wait for one or tell anything."""

    def refuse(event: str, args: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo" or (event == "socket.connect" and isinstance(args[1], tuple)):
            raise OSError(f"the benchmark allows no network ({event})")

    sys.addaudithook(refuse)


def peak_memory() -> int:
    """Most bytes that this process held at once."""
    status = Path("/proc/self/status")
    if status.exists():  # preferred, because ru_maxrss counts what the parent held when it started this process
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def fsync_seconds(folder: Path) -> float:
    """Median time to append 4 KiB to a file and have it on disk: the floor under a durable add."""
    path = folder / "fsync"
    times = []
    with path.open("wb") as file:
        for _ in range(200):
            start = time.perf_counter()
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - start)
    path.unlink()
    return float(np.median(times))


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": cores,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Versions of the systems compared and of what carries them."""
    packages = (
        "halflife mem0ai qdrant-client fastembed chromadb langgraph langgraph-checkpoint-sqlite sqlite-vec "
        "usearch numpy"
    )
    found = {}
    for package in packages.split():
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
