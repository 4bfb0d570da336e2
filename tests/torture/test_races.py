"""Writers, readers, a sleeper and a forgetter at once: what each was told holds for all of them afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from halflife import Memory
from tests.torture import racer
from tests.torture.tally import Tally


def started(role: str, path: Path, number: int, count: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", racer.__name__, role, str(path), str(number), str(count)], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert process.stdout is not None
    assert json.loads(process.stdout.readline()) == ["ready"]
    return process


def heard(process: subprocess.Popen[str], timeout: float) -> list[list[Any]]:
    out, err = process.communicate("go\n", timeout=timeout)
    assert process.returncode == 0, err
    return [json.loads(line) for line in out.splitlines()]


def race(path: Path, tally: Tally, writers: int, readers: int, count: int, secrets: int) -> None:
    with tally.of("races") as tallied:
        with Memory(path, embedder="hash:32") as memory:
            memory.add_many([f"secret sq{i}q" for i in range(secrets)])
        work = [started("write", path, i, count) for i in range(writers)] + [started("forget", path, 0, 0)]
        others = [started("read", path, i, 0) for i in range(readers)] + [started("sleep", path, 0, 0)]
        for process in (*work, *others):
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        said = [line for process in work for line in heard(process, 600)]
        with Memory(path, embedder="hash:32") as memory:
            memory.engine.store.db.set_meta("stop", "1")
        rounds = [line for process in others for line in heard(process, 120)]
        assert all(number > 0 for _, number in rounds)
        texts: dict[str, str] = {}
        for what, id, text in said:
            if what == "said":
                texts[id] = text  # one writer a memory: its last word counts
        tallied.cases += 1
        tallied.acknowledged += len(texts)
        forgot = [verified for what, _, verified in said if what == "forgot"]
        with Memory(path, embedder="hash:32") as memory:
            there = {trace.id: trace.text for trace in memory.engine.store.iterate()}
            lost = [text for id, text in texts.items() if there.get(id) != text]
            tallied.losses += len(lost)
            assert not lost
            assert len(forgot) == secrets
            assert not any(text.startswith("secret") for text in there.values())
            assert set(there) == set(texts)
            operations = [event.op for event in memory.operations(limit=10**6)]
            assert len(set(operations)) == len(operations)
            assert memory.doctor().healthy
        data = b"".join(file.read_bytes() for file in path.parent.iterdir() if file.is_file())
        remains = [i for i in range(secrets) if f"sq{i}q".encode() in data]
        assert not remains


def test_all_at_once(tmp_path: Path, tally: Tally) -> None:
    race(tmp_path / "a.db", tally, writers=2, readers=1, count=25, secrets=6)


@pytest.mark.torture
@pytest.mark.parametrize("number", range(6))
def test_all_at_once_for_long(tmp_path: Path, tally: Tally, number: int) -> None:
    race(tmp_path / "a.db", tally, writers=2 + number, readers=1 + number % 3, count=300, secrets=40)
