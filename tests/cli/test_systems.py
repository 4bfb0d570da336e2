"""`halflife systems` and `halflife compare`, and the options --system and --llm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from halflife.agent.system import SYSTEMS
from halflife.cli import main
from tests.llm.servers import Script, serving


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(list(words))
    out, err = capsys.readouterr()
    return code, out, err


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_systems_are_listed_with_what_they_cost(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "systems", "--embedder", "hash", "--json")
    assert code == 0
    rows = {row["system"]: row for row in lines(out)}
    assert list(rows) == list(SYSTEMS)
    for row in rows.values():
        assert row["write ms"] > 0
        assert row["recall ms"] > 0
        assert row["calls a write"] == 0
    code, out, _ = run(capsys, "systems", "--no-measure")
    assert code == 0
    assert "think-in-memory" in out
    assert "ms" not in out.split("\n")[0]


def test_systems_are_compared_on_the_same_conversations(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    figure, page, data = tmp_path / "a.svg", tmp_path / "a.md", tmp_path / "a.json"
    words = ["compare", "halflife", "tim", "memorybank", "--on", "generated", "--limit", "10", "--embedder", "hash"]
    code, out, _ = run(capsys, *words, "--figure", str(figure), "--out", str(data), "--json")
    assert code == 0
    result = json.loads(out)
    assert json.loads(data.read_text()) == result
    rows = {row["system"]: row for row in result["rows"]}
    assert list(rows) == ["halflife", "think-in-memory", "memorybank"]
    assert rows["halflife"]["recall"] > rows["think-in-memory"]["recall"]  # which keeps conclusions alone
    assert rows["halflife"]["tokens"] > 0
    assert ElementTree.parse(figure).getroot().tag.endswith("svg")
    assert "memorybank" in figure.read_text()
    words = ["compare", "memorybank", "--on", "generated", "--limit", "1", "--embedder", "hash"]
    code, out, _ = run(capsys, *words, "--out", str(page))
    assert code == 0
    assert "| memorybank |" in page.read_text()
    assert "recall@10" in out


def test_calls_of_a_language_model_are_counted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["compare", "memorybank", "--on", "generated", "--limit", "1", "--embedder", "hash", "--json"]
    words += ["--llm", "openai:m", "--llm-cache", str(tmp_path / "answers.db")]
    script = Script(*["They spoke of this and that."] * 1000)
    with serving(script) as url:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        code, out, _ = run(capsys, *words)
        asked = len(script.asked)
        again = run(capsys, *words)
    assert code == again[0] == 0
    row = json.loads(out)["rows"][0]
    assert row["calls"] >= asked > 0
    assert row["llm_tokens"] == 10 * asked
    assert len(script.asked) == asked  # the second time, all answers are known


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["compare", "nothing", "--on", "generated"], "no memory system 'nothing'"),
        (["compare", "tim", "tim", "--on", "generated", "--embedder", "hash"], "Name each system once"),
        (["compare", "tim", "--on", "generated", "--figure", "a.png"], "ends in .svg"),
        (["compare", "tim", "--on", "generated", "--data", "."], "not read from a file"),
        (["compare", "tim", "--on", "generated", "--llm", "gpt"], "no language model 'gpt'"),
        (["add", "x", "--system", "nothing", "--embedder", "hash"], "no memory system 'nothing'"),
    ],
)
def test_mistakes_are_said_plainly(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *words)
    assert code == 2
    assert said in err
    assert out == ""


def test_a_system_on_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = ["--db", str(tmp_path / "m.db"), "--user", "anna", "--system", "tim"]
    assert run(capsys, "add", "I moved to Lisbon in May.", "--role", "user", "--embedder", "hash", *file)[0] == 0
    code, out, _ = run(capsys, "consolidate", *file)
    assert code == 0
    assert "thoughts 1, forgotten 0, merged 0, failed 0" in out
    code, out, _ = run(capsys, "search", "Lisbon", *file, "--json")
    assert code == 0
    assert [hit["role"] for hit in lines(out)] == ["thought"]
