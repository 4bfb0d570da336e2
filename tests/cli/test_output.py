"""What reaches a terminal, and what does not."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from halflife.cli.app import cli
from halflife.cli.output import json_safe, one_line, safe
from tests.cli.conftest import Run

EVIL = "\x1b]0;owned\x07\x1b[31mred\x9b2J\u202ereversed"


@given(st.text())
def test_nothing_that_controls_a_terminal_is_left(text: str) -> None:
    for shown in (safe(text), one_line(text, 40), json_safe(json.dumps(text, ensure_ascii=False))):
        assert not any((ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 for c in shown)
        assert not set(shown) & set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068")


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_json_means_the_same_when_it_is_made_safe(text: str) -> None:
    assert json.loads(json_safe(json.dumps(text, ensure_ascii=False))) == text


@pytest.mark.parametrize(
    "args", [("list",), ("search", "red"), ("context", "red"), ("forget", "--everything"), ("export", "-")]
)
def test_a_stored_text_cannot_reach_the_terminal_raw(run: Run, args: tuple[str, ...]) -> None:
    run("add", EVIL, "--user", "anna", "--session", "s\x1b[2J", "--meta", "k=\x1b[31m")
    for extra in ((), ("--json",)):
        out = run(*args, "--user", "anna", *extra).out
        assert "red" in out
        assert not set(out) & set("\x1b\x07\x9b\u202e")


def test_markup_in_a_text_is_text(run: Run) -> None:
    run("add", "[bold]not bold[/bold] :smile:", "--user", "anna")
    assert "[bold]not bold[/bold] :smile:" in run("list", "--user", "anna").out


def test_what_is_piped_is_never_wrapped_or_cut(run: Run) -> None:
    text = "word " * 400 + "end"
    run("add", text, "--user", "anna")
    for args in (("list",), ("search", "word")):
        [_, line] = run(*args, "--user", "anna").out.splitlines()
        assert line.endswith(text)


def on_terminal(*args: str, columns: int = 100, **variables: str) -> str:
    """The output of a command that writes to a pseudo-terminal."""
    parent, child = pty.openpty()
    env = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm-256color", **variables}
    process = subprocess.Popen(
        [sys.executable, "-m", "halflife.cli", *args], stdin=child, stdout=child, stderr=child, env=env
    )
    os.close(child)
    chunks = []
    try:
        while chunk := os.read(parent, 65536):
            chunks.append(chunk)
    except OSError:  # Linux says EIO when the other end is closed
        pass
    process.wait()
    os.close(parent)
    return b"".join(chunks).decode()


def test_a_terminal_gets_colours_and_no_color_none(run: Run, anna: list[str]) -> None:
    assert "\x1b[" in on_terminal("list", "--user", "anna")
    assert "\x1b[" not in on_terminal("list", "--user", "anna", NO_COLOR="1")
    assert "\x1b" not in run("list", "--user", "anna").out


def test_a_terminal_gets_excerpts_within_its_width(run: Run) -> None:
    run("add", "A sentence of some length. " * 100, "--user", "anna")
    lines = on_terminal("search", "sentence", "--user", "anna", columns=80).splitlines()
    assert max(len(click.unstyle(line)) for line in lines) <= 80
    assert len(lines) < 15


def test_a_question_is_asked_before_erasing(run: Run, anna: list[str]) -> None:
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "halflife.cli", "forget", anna[0]], stdin=child, stdout=child, stderr=child
    )
    os.close(child)
    os.write(parent, b"n\n")
    try:
        while os.read(parent, 65536):
            pass
    except OSError:
        pass
    assert process.wait() == 0
    os.close(parent)
    assert run("show", anna[0]).code == 0


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    if isinstance(command, click.Group):
        return [leaf for name, sub in command.commands.items() for leaf in leaves(sub, (*path, name))]
    return [(path, command)]


@pytest.mark.parametrize(
    ("path", "command"), leaves(cli), ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_every_command_has_json_debug_and_examples(path: tuple[str, ...], command: click.Command) -> None:
    names = {option for parameter in command.params for option in parameter.opts}
    assert {"--json", "--debug"} <= names
    examples = [line for line in (command.help or "").splitlines() if line.strip().startswith(("halflife", "HALFLIFE"))]
    assert 2 <= len(examples) <= 4
    assert all(f"halflife {' '.join(path)}" in "\n".join(examples) for _ in examples)


def test_help_loads_no_engine() -> None:
    code = (
        "import sys; from halflife.cli import main; main(['--help']); "
        "print([m for m in ('numpy', 'rich', 'sqlite3', 'onnxruntime') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


def test_the_page_of_the_command_line_is_up_to_date() -> None:
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "docs/make_cli.py", "--check"], cwd=root, check=True, capture_output=True)
