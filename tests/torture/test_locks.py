"""Looking at the files of a store must not give up the locks by which other processes know that it is in use."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from halflife import Memory

OTHER = """
import sys
from halflife import Memory
with Memory(sys.argv[1], embedder="hash:32") as memory:
    print(*sorted(trace.text for trace in memory.list(limit=None)), sep="|")
"""


def other(path: Path) -> list[str]:
    """What another process, which opens and closes the store, sees."""
    done = subprocess.run([sys.executable, "-c", OTHER, str(path)], capture_output=True, text=True, check=True)
    return done.stdout.strip().split("|")


def open_twice(memory: Memory) -> None:
    Memory(memory.engine.store.path, embedder="hash:32").close()


LOOKS: dict[str, Callable[[Memory], object]] = {
    "forget": lambda memory: memory.forget(memory.list(limit=1)[0].id),
    "doctor": lambda memory: memory.doctor(),
    "repair": lambda memory: memory.doctor(repair=True),
    "stats": lambda memory: memory.stats(),
    "opened twice": open_twice,
}


@pytest.mark.parametrize("look", LOOKS)
def test_what_is_added_after_a_look_is_seen_by_others(tmp_path: Path, look: str) -> None:
    path = tmp_path / "a.db"
    with Memory(path, embedder="hash:32") as memory:
        memory.add_many(["the first", "the second"])
        LOOKS[look](memory)
        before = other(path)  # its closing would delete the log if it took itself for the last
        memory.add("acknowledged")
        assert other(path) == sorted([*before, "acknowledged"])
