"""`Memory` does what its page says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from halflife import Memory
from halflife.decay import Exponential
from halflife.errors import EmbedderMismatch, InvalidInput, NothingToUndo, UnknownSpace
from halflife.store.trace import Space
from tests.conftest import Clock

DAY = 86_400.0


def test_a_day_in_its_life(memory: Memory, clock: Clock) -> None:
    [first] = memory.add("I moved to Porto.", user_id="anna", at="2021-03-01", metadata={"source": "chat"})
    assert first.event == "add"
    [hit] = memory.search("Where do I live? Porto?", user_id="anna")
    assert (hit.id, hit.text, str(hit.at.date()), hit.metadata) == (
        first.id, "I moved to Porto.", "2021-03-01", {"source": "chat"})  # fmt: skip
    new = memory.update(first.id, text="I moved to Lisbon.", reason="she corrected me")
    assert new.version == 2
    assert memory.search("Lisbon", user_id="anna")[0].id == first.id
    kinds = [event.kind for event in memory.history(first.id)]
    assert kinds == ["add", "recall", "update", "recall"]
    update = next(event for event in memory.history(first.id) if event.kind == "update")
    assert update.reason == "she corrected me"
    memory.undo(update.op)
    assert memory.get(first.id).text == "I moved to Porto."
    assert memory.forget(first.id).verified
    assert memory.search("Porto", user_id="anna") == []
    with pytest.raises(NothingToUndo):
        memory.undo(memory.operations()[0].op)


def test_recall_strengthens_and_time_weakens(memory: Memory, clock: Clock) -> None:
    [a] = memory.add("tea in the morning")
    [b] = memory.add("bread in the evening")
    clock.now += 20 * DAY
    assert memory.retention(memory.get(a.id)) == memory.retention(memory.get(b.id)) < 1
    memory.search("tea", k=1)
    clock.now += 20 * DAY
    assert memory.retention(memory.get(a.id)) > memory.retention(memory.get(b.id))
    before = memory.get(a.id)
    memory.search("tea", k=1, reinforce=False)
    assert memory.get(a.id) == before


def test_between_equals_the_fresher_wins(memory: Memory, clock: Clock) -> None:
    memory.add("The meeting is in room 12.", at=clock.now - 1000 * DAY)
    memory.add("The meeting is in room 34.", at=clock.now - DAY)
    assert memory.search("meeting room", k=1)[0].text == "The meeting is in room 34."


def test_whose_memory_and_where(memory: Memory) -> None:
    memory.add("of anna by one", user_id="anna", agent_id="one", session_id="s1")
    memory.add("of anna by two", user_id="anna", agent_id="two", session_id="s2")
    memory.add("of the agent", agent_id="one")
    memory.add("of nobody")
    for who, texts in (
        ({"user_id": "anna"}, {"of anna by one", "of anna by two"}),
        ({"user_id": "anna", "agent_id": "one"}, {"of anna by one"}),
        ({"user_id": "anna", "session_id": "s2"}, {"of anna by two"}),
        ({"agent_id": "one"}, {"of the agent"}),
        ({}, {"of nobody"}),
    ):
        assert {hit.text for hit in memory.search("of", **who)} == texts
        assert {trace.text for trace in memory.list(**who)} == texts
        inside = {name: value for name, value in who.items() if name != "session_id"}
        given = {"session_id": who["session_id"]} if "session_id" in who else {}
        assert {trace.text for trace in memory.list(filters=inside or None, **given)} == texts
    assert {trace.text for trace in memory.list(filters={"user_id": "anna", "run_id": "s1"})} == {"of anna by one"}


def test_archived_memories_are_found_when_asked_for(memory: Memory) -> None:
    [added] = memory.add("tea in the morning")
    op = memory.archive([added.id, added.id])
    assert memory.search("tea") == []
    assert memory.search("tea", archived=True)[0].id == added.id
    assert [trace.status for trace in memory.list()] == ["archived"]
    memory.undo(op)
    assert memory.search("tea")[0].id == added.id


def test_a_link_lends_relevance(memory: Memory) -> None:
    a, b, c = (x.id for x in memory.add(["My dentist is in Rua Augusta.", "Bring the blue card.", "The sea is calm."]))
    assert b not in {hit.id for hit in memory.search("dentist", k=1)}
    memory.link(a, b)
    found = {hit.id: hit.explain().parts["link"] for hit in memory.search("dentist", k=3)}
    assert found[b] > 0
    assert not found.get(c)
    with pytest.raises(InvalidInput):
        memory.link(a, b, weight=0.0)


def test_context_fits_its_budget_and_reinforces_only_what_is_in_it(memory: Memory, clock: Clock) -> None:
    memory.add_many(
        [{"text": f"Tea number {i}\nwas green.", "at": clock.now - i * DAY, "role": "user"} for i in range(30)]
    )
    clock.now += DAY
    context = memory.context("green tea", budget=100)
    assert 0 < context.tokens <= 100
    assert context.left_out + len(context.hits) == 30
    lines = str(context).splitlines()
    assert len(lines) == len(context.hits)
    assert lines == sorted(lines)
    assert "user: Tea number" in lines[0]
    met = {trace.id for trace in memory.list(limit=None) if trace.state.uses > 1}
    assert met == {hit.id for hit in context.hits}
    assert str(memory.context("green tea", budget=1)) == ""


def test_a_vector_of_ones_own(open_memory: Callable[..., Memory]) -> None:
    memory = open_memory(embedder="hash:8")
    vector = np.arange(8, dtype=np.float64)
    [added] = memory.add("x", vector=vector * 100)
    memory.add("y", vector=-vector)
    [hit] = memory.search(vector=vector, k=1)
    assert hit.id == added.id
    assert hit.explain().parts["semantic"] == pytest.approx(1.0, abs=1e-3)
    with pytest.raises(InvalidInput):
        memory.add(["a", "b"], vector=vector)


def test_the_law_stays_with_the_store(tmp_path: Path) -> None:
    with Memory(tmp_path / "a.db", embedder="hash", law=Exponential()) as memory:
        memory.add("tea")
    with Memory(tmp_path / "a.db", embedder="hash") as memory:
        assert memory.engine.store.law == Exponential()


def test_another_embedder_while_the_old_one_is_at_work(tmp_path: Path, open_memory: Callable[..., Memory]) -> None:
    old = open_memory(tmp_path / "a.db", embedder="hash:64")
    added = old.add_many([f"number {i}" for i in range(20)])
    old.search("number 7")
    assert Memory.reembed(tmp_path / "a.db", "hash:128") == 20
    for call in (lambda: old.search("number 7"), lambda: old.add("number 21")):
        with pytest.raises(EmbedderMismatch):
            call()
    new = open_memory(tmp_path / "a.db", embedder="hash:128")
    assert new.search("number 7")[0].id == added[7].id
    assert new.doctor().healthy


def test_a_backup_is_a_memory(memory: Memory, tmp_path: Path, open_memory: Callable[..., Memory]) -> None:
    memory.add("tea", user_id="anna")
    memory.backup(tmp_path / "copy.db")
    memory.add("coffee", user_id="anna")
    copy = open_memory(tmp_path / "copy.db")
    assert [trace.text for trace in copy.list(user_id="anna")] == ["tea"]
    assert copy.doctor().healthy


def test_nobody_has_no_hits_and_no_list(memory: Memory) -> None:
    assert memory.search("tea", user_id="nobody") == []
    assert str(memory.context("tea", user_id="nobody")) == ""
    assert memory.spaces() == []
    with pytest.raises(UnknownSpace):
        memory.list(user_id="nobody")


def test_many_spaces_share_a_process(memory: Memory) -> None:
    """More than are kept in memory at once."""
    for i in range(100):
        memory.add(f"secret of {i}", user_id=f"user{i}")
    for i in range(100):
        assert [hit.text for hit in memory.search("secret", user_id=f"user{i}")] == [f"secret of {i}"]


def test_progress_counts_to_the_end(memory: Memory) -> None:
    seen: list[tuple[int, int]] = []
    memory.add_many([f"number {i}" for i in range(600)], progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (600, 600)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_the_asynchronous_face(memory: Memory) -> None:
    async def life() -> None:
        async with memory.aio as aio:
            added = await asyncio.gather(*(aio.add(f"fact {i}", user_id="anna") for i in range(20)))
            hits = await asyncio.gather(*(aio.search(f"fact {i}", user_id="anna", k=1) for i in range(20)))
            assert [hit.text for [hit] in hits] == [f"fact {i}" for i in range(20)]
            lines = [line async for line in aio.export(user_id="anna")]
            assert len(lines) >= 21
            report = await aio.forget(added[0][0].id)
            assert report.verified
            with pytest.raises(InvalidInput):
                await aio.add("")

    asyncio.run(life())


def test_what_is_printed_is_plain(memory: Memory) -> None:
    [added] = memory.add("tea", user_id="anna", agent_id="helper")
    [hit] = memory.search("tea", user_id="anna")
    assert hit.to_dict() | {"score": 0, "explain": 0} == {
        "id": added.id, "text": "tea", "at": "2023-11-14T22:13:20Z", "role": None, "user_id": "anna",
        "agent_id": "helper", "session_id": None, "metadata": {}, "layer": "short", "score": 0, "explain": 0,
        "also": [],
    }  # fmt: skip
    stats = memory.stats()
    assert stats["traces"]["total"] == 1
    assert memory.spaces() == [(Space.of("anna"), 1)]
