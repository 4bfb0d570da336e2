"""What goes wrong: one line on stderr, nothing on stdout, the exit code of its kind, and nothing half-written."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from halflife.cli import main
from tests.cli.conftest import Run, process

READERS = (
    ("search", "x", "--user", "anna"), ("context", "x"), ("list",), ("show", "x"), ("history",), ("undo", "1"),
    ("archive", "x"), ("forget", "x", "--yes"), ("consolidate",), ("stats",), ("doctor",), ("reembed",),
    ("backup", "copy.db"), ("export", "all.jsonl"),
)  # fmt: skip


@pytest.mark.parametrize("args", READERS, ids=lambda args: args[0])
def test_reading_a_missing_file_makes_none(run: Run, folder: Path, args: tuple[str, ...]) -> None:
    found = run(*args, "--json")
    assert found.code == 4
    assert found.out == ""
    assert found.err.startswith("error: halflife.db does not exist.")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "args",
    [
        ("search", "x"),
        ("list",),
        ("forget", "--everything", "--yes"),
        ("export", "out.jsonl"),
        ("history",),
        ("context", "x"),
    ],
    ids=lambda args: args[0],
)
def test_an_unknown_user_is_an_error_that_names_nobody_else(run: Run, anna: list[str], args: tuple[str, ...]) -> None:
    found = run(*args, "--user", "bob")
    assert found.code == 3
    assert found.out == ""
    assert "user:bob" in found.err
    assert "anna" not in found.err
    assert not Path("out.jsonl").exists()


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (("add", "   "), "empty"),
        (("add", "x", "--at", "yesterday"), "no form that is known"),
        (("add", "x", "--importance", "2"), "importance"),
        (("add", "x", "--meta", "novalue"), "key=value"),
        (("add", "x", "--meta", "n:=[1"), "not JSON"),
        (("search", "x", "--user", "anna", "-k", "0"), "at least 1"),
        (("search", "x", "--user", "anna", "--filter", "{"), "not JSON"),
        (("search", "x", "--user", "anna", "--filter", "[1]"), "JSON object"),
        (("list", "--user", "anna", "--filter", '{"role": {"like": "x"}}'), "Unknown operator"),
        (("forget", "--user", "anna"), "Nothing says what to forget"),
        (("add", "x", "--embedder", "nonsense", "--db", "new.db"), "no embedder"),
    ],
)
def test_bad_input_is_refused_in_one_line(run: Run, anna: list[str], args: tuple[str, ...], what: str) -> None:
    found = run(*args)
    assert found.code == 2
    assert found.out == ""
    assert what in found.err
    assert len(found.err.splitlines()) == 1
    assert len(run("list", "--user", "anna", "--json").lines) == 3


def test_unknown_ids_and_operations(run: Run, anna: list[str]) -> None:
    for args in (
        ("show", "nope"),
        ("history", "nope"),
        ("archive", "nope"),
        ("forget", anna[0], "nope", "--yes"),
        ("undo", "99"),
    ):
        assert run(*args).code == 3, args
    assert len(run("list", "--user", "anna", "--json").lines) == 3


def test_wrong_usage_is_exit_code_2(run: Run) -> None:
    assert run("nonsense").code == 2
    assert run("search").code == 2
    assert run("import", "x.jsonl", "--agent", "helper").code == 2


def test_stdin_that_is_not_text(run: Run) -> None:
    found = run("add", "-", stdin=b"caf\xe9")
    assert found.code == 2
    assert "UTF-8" in found.err
    Path("bad.jsonl").write_bytes(b"caf\xe9")
    assert run("import", "bad.jsonl").code == 2
    assert run("import", "missing.jsonl").code == 2


def test_a_bad_line_imports_nothing(run: Run, anna: list[str]) -> None:
    Path("chat.jsonl").write_text('{"role": "user", "content": "good"}\n{"role": "user", "con\n', encoding="utf-8")
    found = run("import", "chat.jsonl", "--user", "anna")
    assert found.code == 2
    assert "2" in found.err
    assert len(run("list", "--user", "anna", "--json").lines) == 3


def test_a_file_that_is_no_memory_stays_as_it_is(run: Run, folder: Path) -> None:
    path = folder / "halflife.db"
    path.write_bytes(b"this is no database at all" * 100)
    for args in (("list",), ("add", "x"), ("doctor",), ("doctor", "--repair")):
        found = run(*args)
        assert found.code == 4, args
        assert found.err.startswith("error: ")
    assert path.read_bytes() == b"this is no database at all" * 100


def test_doctor_salvages_what_can_be_read_into_a_new_file(run: Run, folder: Path) -> None:
    Path("log.txt").write_text(
        "\n".join(f'{{"role": "user", "content": "memory {i}"}}' for i in range(400)), encoding="utf-8"
    )
    run("import", "log.txt", "--user", "anna")
    path = folder / "halflife.db"
    data = bytearray(path.read_bytes())
    data[:100] = bytes(100)
    path.write_bytes(data)
    assert run("doctor").code == 4
    saved = run("doctor", "--repair", "--json")
    assert saved.code == 0
    assert saved.one["salvaged"] == "halflife.salvaged.db"
    assert path.read_bytes() == bytes(data)
    assert len(run("list", "--user", "anna", "--db", "halflife.salvaged.db", "--limit", "1000", "--json").lines) > 300


def test_doctor_reports_damage_and_mends_it(run: Run, anna: list[str], folder: Path) -> None:
    with sqlite3.connect(folder / "halflife.db") as db:
        db.execute("UPDATE trace SET importance = 7")
    db.close()
    sick = run("doctor", "--json")
    assert (sick.code, sick.one["healthy"]) == (1, False)
    assert run("doctor", "--repair").code == 0
    assert run("doctor").code == 0


def test_an_unexpected_error_is_a_line_and_with_debug_a_traceback(
    run: Run, anna: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from halflife.agent.memory import Memory

    monkeypatch.setattr(Memory, "stats", lambda self: 1 / 0)
    found = run("stats")
    assert found.code == 70
    assert found.err.startswith("error: unexpected ZeroDivisionError")
    assert "Traceback" not in found.err
    assert "Traceback" in run("stats", "--debug").err


def test_a_keyboard_interrupt_is_130(run: Run, anna: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from halflife.agent.memory import Memory

    def interrupted(self: Memory) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Memory, "stats", interrupted)
    found = run("stats")
    assert (found.code, found.out) == (130, "")


SLOW = """
import sys, time
from halflife.llm.hashing import HashEmbedder
embed = HashEmbedder.embed
def slowly(self, texts):
    if len(texts) > 100:
        print("embedding", file=sys.stderr, flush=True)
        time.sleep(60)
    return embed(self, texts)
HashEmbedder.embed = slowly
from halflife.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_ctrl_c_during_an_import_leaves_nothing_of_it(run: Run, anna: list[str]) -> None:
    lines = [f'{{"role": "user", "content": "line {i}"}}' for i in range(200)]
    Path("chat.jsonl").write_text("\n".join(lines), encoding="utf-8")
    child = subprocess.Popen(
        [sys.executable, "-c", SLOW, "import", "chat.jsonl", "--user", "anna"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ),
    )  # fmt: skip
    with child:
        assert child.stderr is not None
        assert child.stderr.readline() == b"embedding\n"
        time.sleep(0.1)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=30)
    assert (child.returncode, out) == (130, b"")
    assert b"Traceback" not in err
    assert len(run("list", "--user", "anna", "--json").lines) == 3
    assert run("doctor").code == 0


def test_a_reader_that_goes_away_is_no_error_message(run: Run, anna: list[str]) -> None:
    Path("log.txt").write_text(
        "\n".join(f'{{"role": "user", "content": "memory {i}"}}' for i in range(3000)), encoding="utf-8"
    )
    run("import", "log.txt", "--user", "anna")
    with subprocess.Popen(
        [sys.executable, "-m", "halflife.cli", "export", "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=dict(os.environ),
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        child.stdout.close()
        assert child.stderr.read() == b""


def test_a_process_exits_with_the_code_and_keeps_stdout_clean(run: Run, anna: list[str]) -> None:
    found = process("list", "--user", "bob", "--json")
    assert (found.returncode, found.stdout) == (3, b"")
    assert found.stderr.count(b"\n") == 1
    piped = process("add", "--user", "anna", "--json", input="Ünïcode, 日本.".encode())
    assert piped.returncode == 0
    assert "日本".encode() in process("list", "--user", "anna", "--json").stdout


def test_version() -> None:
    assert main(["--version"]) == 0
