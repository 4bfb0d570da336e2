"""An encrypted store: nothing of it can be read in any file, and all that works on a plain one works on it."""

from __future__ import annotations

import builtins
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from halflife import Memory
from halflife.agent import engine as engines
from halflife.cli import main
from halflife.decay import FSRS6
from halflife.errors import CorruptStore, HalflifeError, InvalidInput, MissingExtra, StoreError, WrongKey
from halflife.store import encryption
from halflife.store.rows import halves
from halflife.store.sqlite import SqliteStore

pytest.importorskip("sqlcipher3", reason="needs the extra encryption")

KEY = "correct horse ' battery"
OTHER = bytes(range(32))
SAID = ("I moved to Lisbon in May.", "My sister Rosamund plays the violoncello.", "I am allergic to hazelnuts.")
Open = Callable[..., Memory]


@pytest.fixture
def locked(open_memory: Open, tmp_path: Path) -> Memory:
    memory = open_memory(tmp_path / "m.db", key=KEY)
    memory.add(SAID[0], user_id="anna", metadata={"channel": "telephone"}, reason="because she said so")
    memory.add_many(SAID[1:], user_id="anna")
    return memory


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def traces_of(memory: Memory) -> list[bytes]:
    """By what the content of a memory would be recognised: words, and vectors."""
    words = {word.strip(".").encode() for text in SAID for word in text.split() if len(word) > 4}
    words |= {b"telephone", b"because", b"user:anna", b"CREATE TABLE", b"SQLite format"}
    ids = [trace.id for trace in memory.list(user_id="anna")]
    vectors = [rows[0] for rows in memory.engine.store.vectors(ids).values()]
    assert len(vectors) == 3
    return [*words, *map(halves, vectors)]


def test_no_file_holds_a_text_a_word_or_a_vector(
    locked: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "APPROXIMATE_FROM", 2)  # so that an index is built, as for a large space
    locked.update(locked.list(user_id="anna")[0].id, text="I moved to Porto.")
    locked.search("cello", user_id="anna")
    locked.consolidate(user_id="anna")
    locked.backup(tmp_path / "copy.db")
    pieces = traces_of(locked)
    assert (tmp_path / "m.db-wal").stat().st_size > 0
    assert [piece for piece in pieces if piece in bytes_of(tmp_path)] == []
    locked.close()
    assert [piece for piece in pieces if piece in bytes_of(tmp_path)] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.db", "m.db"]


def test_the_same_test_finds_them_in_a_plain_file(open_memory: Open, tmp_path: Path) -> None:
    memory = open_memory(tmp_path / "m.db")
    memory.add(SAID[0], user_id="anna", metadata={"channel": "telephone"}, reason="because she said so")
    memory.add_many(SAID[1:], user_id="anna")
    data = bytes_of(tmp_path)
    found = [piece for piece in traces_of(memory) if piece in data]
    assert len(found) >= len(traces_of(memory)) - 3  # halved vectors stand in indexes only


def test_it_works_as_a_plain_one(locked: Memory, open_memory: Open, tmp_path: Path) -> None:
    plain = open_memory(tmp_path / "plain.db")
    plain.import_lines(locked.export())
    for question in ("Lisbon", "cello", "allergic to nuts"):
        asked = {"user_id": "anna", "reinforce": False}
        assert [h.id for h in locked.search(question, **asked)] == [h.id for h in plain.search(question, **asked)]
    [met] = locked.add(SAID[0], user_id="anna")
    assert met.event == "met"
    with pytest.raises(InvalidInput, match="says the same already"):
        locked.update(met.id, text=SAID[2])
    operation = locked.archive(met.id)
    locked.undo(operation)
    assert locked.get(met.id).status == "active"
    assert locked.doctor().healthy
    assert locked.doctor(repair=True).healthy


def test_it_opens_again_and_so_do_its_copies(locked: Memory, open_memory: Open, tmp_path: Path) -> None:
    texts = sorted(trace.text for trace in locked.list(user_id="anna"))
    locked.backup(tmp_path / "copy.db")
    locked.close()
    Memory.rekey(tmp_path / "m.db", tmp_path / "other.db", key=KEY, new_key=OTHER)
    Memory.rekey(tmp_path / "other.db", tmp_path / "plain.db", key=OTHER)
    Memory.rekey(tmp_path / "plain.db", tmp_path / "again.db", new_key=KEY)
    for name, key in (("m.db", KEY), ("copy.db", KEY), ("other.db", OTHER), ("plain.db", None), ("again.db", KEY)):
        memory = open_memory(tmp_path / name, key=key)
        assert sorted(trace.text for trace in memory.list(user_id="anna")) == texts
        assert memory.doctor().healthy
        assert memory.engine.store.db.one("PRAGMA journal_mode") == "wal"
        [added] = memory.add("I like tea.", user_id="anna")  # numbers go on where they stopped
        assert added.n == 4
        assert [event.kind for event in memory.history(added.id)] == ["add"]


def test_forgetting_writes_the_file_anew(locked: Memory, tmp_path: Path) -> None:
    report = locked.forget(user_id="anna", about="Lisbon")
    assert report.verified
    assert report.rebuilt
    assert "encrypted" in str(report)
    assert locked.engine.store.db.one("PRAGMA freelist_count") == 0
    assert len(locked.list(user_id="anna")) == 2


@pytest.mark.parametrize("key", ["another", OTHER, KEY + " "])
def test_another_key_does_not_open_it(locked: Memory, tmp_path: Path, key: Any, capfd: Any) -> None:
    locked.close()
    before = bytes_of(tmp_path)
    with pytest.raises(WrongKey, match=r"This key does not open .*m\.db"):
        Memory(tmp_path / "m.db", embedder="hash", key=key)
    with pytest.raises(WrongKey, match="This key does not open"):
        Memory.rekey(tmp_path / "m.db", tmp_path / "new.db", key=key)
    assert bytes_of(tmp_path) == before
    assert capfd.readouterr() == ("", "")


def test_without_a_key_it_says_that_it_is_encrypted(locked: Memory, tmp_path: Path) -> None:
    locked.close()
    with pytest.raises(WrongKey, match="is encrypted") as caught:
        Memory(tmp_path / "m.db", embedder="hash")
    assert "--key-file" in str(caught.value)


def test_a_key_does_not_open_a_plain_file(open_memory: Open, tmp_path: Path) -> None:
    open_memory(tmp_path / "m.db").add("I moved to Lisbon.")
    with pytest.raises(WrongKey, match="not encrypted"):
        Memory(tmp_path / "m.db", embedder="hash", key=KEY)


@pytest.mark.parametrize("key", ["", "  ", b"short", "a\0b", 7, "\ud800"])
def test_what_is_no_key(tmp_path: Path, key: Any) -> None:
    with pytest.raises(InvalidInput, match="key"):
        Memory(tmp_path / "m.db", embedder="hash", key=key)
    assert list(tmp_path.iterdir()) == []


def test_a_memory_without_a_file_has_no_key() -> None:
    with pytest.raises(InvalidInput, match="nothing to encrypt"):
        Memory(embedder="hash", key=KEY)


def test_damage_is_noticed(locked: Memory, open_memory: Open, tmp_path: Path) -> None:
    locked.close()
    data = bytearray((tmp_path / "m.db").read_bytes())
    for at in range(4096 + 100, len(data), 4096):  # every page but the first
        data[at] ^= 1
    (tmp_path / "m.db").write_bytes(data)
    with pytest.raises(CorruptStore):
        open_memory(tmp_path / "m.db", key=KEY).list(user_id="anna")


def test_damage_is_not_taken_for_encryption(open_memory: Open, tmp_path: Path) -> None:
    memory = open_memory(tmp_path / "m.db")
    memory.add_many([f"{text} {i}" for i in range(30) for text in SAID])
    memory.close()
    data = bytearray((tmp_path / "m.db").read_bytes())
    data[:4096] = np.random.default_rng(1).bytes(4096)
    (tmp_path / "m.db").write_bytes(data)
    with pytest.raises(CorruptStore):
        Memory(tmp_path / "m.db", embedder="hash")


def test_without_the_library_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name.startswith("sqlcipher3"):
            raise ImportError(name)
        return real(name, *args, **options)

    encryption._connection_class.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"halflife\[encryption\]"):
        Memory(tmp_path / "m.db", embedder="hash", key=KEY)
    assert list(tmp_path.iterdir()) == []


def test_errors_are_those_of_the_built_in_library(locked: Memory) -> None:
    db = locked.engine.store.db.connection
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        db.execute("SELECT * FROM nowhere")
    with pytest.raises(sqlite3.IntegrityError) as caught:
        db.executemany("INSERT INTO space VALUES (?, ?)", [(1, "user:x")])
    assert caught.value.sqlite_errorcode & 0xFF == sqlite3.SQLITE_CONSTRAINT
    with pytest.raises(sqlite3.OperationalError):
        list(db.execute("SELECT abs(-9223372036854775808)"))


def test_two_may_use_it_at_once(locked: Memory, tmp_path: Path) -> None:
    with SqliteStore(tmp_path / "m.db", law=FSRS6(), key=KEY) as other:
        locked.add("I like tea.", user_id="anna")
        assert dict(other.spaces()) == dict(locked.spaces())


WRITER = """
import sys
from halflife import Memory
memory = Memory(sys.argv[1], embedder="hash", key=bytes(range(32)))
for i in range(10_000):
    [added] = memory.add(f"This is number {i}.")
    print(added.id, flush=True)
"""


def test_a_killed_writer_loses_nothing_acknowledged(open_memory: Open, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "m.db")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline().strip() for _ in range(20)]
        writer.kill()
        acknowledged += [line.strip() for line in writer.stdout if line.endswith("\n")]
    memory = open_memory(tmp_path / "m.db", key=OTHER)
    assert len(memory.engine.store.get(acknowledged)) == len(acknowledged) >= 20
    assert memory.doctor().healthy


def test_copying_refuses_what_is_there_or_missing(locked: Memory, tmp_path: Path) -> None:
    (tmp_path / "taken.db").touch()
    with pytest.raises(StoreError, match="exists already"):
        Memory.rekey(tmp_path / "m.db", tmp_path / "taken.db", key=KEY)
    with pytest.raises(StoreError, match="does not exist"):
        Memory.rekey(tmp_path / "none.db", tmp_path / "new.db", key=KEY)
    with pytest.raises(HalflifeError):
        Memory.rekey(tmp_path / "m.db", tmp_path / "nowhere" / "new.db", key=KEY)
    assert not (tmp_path / "new.db").exists()


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HALFLIFE_EMBEDDER", "hash")
    (tmp_path / "key.txt").write_text(f"{KEY}\n")
    key = ["--key-file", "key.txt"]
    assert main(["add", SAID[0], "--user", "anna", *key]) == 0
    assert main(["search", "Lisbon", "--user", "anna"]) == 4
    assert "is encrypted" in capsys.readouterr().err
    assert main(["search", "Lisbon", "--user", "anna", *key]) == 0
    assert SAID[0] in capsys.readouterr().out
    monkeypatch.setenv("HALFLIFE_KEY", KEY)
    assert main(["doctor"]) == main(["backup", "copy.db"]) == 0
    assert main(["rekey", "plain.db", "--plain"]) == 0
    assert main(["rekey", "none.db"]) == 2
    monkeypatch.delenv("HALFLIFE_KEY")
    capsys.readouterr()
    assert main(["search", "Lisbon", "--user", "anna", "--db", "plain.db"]) == 0
    assert SAID[0] in capsys.readouterr().out
    assert main(["rekey", "again.db", "--db", "plain.db", "--new-key-file", "key.txt"]) == 0
    assert main(["list", "--user", "anna", "--db", "again.db", *key]) == 0
    assert main(["list", "--user", "anna", "--db", "again.db", "--key-file", "missing.txt"]) == 2
    (tmp_path / "empty.txt").touch()
    assert main(["list", "--user", "anna", "--db", "again.db", "--key-file", "empty.txt"]) == 2
    assert KEY not in "".join(capsys.readouterr())
