"""One process of a race: `python racer.py ROLE STORE NUMBER COUNT`. Says what was acknowledged, as lines of JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

from halflife import Memory


def say(*words: Any) -> None:
    print(json.dumps(words), flush=True)


def stopped(memory: Memory) -> bool:
    return memory.engine.store.db.meta("stop") is not None


def write(memory: Memory, number: int, count: int) -> None:
    mine: list[str] = []
    for i in range(count):
        [added] = memory.add(f"tea zq{number}x{i}x")
        mine.append(added.id)
        say("said", added.id, f"tea zq{number}x{i}x")
        if i % 5 == 0:
            memory.update(mine[i // 2], text=f"coffee zq{number}z{i}z")
            say("said", mine[i // 2], f"coffee zq{number}z{i}z")


def read(memory: Memory, number: int, count: int) -> None:
    rounds = 0
    while not stopped(memory):
        for hit in memory.search("tea coffee secret", k=20, reinforce=rounds % 3 == 0):
            assert hit.text.split()[0] in ("tea", "coffee", "secret"), hit.text
        rounds += 1
    say("rounds", rounds)


def sleep(memory: Memory, number: int, count: int) -> None:
    rounds = 0
    while not stopped(memory):
        memory.consolidate()
        rounds += 1
    say("rounds", rounds)


def forget(memory: Memory, number: int, count: int) -> None:
    ids = [trace.id for trace in memory.list(limit=None) if trace.text.startswith("secret")]
    for id in ids:
        say("forgot", id, memory.forget(id).verified)


if __name__ == "__main__":
    roles = {"write": write, "read": read, "sleep": sleep, "forget": forget}
    with Memory(sys.argv[2], embedder="hash:32") as opened:
        say("ready")
        sys.stdin.readline()
        roles[sys.argv[1]](opened, int(sys.argv[3]), int(sys.argv[4]))
