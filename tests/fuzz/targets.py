"""What is fuzzed: each target takes bytes, and lets nothing out but errors of Halflife.

The same functions are run by hypothesis (`test_fuzz.py`, within the suite) and by Atheris (`python -m tests.fuzz`).
"""

from __future__ import annotations

import contextlib
import gzip
import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from halflife import Memory
from halflife.agent import importers
from halflife.agent.memorybank_json import read_documents
from halflife.cli.options import read_filter, read_metadata
from halflife.errors import HalflifeError
from halflife.probe.benchmarks import beam, locomo, memdaily
from halflife.store import filters
from halflife.store.text import query_ids, same_words, term_ids, tokenize
from halflife.store.timeparse import format_time, parse_time
from halflife.store.timerange import time_range
from halflife.store.trace import Space

NOW = 1_700_000_000.0
Run = Callable[[bytes], None]


@dataclass(frozen=True)
class Target:
    """A function to be fuzzed, and examples that it takes."""

    run: Run
    seeds: tuple[bytes, ...]


def text_of(data: bytes) -> str:
    """Any text, half characters too."""
    return data.decode("utf-8", "surrogateescape")


def memory() -> Memory:
    return Memory(embedder="hash", clock=lambda: NOW)


@cache
def filled() -> Memory:
    made = memory()
    texts = ["I moved to Lisbon in May.", "My sister plays the cello.", "Ich mag Käse.", "我喜欢茶。"]
    made.add_many(
        [{"text": t, "at": NOW - 86400 * i, "metadata": {"n": i, "a": {"b": t}}} for i, t in enumerate(texts)]
    )
    return made


def imports(data: bytes) -> None:
    """The reader of exports and of what other programs wrote: into an empty memory, all or nothing, twice."""
    lines = text_of(data).split("\n")
    with memory() as one:
        try:
            report = one.import_lines(lines)
        except HalflifeError:
            assert one.stats()["traces"]["total"] == 0
            return
        assert report.added == one.stats()["traces"]["total"]
        assert one.import_lines(lines).added == 0
        assert one.doctor().healthy
        with memory() as other:
            other.import_lines(one.export())
            assert other.stats()["traces"] == one.stats()["traces"]


def formats(data: bytes) -> None:
    """The readers of foreign formats alone."""
    try:
        lines = list(importers.numbered(text_of(data).split("\n")))
        if lines:
            importers.read(lines, None, NOW)
    except HalflifeError:
        pass


def times(data: bytes) -> None:
    """A point in time: what is read is written in a way that is read as the same."""
    try:
        seconds = parse_time(text_of(data))
    except HalflifeError:
        return
    assert math.isfinite(seconds)
    assert abs(parse_time(format_time(seconds)) - seconds) < 1e-3


def ranges(data: bytes) -> None:
    """A time named in a question."""
    found = time_range(text_of(data), NOW)
    if found is not None:
        assert found.start < found.end
        assert not math.isnan(found.start)


def queries(data: bytes) -> None:
    """A question, and conditions given as JSON on its first line."""
    first, _, rest = text_of(data).partition("\n")
    try:
        where = read_filter(first)
        if where is not None:
            filters.parse(where)
        filled().search(rest or "tea", filters=where, reinforce=False)
        filled().list(filters=where)
    except HalflifeError:
        pass


def questions(data: bytes) -> None:
    """Any text as a question."""
    try:
        filled().search(text_of(data), reinforce=False)
        filled().context(text_of(data), budget=20, reinforce=False)
    except HalflifeError:
        pass


def words(data: bytes) -> None:
    """The words of a text, and of a question."""
    text = data.decode("utf-8", "replace")
    assert len(term_ids(text)) == len(tokenize(text))
    query_ids(text)
    assert same_words(text, text)


def metadata(data: bytes) -> None:
    """The pairs of `--meta`."""
    try:
        found = read_metadata(text_of(data).split("\n"))
        with memory() as one:
            [added] = one.add("x", metadata=found)
            assert json.dumps(one.get(added.id).metadata, sort_keys=True) == json.dumps(found or {}, sort_keys=True)
    except HalflifeError:
        pass


def documents(data: bytes) -> None:
    """MemoryBank's released schema, read and imported."""
    try:
        value = json.loads(text_of(data))
    except (ValueError, RecursionError):
        return
    try:
        read_documents(value, 1.0)
        with Memory(embedder="hash", clock=lambda: NOW, system="memorybank") as one:
            inner: Any = one.system
            inner.import_json(value)
            for space, _ in one.spaces():
                inner.export_json(Space(space.name))
    except HalflifeError:
        pass


def loader(read: Callable[[Path], Any], name: str) -> Run:
    """The reader of a benchmark's file."""

    def run(data: bytes) -> None:
        file = _folder() / name
        file.write_bytes(data)
        with contextlib.suppress(HalflifeError):
            list(read(file))

    return run


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="halflife-fuzz-"))


def _lines(*values: Any) -> bytes:
    return "\n".join(v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in values).encode()


@cache
def _export() -> bytes:
    with memory() as one:
        a, b = one.add_many(
            ["I moved to Lisbon.", {"text": "I like tea.", "metadata": {"n": 1}, "at": NOW}], user_id="a"
        )
        one.link(a.id, b.id, 0.5)
        one.archive(b.id)
        return "\n".join(one.export()).encode()


FOREIGN = (
    _lines({"role": "user", "content": "I live in Oslo.", "timestamp": "2024-05-01T10:00:00Z", "session_id": "s"}),
    _lines({"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi."}]}], "id": "c1", "date": 1.7e9}),
    _lines([{"role": "user", "content": "I like tea."}, {"role": "assistant", "content": "Noted."}]),
    _lines({"results": [{"id": "m1", "memory": "Likes tea", "user_id": "anna", "created_at": "2024-05-01"}],
            "relations": [1]}),
    _lines({"memory": "Likes tea", "metadata": {"a": [1]}, "agent_id": "x"}),
    _lines("[2024-05-01 10:03] Anna: I moved to Lisbon.", "and I like it", "2024/5/2 Ben: Good."),
    _lines("Anna: hello", "Ben: hi"),
)  # fmt: skip
CONDITIONS = (
    _lines({"role": "user"}, "tea last May"), _lines({"AND": [{"n": {"gte": 1}}, {"a.b": {"icontains": "x"}}]}, "tea"),
    _lines({"NOT": [{"at": {"lt": "2024-01-01"}}], "n": {"in": [1, 2]}, "user_id": "anna"}, "x"),
    _lines({"OR": [{"session_id": "*"}, {"text": {"ne": None}}]}, "cello"),
)  # fmt: skip
MOMENTS = (
    b"2024-05-20", b"2024-05-20T18:30:00.25+02:00", b"1:56 pm on 8 May, 2023", b"May 2024", b"20 May 2024",
    b"1700000000", b"2024-W21-3", b"12/31/2024", b"8 p.m.",
)  # fmt: skip
NAMED = (
    b"last May", b"between 3 and 5 June 2023", b"two weeks ago", b"in the summer of 2021", b"since Tuesday",
    b"on 2024-02-29", b"the 1990s", b"from May to July", b"early last year", b"the past 3 days", b"before 1.5.2024",
)  # fmt: skip
DOCUMENT = _lines(
    {"anna": {"name": "anna", "history": {"2023-05-01": [{"query": "Hi", "response": "Hello", "memory_strength": 2,
     "last_recall_date": "2023-05-02", "memory_id": "x"}]}, "summary": {"2023-05-01": {"content": "They met."}},
     "personality": {"2023-05-01": "Kind."}, "overall_history": "They met.", "overall_personality": "Kind."}}
)  # fmt: skip
LOCOMO = _lines(
    [{"sample_id": "c", "conversation": {"speaker_a": "A", "session_1_date_time": "1:56 pm on 8 May, 2023", "session_1":
     [{"speaker": "A", "dia_id": "D1:1", "text": "Hi", "blip_caption": "a dog"}]}, "qa": [{"question": "Who?",
     "answer": "A", "evidence": ["D1:1"], "category": 1}]}]
)  # fmt: skip
MEMDAILY = _lines(
    [{"message_list": [{"mid": 0, "message": "Hi", "time": "2024年04月01日 周一 08:38", "rel_dialog": ""}],
      "question_list": [{"qid": 0, "question": "Who?", "answer": "A", "target_step_id": [0],
                         "time": "2024年04月01日 周一 09:00"}]}]
)  # fmt: skip
BEAM = _lines(
    {"conversation_id": "1", "messages": [{"id": 0, "role": "user", "content": "Hi", "batch": 1,
     "time_anchor": "March-15-2024"}], "questions": [{"question": "Who?", "answer": "A", "type": "x", "sources": [0]}]},
    [[[{"id": 0, "role": "user", "content": "Hi", "time_anchor": "March-15-2024"}]]],
)  # fmt: skip

TARGETS: dict[str, Target] = {
    "imports": Target(imports, (_export(), *FOREIGN)),
    "formats": Target(formats, FOREIGN),
    "times": Target(times, MOMENTS),
    "ranges": Target(ranges, NAMED),
    "queries": Target(queries, CONDITIONS),
    "questions": Target(questions, NAMED),
    "words": Target(words, (*NAMED, "Straße don't 我喜欢茶 C++ a_b 1,000.5 e\u0301".encode())),
    "metadata": Target(metadata, (_lines("a=b", 'n:={"x": [1, 2.5]}'),)),
    "documents": Target(documents, (DOCUMENT,)),
    "locomo": Target(loader(locomo.read, "locomo.json"), (LOCOMO,)),
    "memdaily": Target(loader(memdaily.read, "memdaily.json"), (MEMDAILY,)),
    "beam": Target(loader(beam.read, "beam.jsonl"), (BEAM, BEAM.split(b"\n")[0])),
    "gzip": Target(loader(locomo.read, "locomo.json.gz"), (gzip.compress(LOCOMO, mtime=0),)),
}
