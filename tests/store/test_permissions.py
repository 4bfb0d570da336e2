"""Files of a memory are their owner's alone, whatever the umask, from the moment they exist."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from halflife import Memory
from halflife.cli import main
from halflife.store import private
from halflife.store.salvage import salvage
from halflife.store.vectors import Approximate

pytestmark = pytest.mark.skipif(not private.POSIX, reason="Windows has no modes")

UMASKS = (0o000, 0o022, 0o277)


@pytest.fixture(params=UMASKS, ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def modes(folder: Path, pattern: str = "*") -> dict[str, int]:
    return {path.name: mode(path) for path in folder.glob(pattern)}


def test_the_file_its_log_and_its_shared_memory(umask: int, tmp_path: Path) -> None:
    with Memory(tmp_path / "m.db", embedder="hash") as memory:
        memory.add("I moved to Lisbon.")
        assert modes(tmp_path) == dict.fromkeys(("m.db", "m.db-wal", "m.db-shm"), 0o600)
        memory.backup(tmp_path / "copy.db")
    assert modes(tmp_path) == {"m.db": 0o600, "copy.db": 0o600}


def test_an_export(umask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALFLIFE_EMBEDDER", "hash")
    db = str(tmp_path / "m.db")
    assert main(["add", "I moved to Lisbon.", "--db", db]) == 0
    (tmp_path / "old.jsonl").touch(mode=0o644)
    for name in ("new.jsonl", "old.jsonl"):
        assert main(["export", str(tmp_path / name), "--db", db]) == 0
        assert mode(tmp_path / name) == 0o600


def test_the_folder_of_indexes(umask: int, tmp_path: Path) -> None:
    vectors = np.eye(4, dtype=np.float32)
    Approximate.build(4, np.arange(4), vectors, 1, tmp_path / "m.db.ann" / "1.usearch")
    assert mode(tmp_path / "m.db.ann") == 0o700
    assert mode(tmp_path / "m.db.ann" / "1.usearch") == 0o600


def test_what_is_salvaged(tmp_path: Path) -> None:
    with Memory(tmp_path / "m.db", embedder="hash") as memory:
        memory.add("I moved to Lisbon.")
    salvage(tmp_path / "m.db", tmp_path / "saved.db")
    assert modes(tmp_path) == {"m.db": 0o600, "saved.db": 0o600}


def test_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "m.db").symlink_to(tmp_path / "elsewhere.db")
    with Memory(tmp_path / "m.db", embedder="hash"):
        assert mode(tmp_path / "elsewhere.db") == 0o600


def test_what_an_owner_has_opened_to_others_stays_so(tmp_path: Path) -> None:
    with Memory(tmp_path / "m.db", embedder="hash") as memory:
        memory.add("I moved to Lisbon.")
    (tmp_path / "m.db").chmod(0o640)
    with Memory(tmp_path / "m.db", embedder="hash") as memory:
        memory.add("I like tea.")
        assert mode(tmp_path / "m.db") == mode(tmp_path / "m.db-wal") == 0o640


WATCHED = """
import os, sys
os.umask(0)
from halflife import Memory

def watch(frame, event, argument):  # after every line that runs and every call into C
    for entry in os.scandir(sys.argv[1]):
        if entry.stat().st_mode & 0o077:
            wide.add(entry.name)
    return watch

wide = set()
sys.setprofile(watch)
with Memory(sys.argv[1] + "/m.db", embedder="hash") as memory:
    memory.add("I moved to Lisbon.")
    memory.backup(sys.argv[1] + "/copy.db")
sys.setprofile(None)
print(sorted(wide))
"""


def test_there_is_no_moment_at_which_others_can_read(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(tmp_path)], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "[]"
    assert len(list(tmp_path.iterdir())) == 2
