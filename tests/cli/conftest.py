"""A command line as a user has it: in a folder of its own, with an embedder that needs no model."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from halflife.cli import main


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """stdout as JSON lines; fails if anything else stands there."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def one(self) -> dict[str, Any]:
        [record] = self.lines
        return record


Run = Callable[..., Outcome]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("HALFLIFE_DB", "HALFLIFE_KEY", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HALFLIFE_EMBEDDER", "hash")
    return tmp_path


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command line in this process."""

    def command(*args: str, stdin: str | bytes | None = None) -> Outcome:
        data = stdin.encode() if isinstance(stdin, str) else stdin or b""
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        capsys.readouterr()
        code = main(args)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return command


@pytest.fixture
def anna(run: Run) -> list[str]:
    """Three memories of anna; their ids, oldest first."""
    texts = (
        ("I moved to Lisbon in May.", "2026-05-20"),
        ("My sister Rosa plays the cello.", "2026-06-01"),
        ("I am allergic to nuts.", "2026-07-07"),
    )
    return [run("add", text, "--user", "anna", "--at", at, "--json").one["id"] for text, at in texts]


def process(*args: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run a command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "halflife.cli", *args], capture_output=True, env=dict(os.environ), timeout=120, **options
    )
