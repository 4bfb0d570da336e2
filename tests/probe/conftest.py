"""Histories small enough to be read, and the folder of real data where there is one."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from halflife.llm.embedder import Embedder
from halflife.llm.hashing import HashEmbedder
from halflife.probe.benchmarks.history import History, Item, Question

DAY = 86_400.0
Real = Callable[[str], Path]
Write = Callable[[str, Any], Path]


@pytest.fixture
def real() -> Real:
    """Where the real data of a benchmark is; skips the test where there is none."""

    def folder(name: str) -> Path:
        root = Path(os.environ.get("HALFLIFE_DATA", Path(__file__).parents[3] / "shared" / "data"))
        if not (root / name).is_dir():
            pytest.skip(f"no {name}/ in {root} (set HALFLIFE_DATA)")
        return root / name

    return folder


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes JSON, compressed if the name says so; text is written as it is."""

    def file(name: str, content: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        data = text.encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return file


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    return HashEmbedder(512)


def history(id: str = "h") -> History:
    """Two conversations; a question about each, one about both, and one without evidence."""
    items = (
        Item("a1", "Ann: I adopted a dog called Rex.", 0.0, "a", "Ann"),
        Item("a2", "Bob: Congratulations!", 30.0, "a", "Bob"),
        Item("a3", "Ann: Rex eats too much.", 60.0, "a", "Ann"),
        Item("b1", "Ann: My tax return is due in May.", DAY, "b", "Ann"),
        Item("b2", "Bob: Congratulations!", DAY + 30.0, "b", "Bob"),
        Item("b3", "Ann: Rex ate my tax return.", DAY + 60.0, "b", "Ann"),
    )
    questions = (
        Question(f"{id}/q0", "What dog did Ann adopt?", 2 * DAY, "one", frozenset({"a1"}), frozenset({"a"}), "Rex"),
        Question(f"{id}/q1", "When is the return due?", 2 * DAY, "one", frozenset({"b1"}), frozenset({"b"}), "May"),
        Question(f"{id}/q2", "What is Rex like?", 2 * DAY, "many", frozenset({"a3", "b3"}), frozenset({"a", "b"})),
        Question(f"{id}/q3", "Who is the mayor?", 2 * DAY, "none"),
    )
    return History(id, items, questions)
