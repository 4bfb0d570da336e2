"""Killed at any moment, written by several processes, read while forgetting: nothing acknowledged is lost."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from halflife import Memory
from tests.torture import writer
from tests.torture.tally import Tally

READER = """
import sys
from halflife import Memory
with Memory(sys.argv[1], embedder="hash:32") as memory:
    print("ready", flush=True)
    for line in sys.stdin:
        hits = memory.search(line.strip(), k=3, reinforce=False)
        print(*[hit.text for hit in hits], sep="|", flush=True)
"""
LOOP = """
import sys
from halflife import Memory
with Memory(sys.argv[1], embedder="hash:32") as memory:
    print("ready", flush=True)
    rounds = 0
    while memory.engine.store.db.meta("stop") is None:
        for hit in memory.search("secret tea", k=20):
            assert hit.text
        rounds += 1
    print(rounds, len(memory.list(limit=None)), flush=True)
"""
MANY = """
import sys
from halflife import Memory
with Memory(sys.argv[1], embedder="hash:32", synchronous="NORMAL") as memory:
    for i in range(int(sys.argv[3])):
        memory.add(f"number {i} of {sys.argv[2]}")
        if i % 7 == 0:
            memory.add_many([f"many {i} {j} of {sys.argv[2]}" for j in range(5)])
"""


class Expected:
    """What must be there after a crash, by what the writer said."""

    def __init__(self) -> None:
        self.text: dict[str, set[str]] = {}  # what a trace may say
        self.maybe_gone: set[str] = set()
        self.forgotten: dict[str, set[str]] = {}
        self.batches: list[list[str]] = []

    def hear(self, line: str) -> None:
        when, *rest = json.loads(line)
        if when in ("open", "end", "fail"):
            return
        act, *what = rest
        if (when, act) == ("done", "add"):
            self.text[what[0]] = {what[1]}
        elif (when, act) == ("will", "many"):
            self.batches.append(what[0])
        elif (when, act) == ("done", "many"):
            self.text |= {id: {text} for id, text in zip(*what, strict=True)}
        elif act == "update":
            self.text[what[0]] = {what[1]} if when == "done" else self.text[what[0]] | {what[1]}
        elif (when, act) == ("will", "forget"):
            self.maybe_gone |= set(what[0])
        elif act == "forget":
            for id in what[0]:
                self.forgotten[id] = self.text.pop(id)
            self.maybe_gone -= set(what[0])

    def check(self, path: Path) -> None:
        with Memory(path, embedder="hash:32") as memory:
            assert memory.engine.store.db.one("PRAGMA integrity_check") == "ok"
            diagnosis = memory.doctor()
            assert diagnosis.healthy, str(diagnosis)
            there = {trace.id: trace for trace in memory.engine.store.iterate()}
            for id in self.maybe_gone - there.keys():
                self.text.pop(id, None)
            self.maybe_gone.clear()
            lost = [id for id, texts in self.text.items() if id not in there or there[id].text not in texts]
            assert not lost, f"{len(lost)} of {len(self.text)} are lost: {[self.text[id] for id in lost[:5]]}"
            for id in self.text:
                self.text[id] = {there[id].text}
            assert not self.forgotten.keys() & there.keys()
            self._check_batches([trace.text for trace in there.values()])
            active = [trace for trace in there.values() if trace.status == "active"]
            for trace in active[:: 1 + len(active) // 20]:
                assert trace.id in {hit.id for hit in memory.search(trace.text, k=5, reinforce=False)}
        self._check_bytes(path)

    def _check_batches(self, texts: list[str]) -> None:
        """A batch that was never acknowledged is there whole or not at all."""
        batch = self.batches[-1] if self.batches else []
        if batch and not any(batch[0] in known or batch[-1] in known for known in self.text.values()):
            count = len(set(batch) & set(texts))
            later = len({text for texts in self.forgotten.values() for text in texts} & set(batch))
            assert later or count in (0, len(batch))

    def _check_bytes(self, path: Path) -> None:
        data = b"".join(file.read_bytes() for file in path.parent.iterdir() if file.is_file())
        for texts in self.forgotten.values():
            for text in texts:
                assert text.split()[1].encode() not in data


def killed(path: Path, seed: int, seconds: float) -> list[str]:
    """Let a writer run, kill it, and return what it said."""
    process = subprocess.Popen(
        [sys.executable, writer.__file__, str(path), str(seed)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    assert lines[0], process.communicate()[1]
    time.sleep(seconds)
    still_running = process.poll() is None
    process.kill()
    with process:
        assert process.stderr is not None
        assert still_running, process.stderr.read()
        lines += process.stdout.readlines()
    return [line for line in lines if line.endswith("\n")]


def crash_rounds(path: Path, tally: Tally, rounds: int, longest: float) -> None:
    rng = random.Random(rounds)
    expected = Expected()
    with tally.of("kills") as count:
        for seed in range(rounds):
            for line in killed(path, seed, rng.uniform(0.0, longest)):
                expected.hear(line)
            count.cases += 1
            count.acknowledged += len(expected.text)
            try:
                expected.check(path)
            except Exception:
                count.losses += 1
                raise
    assert expected.text
    assert expected.forgotten


def test_killed_at_any_moment(tmp_path: Path, tally: Tally) -> None:
    crash_rounds(tmp_path / "a.db", tally, rounds=6, longest=0.4)


@pytest.mark.torture
def test_killed_two_hundred_times(tmp_path: Path, tally: Tally) -> None:
    for part in range(10):
        (tmp_path / str(part)).mkdir()
        crash_rounds(tmp_path / str(part) / "a.db", tally, rounds=20, longest=1.5)


def at_once(path: Path, processes: int, count: int) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", MANY, str(path), f"w{i}", str(count)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for i in range(processes)
    ]
    for one in writers:
        assert one.communicate()[1] == b""
    with Memory(path, embedder="hash:32") as memory:
        texts = [trace.text for trace in memory.list(limit=None)]
        wanted = {f"number {i} of w{w}" for i in range(count) for w in range(processes)}
        wanted |= {f"many {i} {j} of w{w}" for i in range(0, count, 7) for j in range(5) for w in range(processes)}
        assert sorted(texts) == sorted(wanted)
        assert [event.op for event in memory.operations(limit=10**6)] == list(
            range(len(memory.operations(limit=10**6)), 0, -1)
        )
        assert memory.doctor().healthy


def test_four_write_at_once(tmp_path: Path) -> None:
    at_once(tmp_path / "a.db", 4, 30)


@pytest.mark.torture
def test_eight_write_much_at_once(tmp_path: Path) -> None:
    at_once(tmp_path / "a.db", 8, 3_000)


def start(code: str, path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def ask(process: subprocess.Popen[str], query: str) -> list[str]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(query + "\n")
    process.stdin.flush()
    return process.stdout.readline().rstrip("\n").split("|")


def test_another_process_sees_it_at_once(tmp_path: Path) -> None:
    with Memory(tmp_path / "a.db", embedder="hash:32") as memory:
        memory.add("the first")
        reader = start(READER, tmp_path / "a.db")
        assert ask(reader, "first") == ["the first"]
        for i in range(20):
            [added] = memory.add(f"number{i}")
            assert ask(reader, f"number{i}")[0] == f"number{i}"
            memory.update(added.id, text=f"changed{i}")
            assert ask(reader, f"changed{i}")[0] == f"changed{i}"
            memory.forget(added.id)
            assert f"changed{i}" not in ask(reader, f"changed{i}")
        _, err = reader.communicate()
        assert err == ""


def test_forgetting_while_another_reads(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with Memory(path, embedder="hash:32", synchronous="NORMAL") as memory:
        added = memory.add_many([f"secret tea zq{i}q" for i in range(60)])
        memory.add_many([f"tea for {i}" for i in range(20)])
        reader = start(LOOP, path)
        reports: list[Any] = [memory.forget([a.id for a in added[i : i + 12]]) for i in range(0, 60, 12)]
        memory.engine.store.db.set_meta("stop", "1")
        out, err = reader.communicate(timeout=60)
        assert err == ""
        rounds, left = map(int, out.split())
        assert rounds > 0
        assert left == 20
        assert all(report.verified for report in reports)
    data = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert not any(f"zq{i}q".encode() in data for i in range(60))
