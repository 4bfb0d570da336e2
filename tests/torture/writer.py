"""A process that writes, and says what it is about to do, what it was told is done, and what failed.

Run as `python writer.py STORE SEED [SYNCHRONOUS [STEPS]]`; without steps it writes for ever, and is meant to be killed.
A line is JSON: `["will", act, ...]`, `["done", act, ...]` or `["fail", act, error]`. Where `faults.c` is loaded, each
line is also a mark in its log.
"""

from __future__ import annotations

import ctypes
import json
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from halflife import Memory
from halflife.errors import HalflifeError

_mark = getattr(ctypes.CDLL(None), "faults_mark", None)


def say(*words: Any) -> None:
    line = json.dumps(words)
    if _mark is not None:
        _mark(line.encode())
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


@contextmanager
def failing(act: str) -> Iterator[None]:
    """A failure that is explained is said, and life goes on; any other ends the process."""
    try:
        yield
    except HalflifeError as error:
        say("fail", act, str(error))


class Writer:
    """Random writes to one memory."""

    def __init__(self, memory: Memory, seed: int) -> None:
        self.memory, self.seed, self.rng = memory, seed, random.Random(seed)
        self.mine: list[str] = []

    def step(self, i: int) -> None:
        act = self.rng.choice(["add", "add", "add", "many", "update", "update", "recall", "forget", "sleep"])
        with failing(act):
            getattr(self, act)(i)

    def add(self, i: int) -> None:
        text = f"tea zq{self.seed}x{i}x"
        say("will", "add", text)
        [added] = self.memory.add(text)
        self.mine.append(added.id)
        say("done", "add", added.id, text)

    def many(self, i: int) -> None:
        texts = [f"batch zq{self.seed}y{i}y{j}y" for j in range(self.rng.randint(2, 200))]
        say("will", "many", texts)
        ids = [added.id for added in self.memory.add_many(texts)]
        self.mine += ids
        say("done", "many", ids, texts)

    def update(self, i: int) -> None:
        if self.mine:
            id, text = self.rng.choice(self.mine), f"coffee zq{self.seed}z{i}z"
            say("will", "update", id, text)
            self.memory.update(id, text=text)
            say("done", "update", id, text)

    def recall(self, i: int) -> None:
        self.memory.search(f"tea batch zq{self.seed}x{i - 1}x", k=5)

    def forget(self, i: int) -> None:
        if self.mine:
            ids = self.rng.sample(self.mine, min(len(self.mine), self.rng.randint(1, 3)))
            say("will", "forget", ids)
            self.mine = [id for id in self.mine if id not in ids]
            report = self.memory.forget(ids)
            if report.verified:
                say("done", "forget", ids)
            else:
                say("fail", "forget", report.note)

    def sleep(self, i: int) -> None:
        if self.rng.random() < 0.2:
            self.memory.consolidate()


def main(path: str, seed: int, synchronous: str = "NORMAL", steps: int = 1_000_000) -> None:
    while True:
        try:
            with Memory(path, embedder="hash:32", synchronous=synchronous) as memory:
                say("open")
                writer = Writer(memory, seed)
                for i in range(steps):
                    writer.step(i)
                say("end")
            return
        except HalflifeError as error:
            say("fail", "open", str(error))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:4], *map(int, sys.argv[4:5]))
