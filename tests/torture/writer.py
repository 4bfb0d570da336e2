"""A process that writes for ever, and says what it is about to do and what it was told is done.

Run as `python writer.py STORE SEED`; it is meant to be killed. A line is JSON: `["will", act, ...]` or
`["done", act, ...]`.
"""

from __future__ import annotations

import json
import random
import sys
from typing import Any

from halflife import Memory


def say(*words: Any) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


def main(path: str, seed: int) -> None:
    rng = random.Random(seed)
    with Memory(path, embedder="hash:32", synchronous="NORMAL") as memory:
        mine: list[str] = []
        say("open")
        for i in range(1_000_000):
            act = rng.choice(["add", "add", "add", "many", "update", "update", "recall", "forget", "sleep"])
            if act == "add":
                text = f"tea zq{seed}x{i}x"
                [added] = memory.add(text)
                mine.append(added.id)
                say("done", "add", added.id, text)
            elif act == "many":
                texts = [f"batch zq{seed}y{i}y{j}y" for j in range(rng.randint(2, 200))]
                say("will", "many", texts)
                added_many = memory.add_many(texts)
                mine += [added.id for added in added_many]
                say("done", "many", [added.id for added in added_many], texts)
            elif act == "update" and mine:
                id, text = rng.choice(mine), f"coffee zq{seed}z{i}z"
                say("will", "update", id, text)
                memory.update(id, text=text)
                say("done", "update", id, text)
            elif act == "recall":
                memory.search(f"tea batch zq{seed}x{i - 1}x", k=5)
            elif act == "forget" and mine:
                ids = rng.sample(mine, min(len(mine), rng.randint(1, 3)))
                say("will", "forget", ids)
                assert memory.forget(ids).verified
                mine = [id for id in mine if id not in ids]
                say("done", "forget", ids)
            elif act == "sleep" and rng.random() < 0.2:
                memory.consolidate()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
