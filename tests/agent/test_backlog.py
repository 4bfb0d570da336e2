"""What a system has still to think about, and what becomes of derived traces when a source is erased."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halflife import Memory
from halflife.agent.backlog import Backlog
from halflife.agent.derived import erase_stale, with_sources
from halflife.errors import InvalidInput
from halflife.store.draft import Draft
from halflife.store.erase import erase
from halflife.store.filters import parse
from halflife.store.protocol import Why
from halflife.store.trace import Space

ANNA = Space.of("anna")


@pytest.fixture
def memory() -> Iterator[Memory]:
    with Memory(embedder="hash:16", clock=lambda: 100.0) as memory:
        yield memory


def backlog(memory: Memory) -> Backlog:
    return Backlog(memory.engine, ANNA, "test")


def texts(found: Backlog) -> list[str]:
    return [message.text for message in found.take()]


def derive(memory: Memory, text: str, *sources: str) -> str:
    draft = Draft(text, 0.0, role="note", sources=sources, metadata=with_sources({}, sources))
    return memory.engine.write(ANNA, [draft], Why("note"))[0].id


def test_an_unknown_space_has_none(memory: Memory) -> None:
    assert backlog(memory).take() == []


def test_what_is_derived_archived_or_done_is_not_in_it(memory: Memory) -> None:
    one, two, three = (added.id for added in memory.add(["one", "two", "three"], user_id="anna"))
    derive(memory, "of one", one)
    memory.archive(two)
    found = backlog(memory)
    first, last = found.take()
    assert (first.id, last.id) == (one, three)
    found.done(first)
    assert texts(backlog(memory)) == ["three"]


def test_an_interruption_skips_nothing(memory: Memory) -> None:
    memory.add(["one", "two", "three"], user_id="anna")
    found = backlog(memory)
    _, two, _ = found.take()
    found.done(two)
    assert texts(backlog(memory))[0] == "one"


def test_a_rollback_takes_the_mark_back_too(memory: Memory) -> None:
    memory.add("one", user_id="anna")
    found = backlog(memory)
    [one] = found.take()

    def interrupted() -> None:
        with memory.engine.store.transaction():
            found.done(one)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert texts(backlog(memory)) == ["one"]


def test_what_is_put_back_comes_first_and_once(memory: Memory) -> None:
    one = memory.add("one", user_id="anna")[0].id
    found = backlog(memory)
    [trace] = found.take()
    found.done(trace)
    memory.add("two", user_id="anna")
    found = backlog(memory)
    found.again([one, one])
    assert texts(found) == ["one", "two"]
    memory.forget(one)
    assert texts(backlog(memory)) == ["two"]


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(5)), stop=st.integers(0, 5))
def test_all_are_done_in_the_end_whatever_the_order(order: list[int], stop: int) -> None:
    with Memory(embedder="hash:16") as memory:
        memory.add([str(i) for i in range(5)], user_id="anna")
        found = backlog(memory)
        messages, done = found.take(), set()
        for i in order[:stop]:
            found.done(messages[i])
            done.add(str(i))
        left = backlog(memory)
        rest = left.take()
        done |= {message.text for message in rest}
        assert done == set("01234")
        for message in rest:
            left.done(message)
        assert backlog(memory).take() == []


def test_a_trace_that_lost_a_source_is_erased_with_what_was_made_of_it(memory: Memory) -> None:
    one, two = (added.id for added in memory.add(["one", "two"], user_id="anna"))
    both = derive(memory, "of both", one, two)
    above = derive(memory, "of a note", both, two)
    memory.engine.store.set_status([both], "retired", Why("retire"), 1.0)
    erase(memory.engine.store, [one], Why("forget"), 100.0)
    notes = parse({"role": "note"})
    reports = erase_stale(memory.engine, ANNA, notes, "test", 101.0)
    assert {id for report in reports for id in report.ids} == {both, above}
    assert all(report.verified for report in reports)
    assert memory.engine.store.find(ANNA, notes) == []
    assert [trace.text for trace in memory.list(user_id="anna")] == ["two"]


def test_forgetting_tells_a_system_and_reports_what_it_erased() -> None:
    with Memory(embedder="hash:16", system="memorybank", clock=lambda: 0.0) as memory:
        one, _ = (added.id for added in memory.add(["I like tea.", "I like jazz."], user_id="anna"))
        memory.consolidate(user_id="anna")
        assert any("tea" in trace.text for trace in memory.list(user_id="anna", filters={"system": "memorybank"}))
        report = memory.forget(one)
        assert report.verified
        assert len(report.derived) == len(set(report.derived)) > 0
        assert not any("tea" in trace.text for trace in memory.list(user_id="anna"))


def test_forgetting_reaches_what_a_system_made_though_it_is_not_open(memory: Memory) -> None:
    one, two = (added.id for added in memory.add(["one", "two"], user_id="anna"))
    both = derive(memory, "of both", one, two)
    report = memory.forget(one)
    assert (report.derived, report.kept, report.verified) == ((both,), (), True)
    assert [trace.id for trace in memory.list(user_id="anna")] == [two]


def test_unknown_systems_and_options_are_refused() -> None:
    with pytest.raises(InvalidInput, match="Choose one of amem"):
        Memory(embedder="hash", system="nothing")
    with pytest.raises(InvalidInput, match="bananas"):
        Memory(embedder="hash", system="memorybank", options={"bananas": 1})


def test_an_older_version_that_was_derived_from_what_is_erased_goes_too(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    with Memory(path, embedder="hash:16", clock=lambda: 100.0) as memory:
        one, two = (added.id for added in memory.add(["one", "Quagliarella came"], user_id="anna"))
        note = derive(memory, "of one", one)
        changes = {"text": "Quagliarella taught one", "sources": (one, two), "metadata": with_sources({}, [one, two])}
        vectors = memory.engine.embed([str(changes["text"])])[0]
        memory.engine.store.update(note, changes, vectors, Why("evolve"), 101.0)
        memory.undo(memory.engine.store.last_op())
        assert memory.get(note).text == "of one"
        report = memory.forget(two)
        assert (report.verified, report.derived, memory.get(note).text) == (True, (), "of one")
        assert [event.kind for event in memory.history(note)] == ["note", "evolve"]
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert b"Quagliarella" not in file.read_bytes()


def test_the_id_of_what_is_erased_may_stay(tmp_path: Path) -> None:
    with Memory(tmp_path / "memory.db", embedder="hash:16") as memory:
        one, two = (added.id for added in memory.add(["one", "two"], user_id="anna"))
        memory.update(two, metadata={"after": one, "more": [one]})
        memory.update(one, metadata={"before": one})
        assert memory.forget(one).verified
