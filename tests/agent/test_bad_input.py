"""What cannot be stored or read is refused in one way: a HalflifeError that says what to do, and nothing changes."""

from __future__ import annotations

import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from halflife import Memory
from halflife.errors import (
    CorruptStore,
    HalflifeError,
    InvalidFilter,
    InvalidInput,
    NewerStore,
    StoreBusy,
    StoreError,
    UnknownSpace,
    UnknownTrace,
)
from halflife.store.schema import MIGRATIONS


class Strange:
    """A value that nothing knows, and that is called the same in every process."""

    def __repr__(self) -> str:
        return "Strange()"


def refused(memory: Memory, call: Callable[[], Any], error: type[HalflifeError] = InvalidInput) -> str:
    """The call raises, says something, and leaves the memory as it was."""
    before, op = list(memory.engine.store.iterate()), memory.engine.store.last_op()
    with pytest.raises(error) as caught:
        call()
    assert list(memory.engine.store.iterate()) == before
    assert memory.engine.store.last_op() == op
    assert len(str(caught.value)) > 10
    return str(caught.value)


NO_TEXT = [
    "", "   ", "\n\t", None, 5, b"bytes", ["ok", ""], [], {}, {"role": "user"}, [{"content": None}], ["ok", 5],
    "a\x00b", "lone \ud800 surrogate", "x" * 1_000_001, {"text": "x", "colour": "red"}, {"text": ["x"]},
]  # fmt: skip


@pytest.mark.parametrize("content", NO_TEXT, ids=lambda c: repr(c)[:20])
def test_what_is_no_text(memory: Memory, content: Any) -> None:
    memory.add("kept")
    refused(memory, lambda: memory.add(content))
    if isinstance(content, list) and content:
        refused(memory, lambda: memory.add_many(content))
    if isinstance(content, (str, int, bytes)):
        [added] = memory.add("kept")
        refused(memory, lambda: memory.update(added.id, text=content))


@pytest.mark.parametrize(
    "given",
    [
        {"at": "yesterday-ish"}, {"at": "2023-02-30"}, {"at": float("nan")}, {"at": float("inf")}, {"at": 1e300},
        {"at": []}, {"at": True}, {"valid_from": "2023-01-02", "valid_to": "2023-01-01"}, {"valid_to": "never"},
        {"importance": -0.1}, {"importance": 1.1}, {"importance": float("nan")}, {"importance": "high"},
        {"layer": ""}, {"layer": 5}, {"role": ""}, {"role": 5}, {"session_id": ""}, {"session_id": 5},
        {"session_id": "\ud800"}, {"user_id": ""}, {"user_id": 5}, {"user_id": "\ud800"}, {"user_id": "a\x00"},
        {"agent_id": ""}, {"agent_id": ["a"]}, {"metadata": "text"}, {"metadata": ["a"]}, {"metadata": {1: 2}},
        {"metadata": {"a": float("nan")}}, {"metadata": {"a": Strange()}}, {"metadata": {"a": "\ud800"}},
        {"metadata": {"a": {1, 2}}}, {"metadata": {"a": b"x"}},
    ],
    ids=repr,
)  # fmt: skip
def test_fields_that_cannot_be(memory: Memory, given: dict[str, Any]) -> None:
    memory.add("kept")
    refused(memory, lambda: memory.add("x", **given))
    if not given.keys() & {"user_id", "agent_id"}:
        refused(memory, lambda: memory.add([{"text": "x", **given}, "y"]))
    if not given.keys() & {"user_id", "agent_id", "role", "session_id"} and list(given) != ["valid_from", "valid_to"]:
        [added] = memory.add("kept")
        refused(memory, lambda: memory.update(added.id, **given))


@pytest.mark.parametrize(
    "vector",
    [[], [0.0] * 256, [float("nan")] * 256, [float("inf")] + [0.0] * 255, [1.0] * 255, [1.0] * 257, ["a"] * 256, "text",
     [[1.0], [1.0, 2.0]], 5, None, np.ones((0, 256)), np.ones((2, 2, 256))],
    ids=lambda v: repr(v)[:20],
)  # fmt: skip
def test_vectors_that_cannot_be(memory: Memory, vector: Any) -> None:
    memory.add("kept")
    if vector is not None:
        refused(memory, lambda: memory.add("x", vector=vector), HalflifeError)
        refused(memory, lambda: memory.add_many(["y", {"text": "x", "vector": vector}]), HalflifeError)
    refused(memory, lambda: memory.search(vector=vector), HalflifeError)


def test_an_embedder_that_fails(open_memory: Callable[..., Memory]) -> None:
    """Whatever comes out of a caller's function."""
    answers: list[Any] = [np.full((1, 2), np.nan), np.zeros((2, 2)), np.ones((1, 3)), np.zeros((1, 2)), "text", None]
    good = np.array([[1.0, 0.0]])
    answer: list[Any] = [good]
    memory = open_memory(embedder=lambda texts: answer[0])
    memory.add("kept")
    for answer[0] in answers:
        refused(memory, lambda: memory.add("x"), HalflifeError)
        refused(memory, lambda: memory.search("x"), HalflifeError)
    answer[0] = good
    assert memory.search("kept")


@pytest.mark.parametrize(
    "filters",
    [
        {"k": {"like": "x"}}, {"k": {}}, {"k": {"in": []}}, {"k": {"in": "abc"}}, {"k": {"gt": None}},
        {"k": {"eq": {}}},
        {"k": {"contains": 5}}, {"AND": {}}, {"OR": []}, {"NOT": 5}, {"": 1}, {5: 1}, {"at": "soon"}, {"k": Strange()},
        {'a"b': 1}, {"k": b"x"},
    ],
    ids=repr,
)  # fmt: skip
def test_filters_that_cannot_be(memory: Memory, filters: Any) -> None:
    memory.add("kept")
    refused(memory, lambda: memory.search("kept", filters=filters))
    refused(memory, lambda: memory.forget(filters=filters))


@pytest.mark.parametrize("value", [10**30, "\ud800", -(2**63) - 1])
def test_values_that_no_column_holds(memory: Memory, value: Any) -> None:
    memory.add("kept")
    refused(memory, lambda: memory.list(filters={"k": value}))
    if isinstance(value, str):
        refused(memory, lambda: memory.get(value), HalflifeError)
        refused(memory, lambda: memory.forget(value), HalflifeError)
        refused(memory, lambda: memory.history(value), HalflifeError)
    else:
        refused(memory, lambda: memory.undo(value), HalflifeError)


def test_questions_that_cannot_be(memory: Memory) -> None:
    memory.add("kept")
    for call in (
        lambda: memory.search(), lambda: memory.search(""), lambda: memory.search("x", k=0), lambda: memory.search(5),
        lambda: memory.search("x", k=-1), lambda: memory.search("x\x00"), lambda: memory.search("\ud800"),
        lambda: memory.search("x", now="soon"), lambda: memory.search("x", since="soon"),
        lambda: memory.search("x", user_id="anna", filters={"user_id": "bob"}), lambda: memory.context("x", budget=0),
        lambda: memory.forget(about="?!"), lambda: memory.update("nowhere"),
    ):  # fmt: skip
        refused(memory, call)


def test_who_and_what_is_unknown(memory: Memory) -> None:
    [added] = memory.add("kept")
    for call in (lambda: memory.list(user_id="x"), lambda: memory.consolidate(user_id="x"),
                 lambda: memory.delete_all(user_id="x"), lambda: list(memory.export(user_id="x"))):  # fmt: skip
        refused(memory, call, UnknownSpace)
    for call in (lambda: memory.get("x"), lambda: memory.update("x", text="y"), lambda: memory.forget("x"),
                 lambda: memory.archive("x"), lambda: memory.link(added.id, "x"), lambda: memory.history("x"),
                 lambda: memory.delete("x")):  # fmt: skip
        refused(memory, call, UnknownTrace)
    assert memory.search("kept", user_id="x") == []


def test_strange_but_lawful_text_is_kept_as_it_is(memory: Memory) -> None:
    texts = ["\x01\x07 bell", "a\r\nb", "\u202etfel", "e\u0301" * 50, "👩‍👩‍👧‍👦", "%s'; --", "\ufeffbom",
             "x" * 1_000_000,
             "\x1f unit", "{}", "null", "Z̡" + "\u0335" * 5_000]  # fmt: skip
    ids = [added.id for added in memory.add_many(texts)]
    assert [memory.get(id).text for id in ids] == texts
    for text in texts:
        memory.search(text[:1000])
    assert list(memory.export())
    assert memory.doctor().healthy


# -- files --------------------------------------------------------------------------------------------------------


def refuses_to_open(path: Path, error: type[HalflifeError], **options: Any) -> None:
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(error) as caught:
        Memory(path, embedder="hash", **options)
    assert caught.value.hint
    assert str(path) in str(caught.value) or str(path.parent) in str(caught.value)
    if before is not None:
        assert path.read_bytes() == before


def test_files_that_are_no_store(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("Dear diary, " * 1000)
    refuses_to_open(tmp_path / "text.db", CorruptStore)
    (tmp_path / "short.db").write_bytes(b"SQLite format 3\0")
    refuses_to_open(tmp_path / "short.db", StoreError)
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE notes (text)")
    other.close()
    refuses_to_open(tmp_path / "other.db", CorruptStore)
    refuses_to_open(tmp_path, StoreError)
    refuses_to_open(tmp_path / "nowhere" / "a.db", StoreError)
    refuses_to_open(tmp_path / "missing.db", StoreError, must_exist=True)
    assert not (tmp_path / "missing.db").exists()


def test_a_store_of_a_newer_version(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    Memory(path, embedder="hash").close()
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    db.close()
    refuses_to_open(path, NewerStore)


@pytest.fixture
def full(tmp_path: Path) -> Path:
    path = tmp_path / "full.db"
    with Memory(path, embedder="hash", synchronous="NORMAL") as memory:
        memory.add_many([f"number {i}" for i in range(500)])
    return path


def read_all(path: Path) -> None:
    with Memory(path, embedder="hash") as memory:
        memory.search("number")
        list(memory.engine.store.iterate())


@pytest.mark.parametrize("keep", [0.9, 0.5, 0.1])
def test_a_truncated_file(full: Path, keep: float) -> None:
    full.write_bytes(full.read_bytes()[: int(full.stat().st_size * keep)])
    with pytest.raises(StoreError) as caught:
        read_all(full)
    assert "doctor" in str(caught.value) or "backup" in str(caught.value)


def test_a_damaged_page(full: Path) -> None:
    data = bytearray(full.read_bytes())
    data[8192 * 3 : 8192 * 60] = b"\xa5" * (8192 * 57)
    full.write_bytes(data)
    with pytest.raises(CorruptStore):
        read_all(full)


def test_a_backup_to_where_it_cannot_be(memory: Memory, tmp_path: Path) -> None:
    memory.add("tea")
    for target in (tmp_path / "nowhere" / "copy.db", tmp_path):
        with pytest.raises(StoreError):
            memory.backup(target)
    assert tmp_path.is_dir()


def test_after_closing(memory: Memory) -> None:
    memory.add("tea")
    memory.close()
    for call in (lambda: memory.add("x"), lambda: memory.search("tea"), lambda: memory.list()):
        with pytest.raises(StoreError):
            call()


def test_a_locked_file(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with Memory(path, embedder="hash", timeout=0.1) as memory:
        memory.add("kept")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        refused(memory, lambda: memory.add("x"), StoreBusy)
        assert memory.search("kept", reinforce=False)
        other.execute("ROLLBACK")
        other.close()
        memory.add("x")


def chattr(flag: str, path: Path) -> None:
    tool = shutil.which("chattr")
    if tool is None or subprocess.run([tool, flag, str(path)], capture_output=True).returncode:
        pytest.skip("files cannot be made immutable here")


def test_a_file_that_cannot_be_written(full: Path) -> None:
    chattr("+i", full)
    try:
        with pytest.raises(StoreError), Memory(full, embedder="hash") as memory:
            memory.add("x")
    finally:
        chattr("-i", full)
    with Memory(full, embedder="hash") as memory:
        assert len(memory.list(limit=None)) == 500


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    chattr("+i", tmp_path)
    try:
        with pytest.raises(StoreError):
            Memory(tmp_path / "a.db", embedder="hash")
    finally:
        chattr("-i", tmp_path)


FULL_DISK = """
import resource, sys
from halflife import Memory
from halflife.errors import HalflifeError
memory = Memory(sys.argv[1], embedder="hash", synchronous="NORMAL")
acknowledged = 0
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    while True:
        memory.add(f"number {acknowledged} " + "x" * 500)
        acknowledged += 1
except HalflifeError as error:
    print(acknowledged, error.hint != "", flush=True)
    try:
        memory.search("number 1", k=1, reinforce=False)
    except HalflifeError:
        pass
"""


def test_a_full_disk(tmp_path: Path) -> None:
    """A limit on the size of a file stands in: writes beyond it fail as on a full disk."""
    path = tmp_path / "a.db"
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path), str(1 << 20)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    acknowledged, hint = done.stdout.split()
    assert hint == "True"
    with Memory(path, embedder="hash") as memory:
        assert len(memory.list(limit=None)) == int(acknowledged)
        assert memory.doctor().healthy
        memory.add("there is room again")


INTERRUPTED = """
import signal, sys
from halflife import Memory
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
memory = Memory(sys.argv[1], embedder="hash", synchronous="NORMAL")
memory.add("before")
print("ready", flush=True)
try:
    while True:
        memory.add_many([f"number {i}" for i in range(2000)])
        memory.forget(filters={"text": {"ne": "before"}})
except KeyboardInterrupt:
    memory.add("after")
    assert memory.search("before", k=1)[0].text == "before"
    print(len(memory.list(limit=None)), memory.doctor().healthy, flush=True)
"""


@pytest.mark.parametrize("delay", [0.05, 0.3, 0.7])
def test_an_interrupt_in_the_middle_of_many(tmp_path: Path, delay: float) -> None:
    """Ctrl-C: all of the batch or nothing, and the memory goes on working."""
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path / "a.db")], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    count, healthy = out.split()
    assert count in ("2", "2002")
    assert healthy == "True"


def test_filters_say_what_is_wrong() -> None:
    with Memory(embedder="hash") as memory, pytest.raises(InvalidFilter, match="icontains"):
        memory.search("x", filters={"k": {"like": 1}})
