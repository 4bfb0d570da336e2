"""What was forgotten is gone from every file; what was not is untouched."""

from __future__ import annotations

import functools
import hashlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from halflife import Memory
from halflife.agent import engine
from halflife.errors import InvalidInput, UnknownSpace, UnknownTrace
from halflife.store import erase as erasing
from halflife.store.draft import Draft
from halflife.store.protocol import Why
from halflife.store.rows import halves
from halflife.store.scan import find
from halflife.store.text import term_ids
from halflife.store.trace import Space, Trace
from halflife.store.vectors import Approximate
from tests.conftest import Clock

USERS = ("anna", "bob")


def contents(memory: Memory) -> dict[str, bytes]:
    """Every file beside the store, whatever its name."""
    path = Path(memory.engine.store.path)
    files = [file for file in path.parent.rglob("*") if file.is_file() and str(file).startswith(str(path))]
    return {str(file): file.read_bytes() for file in files}


def where(memory: Memory, needle: bytes) -> list[str]:
    return [name for name, data in contents(memory).items() if needle in data]


def secrets(memory: Memory, trace: Trace) -> list[bytes]:
    """By what one would recognise a trace: text, words, words' numbers, vector, metadata."""
    out = [trace.text.encode(), term_ids(trace.text).tobytes()]
    out += [word.encode() for word in trace.text.split() if word.startswith("zq")]
    if trace.metadata:
        out.append(json.dumps(dict(trace.metadata), ensure_ascii=False, sort_keys=True).encode())
    for vector in memory.engine.store.vectors([trace.id]).values():
        out.append(halves(vector))
    return [needle for needle in out if len(needle) >= 6]


@pytest.fixture
def small_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index file is made for any number of vectors."""
    monkeypatch.setattr(engine, "APPROXIMATE_FROM", 1)


ALPHABET = st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"])
TEXT = st.text(ALPHABET, max_size=60)


def life(memory: Memory, data: st.DataObject) -> dict[str, list[bytes]]:
    """A random past: what would betray each trace, all versions included."""
    draw, known = data.draw, dict[str, list[bytes]]()
    count = draw(st.integers(2, 7), "traces")

    def keep(id: str) -> None:
        known.setdefault(id, []).extend(secrets(memory, memory.get(id)))

    for i in range(count):
        word = f"zq{hashlib.sha256(str(i).encode()).hexdigest()[:12]}"
        noise = draw(TEXT, "text")
        [added] = memory.add(
            f"{noise} {word} {noise[::-1]}", user_id=draw(st.sampled_from(USERS)), session_id="s",
            metadata={"of": f"zq-meta-{word}"} if draw(st.booleans()) else None,
        )  # fmt: skip
        keep(added.id)
        if draw(st.booleans(), "updated"):
            memory.update(added.id, text=f"{word}new {noise} later", metadata={"now": f"zq-later-{word}"})
            keep(added.id)
    ids = list(known)
    if draw(st.booleans(), "derived"):
        for i in range(draw(st.integers(1, 3))):
            user = draw(st.sampled_from(USERS))
            mine = [id for id in known if memory.get(id).space.user_id == user]
            if mine:
                sources = draw(st.lists(st.sampled_from(mine), min_size=1, max_size=3, unique=True))
                draft = Draft(
                    f"Summary zqsummary{i}x number {i}", 0.0, sources=tuple(sources), payload=bytes(range(200))
                )
                [added] = memory.engine.write(Space.of(user), [draft], Why("consolidate"))
                keep(added.id)
    for a, b in draw(st.lists(st.tuples(st.sampled_from(ids), st.sampled_from(ids)), max_size=3), "links"):
        if memory.get(a).space == memory.get(b).space:
            memory.link(a, b)
    for id in draw(st.lists(st.sampled_from(ids), max_size=2, unique=True), "archived"):
        memory.archive(id)
    if draw(st.booleans(), "slept"):
        memory.consolidate()
    if draw(st.booleans(), "recalled"):
        memory.search("zq later summary", user_id="anna")
    return known


def doomed(memory: Memory, asked: set[str]) -> set[str]:
    """The closure: what has no source left goes too."""
    gone = set(asked)
    traces = list(memory.engine.store.iterate())
    while more := {t.id for t in traces if t.id not in gone and t.sources and set(t.sources) <= gone}:
        gone |= more
    return gone


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_nothing_of_it_is_left_and_all_else_is(
    data: st.DataObject, small_index: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("erasure") / "a.db"
    with Memory(path, embedder="hash", clock=Clock(), synchronous="NORMAL") as memory:
        known = life(memory, data)
        asked = set(data.draw(st.lists(st.sampled_from(list(known)), min_size=1, max_size=3, unique=True), "forgotten"))
        expected = doomed(memory, asked)
        before = {trace.id: trace for trace in memory.engine.store.iterate()}
        vectors = {id: v.tobytes() for id, v in memory.engine.store.vectors(list(before)).items()}

        report = memory.forget(sorted(asked))

        assert report.verified, str(report)
        assert {*report.ids, *report.derived} == expected
        assert report.sha256.keys() == expected
        others = {needle for id, needles in known.items() if id not in expected for needle in needles}
        for id in expected:
            for needle in known[id]:
                if needle not in others:
                    assert not where(memory, needle), (id, needle)
        after = {trace.id: trace for trace in memory.engine.store.iterate()}
        assert after.keys() == before.keys() - expected
        for id, trace in after.items():
            kept = tuple(source for source in before[id].sources if source not in expected)
            assert (trace.text, trace.metadata, trace.status, trace.sources) == (
                before[id].text, before[id].metadata, before[id].status, kept)  # fmt: skip
            assert memory.engine.store.vectors([id])[id].tobytes() == vectors[id]
            word = next(word for word in trace.text.split() if word.startswith("zq"))
            if trace.status == "active":
                found = memory.search(word, user_id=trace.space.user_id, k=10, reinforce=False)
                assert id in {hit.id for hit in found} | {other for hit in found for other in hit.also}
        assert memory.doctor().healthy


# -- each thing that could keep it --------------------------------------------------------------------------------


def test_older_versions_go_too(memory: Memory) -> None:
    [added] = memory.add("My first secret is zqalpha11.")
    first = secrets(memory, memory.get(added.id))
    memory.update(added.id, text="My second secret is zqbeta222.")
    memory.undo(memory.operations(limit=1)[0].op)
    assert where(memory, b"zqbeta222")
    assert memory.forget(added.id).verified
    assert not any(where(memory, needle) for needle in [*first, b"zqalpha11", b"zqbeta222"])


def test_the_vector_of_an_older_version_goes_too(memory: Memory, small_index: None) -> None:
    [added] = memory.add("My first secret is zqalpha11.")
    memory.add("Nothing of note.")
    [old] = memory.engine.store.vectors([added.id]).values()
    memory.consolidate()
    memory.update(added.id, text="Something else entirely, zqbeta222.")
    assert where(memory, halves(old))
    assert memory.forget(added.id).verified
    assert not where(memory, halves(old))


def test_who_says_the_same_stays_whole(memory: Memory, small_index: None) -> None:
    """Two traces with one vector: erasing one leaves the other findable, in its own space or in another's."""
    [mine] = memory.add("The zebra is called Zoe.", role="user", user_id="anna")
    [twin] = memory.add("The zebra is called Zoe.", role="assistant", user_id="anna")
    [theirs] = memory.add("The zebra is called Zoe.", user_id="bob")
    memory.consolidate(policy=None)
    for id in (mine.id, twin.id):
        if memory.get(id).status == "merged":
            memory.engine.store.set_status([id], "active", Why("test"), 0.0)
    report = memory.forget(mine.id)
    assert report.verified
    assert [hit.id for hit in memory.search("zebra", user_id="anna")] == [twin.id]
    assert [hit.id for hit in memory.search("zebra", user_id="bob")] == [theirs.id]
    [vector] = memory.engine.store.vectors([twin.id]).values()
    assert memory.search(vector=vector[0], user_id="anna")[0].score > 0.5


def test_an_index_left_by_a_crash_goes_too(memory: Memory, small_index: None) -> None:
    [added] = memory.add("My secret is zqalpha11.")
    memory.add("Nothing of note.")
    memory.consolidate()
    [index] = Path(f"{memory.engine.store.path}.ann").glob("*.usearch")
    [vector] = memory.engine.store.vectors([added.id]).values()
    (index.parent / "1.4711.tmp").write_bytes(index.read_bytes())
    index.unlink()
    assert where(memory, halves(vector))
    assert memory.forget(added.id).verified
    assert not where(memory, halves(vector))


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_a_damaged_index_does_not_stand_in_the_way(memory: Memory, small_index: None, damage: bytes | None) -> None:
    [added] = memory.add("My secret is zqalpha11.")
    [other] = memory.add("Nothing of note.")
    memory.consolidate()
    [index] = Path(f"{memory.engine.store.path}.ann").glob("*.usearch")
    index.write_bytes(index.read_bytes()[:100] if damage is None else damage)
    assert memory.forget(added.id).verified
    assert [hit.id for hit in memory.search("note")] == [other.id]


def test_an_index_built_meanwhile_does_not_bring_it_back(
    memory: Memory, small_index: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process builds the index from what it read before, and saves it after the forgetting."""
    [added] = memory.add("My secret is zqalpha11.")
    memory.add("Nothing of note.")
    [vector] = memory.engine.store.vectors([added.id]).values()
    build = Approximate.build

    def forget_first(*args: Any) -> Approximate:
        assert memory.forget(added.id).verified
        return build(*args)

    monkeypatch.setattr(Approximate, "build", forget_first)
    memory.engine.build_index(Space.of())
    assert not where(memory, halves(vector))


def test_a_reason_that_quotes_it_goes_too(memory: Memory) -> None:
    [added] = memory.add(
        "The zqvault code is 8812-zqx.", user_id="anna", reason="she said: The zqvault code is 8812-zqx."
    )
    memory.add("Tea at five.", user_id="anna", reason="small talk")
    report = memory.forget(added.id, reason="she asked to drop The zqvault code is 8812-zqx.")
    assert report.verified
    assert where(memory, b"zqvault") == []
    assert {event.reason for event in memory.operations(user_id="anna")} == {"", "small talk"}


def test_payloads_go_too(memory: Memory) -> None:
    tensors = np.random.default_rng(0).bytes(100_000)
    draft = Draft("", 0.0, kind="activation", payload=tensors)
    [added] = memory.engine.write(Space.of(), [draft], Why("add"))
    assert memory.engine.store.payload(added.id) == tensors
    assert memory.forget(added.id).verified
    assert not where(memory, tensors[5_000:5_032])


def test_long_texts_leave_no_page_behind(memory: Memory) -> None:
    text = " ".join(f"word{i}" for i in range(20_000))
    [added] = memory.add(text)
    memory.update(added.id, text="short now")
    assert memory.forget(added.id).verified
    for i in range(0, 20_000, 997):
        assert not where(memory, f"word{i} word{i + 1} word{i + 2}".encode())


def test_many_at_once(memory: Memory) -> None:
    memory.add_many([f"secret zq{i:05d} of anna" for i in range(3_000)], user_id="anna")
    memory.add_many([f"secret zq{i:05d} of bob" for i in range(50)], user_id="bob")
    report = memory.delete_all(user_id="anna")
    assert (report.count, report.verified) == (3_000, True)
    assert not where(memory, b"of anna")
    assert len(memory.list(user_id="bob")) == 50


# -- derived ------------------------------------------------------------------------------------------------------


def derive(memory: Memory, text: str, *sources: str) -> str:
    draft = Draft(text, 0.0, sources=sources, system="test")
    return memory.engine.write(Space.of(), [draft], Why("consolidate"))[0].id


def test_what_was_derived_from_it_alone_goes_with_it(memory: Memory) -> None:
    a, b = (added.id for added in memory.add(["Fact one is zqone1.", "Fact two is zqtwo2."]))
    only = derive(memory, "A summary of the first.", a)
    both = derive(memory, "A summary of both.", a, b)
    chain = derive(memory, "A summary of the summary.", only)
    report = memory.forget(a)
    assert set(report.derived) == {only, chain}
    assert report.kept == (both,)
    assert memory.get(both).sources == (b,)
    assert memory.forget(b).derived == (both,)
    assert memory.spaces()[0][1] == 0


def test_what_repeats_it_goes_though_it_has_other_sources(memory: Memory) -> None:
    a, b = (added.id for added in memory.add(["The password is zqone1zqone1.", "The weather is fine."]))
    both = derive(memory, "Said: The password is zqone1zqone1. Weather: fine.", a, b)
    report = memory.forget(a)
    assert report.derived == (both,)
    assert report.verified
    assert not where(memory, b"zqone1")


# -- the report ---------------------------------------------------------------------------------------------------


def test_the_report_names_what_was_meant(memory: Memory) -> None:
    [added] = memory.add("My secret is zqalpha11.", user_id="anna")
    report = memory.forget(added.id, reason="asked by phone")
    assert report.sha256 == {added.id: hashlib.sha256(b"My secret is zqalpha11.").hexdigest()}
    assert report.spaces == ("user:anna",)
    assert (report.fragments > 0, report.bytes > 0, report.left) == (True, True, ())
    assert report.files[0] == memory.engine.store.path
    assert json.loads(json.dumps(report.to_dict()))["count"] == 1
    assert "zqalpha11" not in json.dumps(report.to_dict())
    last = memory.operations(limit=1)[0]
    assert (last.op, last.kind, last.reason) == (report.op, "forget", "asked by phone")


def plant(memory: Memory, text: str) -> None:
    """Leave text in a page of the file, as a program that deletes without overwriting would."""
    other = sqlite3.connect(memory.engine.store.path)
    other.execute("PRAGMA secure_delete = OFF")
    other.execute("INSERT INTO meta VALUES ('planted', ?)", (text,))
    other.commit()
    other.execute("DELETE FROM meta WHERE key = 'planted'")
    other.commit()
    other.close()


def test_a_copy_left_in_the_file_is_found_and_removed(memory: Memory) -> None:
    [added] = memory.add("My secret is zqalpha11, and that is that.")
    plant(memory, "My secret is zqalpha11, and that is that.")
    report = memory.forget(added.id)
    assert report.rebuilt
    assert report.verified
    assert not where(memory, b"zqalpha11")


def test_a_copy_that_cannot_be_removed_is_told(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    [added] = memory.add("My secret is zqalpha11, and that is that.")
    plant(memory, "My secret is zqalpha11, and that is that.")
    monkeypatch.setattr(erasing, "_rebuild", lambda store: "")
    report = memory.forget(added.id)
    assert not report.verified
    assert report.left
    assert any(bytes.fromhex(piece) in b"My secret is zqalpha11, and that is that." for piece in report.left)
    assert "NOT VERIFIED" in str(report)


def test_a_reader_that_holds_the_log_is_told(
    open_memory: Callable[..., Memory], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = open_memory(tmp_path / "a.db", timeout=0.1)
    [added] = memory.add("My secret is zqalpha11.")
    monkeypatch.setattr(erasing, "_empty_log", functools.partial(erasing._empty_log, patience=0.05))
    reader = sqlite3.connect(memory.engine.store.path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM trace").fetchone()
    report = memory.forget(added.id)
    assert not report.verified
    assert "log" in report.note
    reader.close()
    assert memory.doctor(repair=True).healthy
    assert not where(memory, b"zqalpha11")


def test_the_search_for_bytes_finds_what_is_there(tmp_path: Path) -> None:
    """Whatever the offset, also across the pieces in which a file is read."""
    rng = np.random.default_rng(0)
    data = bytearray(rng.bytes(17 << 20))
    needles = {rng.bytes(size) for size in (4, 7, 15, 16, 16, 16)}
    places = [1, (8 << 20) - 5, (16 << 20) - 15, (8 << 20) + 30, (16 << 20) + 30, len(data) - 16]
    for needle, place in zip(sorted(needles), places, strict=True):
        data[place : place + len(needle)] = needle
    path = tmp_path / "file"
    path.write_bytes(data)
    assert set(find([path], needles)) == needles
    assert not find([path], {rng.bytes(16) for _ in range(100)})
    assert not find([tmp_path / "gone"], needles)


# -- choosing -----------------------------------------------------------------------------------------------------


def test_an_unknown_id_erases_nothing(memory: Memory) -> None:
    [added] = memory.add("tea")
    with pytest.raises(UnknownTrace):
        memory.forget([added.id, "nowhere"])
    assert memory.get(added.id).text == "tea"


def test_everything_must_be_said(memory: Memory) -> None:
    memory.add("tea")
    with pytest.raises(InvalidInput):
        memory.forget()
    with pytest.raises(InvalidInput):
        memory.forget(user_id=None, filters={})
    assert memory.forget(everything=True).count == 1


def test_a_plan_erases_nothing_and_says_why(memory: Memory) -> None:
    memory.add(["My dentist is Dr. Gold.", "I like tea."])
    plan = memory.plan_forget(about="dentist")
    assert [(item.trace.text, item.why) for item in plan.items] == [("My dentist is Dr. Gold.", "holds the words")]
    assert len(memory.list()) == 2
    assert memory.erase(plan).count == 1
    assert [trace.text for trace in memory.list()] == ["I like tea."]


def test_a_filter_beside_ids_counts(memory: Memory) -> None:
    a, b = (
        added.id for added in memory.add([{"text": "x", "metadata": {"k": 1}}, {"text": "y", "metadata": {"k": 2}}])
    )
    with pytest.raises(UnknownTrace):
        memory.forget([a, b], filters={"k": 1})
    assert len(memory.list()) == 2
    assert memory.forget([a], filters={"k": 1}).count == 1


def test_an_agent_in_the_filter_is_whose_memory_it_is(memory: Memory) -> None:
    memory.add("common", metadata={"k": 1})
    memory.add("of the agent", agent_id="helper", metadata={"k": 1})
    assert memory.forget(filters={"agent_id": "helper", "k": 1}).spaces == ("agent:helper",)
    assert [trace.text for trace in memory.list()] == ["common"]


def test_an_agent_of_a_user_is_narrowed_to(memory: Memory) -> None:
    memory.add("by one", user_id="anna", agent_id="one")
    memory.add("by two", user_id="anna", agent_id="two")
    assert memory.delete_all(user_id="anna", agent_id="one").count == 1
    assert [trace.text for trace in memory.list(user_id="anna")] == ["by two"]


def test_who_is_unknown_cannot_be_forgotten(memory: Memory) -> None:
    with pytest.raises(UnknownSpace):
        memory.delete_all(user_id="nobody")


def test_a_memory_without_a_file_forgets_too(open_memory: Callable[..., Memory]) -> None:
    in_process = open_memory()
    [added] = in_process.add("tea")
    report = in_process.forget(added.id)
    assert (report.verified, report.files) == (True, ())
    assert in_process.search("tea") == []
