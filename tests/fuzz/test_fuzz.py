"""Fuzzing within the suite: every target under hypothesis, all under Atheris for seconds, and what was found."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.mutate import mutate
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", TARGETS)
def test_the_examples_themselves(name: str) -> None:
    for seed in TARGETS[name].seeds:
        TARGETS[name].run(seed)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=60)
@given(st.data())
def test_nothing_but_errors_of_halflife_comes_out(name: str, data: st.DataObject) -> None:
    target = TARGETS[name]
    random = Random(data.draw(st.integers(0, 2**32), label="seed"))
    example = data.draw(st.one_of(st.sampled_from(target.seeds), st.binary(max_size=60)), label="example")
    for _ in range(random.randint(1, 6)):
        example = mutate(example, random, target.seeds)
    target.run(example)


DEEP = b"[" * 100_000

EXPORT = TARGETS["imports"].seeds[0]

# What fuzzing found, and what broke then.
FOUND = {
    "nested too deeply to be read": ("formats", DEEP),
    "nested too deeply, in an export": ("imports", EXPORT + b"\n" + DEEP),
    "a filter nested too deeply": ("queries", DEEP),
    "metadata nested too deeply": ("metadata", b"n:=" + DEEP),
    "metadata that can be read but not written": ("metadata", b"n:=" + b"[" * 900 + b"]" * 900),
    "a benchmark nested too deeply": ("locomo", DEEP),
    "relations that are a number": ("formats", b'{"results": [], "relations": 1}'),
    "a part of a message that is a number": ("formats", b'{"role": "user", "content": [{"text": 1}]}'),
    "a part of a message that is null": ("formats", b'{"role": "user", "content": [{"text": null}]}'),
    "evidence that is a number": ("locomo", TARGETS["locomo"].seeds[0].replace(b'["D1:1"]', b"1")),
    "a list of questions that is none": ("memdaily", b'[{"message_list": [], "question_list": true}]'),
    "a vector of another length": ("imports", EXPORT.replace(b'"vectors": "AAAAA', b'"vectors": "AAAAQ')),
    "a stability of nothing": ("imports", EXPORT.replace(b'"stability": ', b'"stability": -')),
    "a negative count of uses": ("imports", EXPORT.replace(b'"uses": ', b'"uses": -')),
    "a time of minus zero": ("imports", b'{"role": "user", "content": "I like tea.", "timestamp": -0.0}'),
    "a damaged compressed file": ("gzip", TARGETS["gzip"].seeds[0][:40] + b"\0" + TARGETS["gzip"].seeds[0][41:]),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_fuzzing_found(name: str) -> None:
    target, example = FOUND[name]
    TARGETS[target].run(example)


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="needs the extra fuzz")
def test_some_seconds_of_atheris(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--seconds", "6", "--together", "--folder", str(tmp_path)],
        capture_output=True, text=True, timeout=200, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-5000:]
    assert "no findings" in done.stdout
