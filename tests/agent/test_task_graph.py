"""The task graph in the store: it lasts, has versions, is undone and erased, and says what the plain forest says."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halflife import Memory
from halflife.agent.task_engine import feasible
from halflife.agent.task_forest import Forest
from halflife.agent.task_graph import TaskGraph
from halflife.agent.task_ops import Op, apply
from halflife.agent.task_traces import EDIT
from halflife.errors import InvalidInput, StoreError, UnknownTrace
from halflife.store.trace import Space

ANNA, BO = Space.of(user_id="anna"), Space.of(user_id="bo")


@pytest.fixture
def graph(memory):
    return TaskGraph(memory.engine, ANNA)


def plan(graph):
    graph.add("trip")
    graph.add("destination", "Seattle", "trip")
    graph.add("flight", "booked", "trip", deps=["destination"])


def test_it_is_there_after_reopening(tmp_path, open_memory):
    plan(TaskGraph(open_memory(tmp_path / "m.db").engine, ANNA))
    first = open_memory(tmp_path / "m.db")
    graph = TaskGraph(first.engine, ANNA)
    graph.update("destination", "Rome")
    other = TaskGraph(open_memory(tmp_path / "m.db").engine, ANNA)
    assert other.state() == {"trip/destination": "Rome", "trip/flight": "booked"}
    assert [other.forest().nodes[id].slot for id in other.get("flight").stale] == ["destination"]
    assert [node.slot for node in other.subtree("trip")] == ["trip", "destination", "flight"]


def test_two_handles_on_one_graph_see_each_other(memory, graph):
    plan(graph)
    other = TaskGraph(memory.engine, ANNA)
    other.update("destination", "Rome")
    assert graph.get("destination").value == "Rome"
    graph.rollback("destination")
    assert other.get("destination").value == "Seattle"


def test_graphs_of_two_users_are_apart(memory, graph):
    plan(graph)
    other = TaskGraph(memory.engine, BO)
    assert other.state() == {}
    with pytest.raises(UnknownTrace):
        other.get("destination")


def test_every_version_of_the_graph_can_be_read(graph):
    plan(graph)
    states, versions = [], []
    for act in (
        lambda: graph.update("destination", "Rome"),
        lambda: graph.update("destination", "Oslo", new_slot="arrival"),
        lambda: graph.remove("flight"),
        lambda: graph.rollback("arrival"),
        lambda: graph.add("hotel", "Inn", "trip"),
    ):
        act()
        states.append(graph.state())
        versions.append(graph.version)
    for version, state in zip(versions, states, strict=True):
        assert graph.at(version).state() == state
    assert graph.get("destination", at=versions[0]).value == "Rome"
    assert graph.at(0).state() == {}
    with pytest.raises(UnknownTrace):
        graph.get("hotel", at=versions[0])


def test_a_node_is_a_readable_trace_with_a_version_and_its_sources(memory, graph):
    plan(graph)
    graph.update("destination", "Rome")
    [trace] = memory.list(user_id="anna", filters={"slot": "destination"})
    assert trace.text == "trip/destination: Rome (current; formerly Seattle)"
    assert trace.version == 2
    assert trace.metadata["former"][0][:2] == ["destination", "Seattle"]
    edits = memory.list(user_id="anna", filters={"role": EDIT})
    assert set(trace.sources) < {edit.id for edit in edits}
    assert trace.metadata["former"][0][2] in trace.sources


def test_undo_takes_an_operation_back(memory, graph):
    plan(graph)
    before = graph.state()
    graph.update("destination", "Rome")
    latest = memory.operations(user_id="anna", limit=3)
    assert [event.kind for event in latest] == ["task", "task", "edit"]  # the destination, and the flight made stale
    for event in latest[:2]:
        memory.undo(event.op)
    assert graph.state() == before
    assert graph.get("flight").stale == ()


def test_undoing_a_parent_leaves_its_parts_readable(memory, graph):
    graph.add("trip")
    [op] = [event.op for event in memory.operations(user_id="anna") if event.kind == "task"]
    graph.add("date", "June 1", "trip")
    memory.undo(op)
    assert graph.state() == {"date": "June 1"}


def test_several_operations_are_all_carried_out_or_none(memory, graph):
    plan(graph)
    before, count = graph.state(), len(memory.list(user_id="anna"))
    with pytest.raises(InvalidInput):
        graph.apply([Op("set", "destination", "Rome"), Op("revert", "flight", "never so")])
    assert graph.state() == before
    assert len(memory.list(user_id="anna")) == count


def test_what_is_not_kept_as_changed_is_taken_back(memory, graph, monkeypatch):
    plan(graph)
    before = graph.state()
    update = memory.engine.store.update
    monkeypatch.setattr(
        memory.engine.store,
        "update",
        lambda id, changes, *rest: update(id, {**changes, "metadata": {**changes["metadata"], "value": "lost"}}, *rest),
    )
    with pytest.raises(StoreError, match="nothing was written"):
        graph.update("destination", "Rome")
    monkeypatch.undo()
    assert graph.state() == before


def test_a_context_is_within_its_budget(memory, graph):
    plan(graph)
    assert "trip/destination: Seattle (current)" in graph.to_context(["flight"])
    assert memory.engine.embedder.count_tokens(graph.to_context([], max_tokens=15)) <= 15


def test_secrets_are_kept_out_of_what_is_edited(open_memory):
    memory = open_memory(redact=lambda text: text.replace("hunter2", "[password]"))
    graph = TaskGraph(memory.engine, ANNA)
    graph.add("login", "hunter2")
    assert graph.state() == {"login": "[password]"}
    assert "hunter2" not in "".join(memory.export())


def test_forgetting_an_edit_leaves_no_trace_of_its_value(tmp_path, open_memory):
    path = tmp_path / "m.db"
    memory = open_memory(path, system="task-graph")
    graph = memory.system.graph(ANNA)
    plan(graph)
    graph.update("destination", "Ouagadougou")
    graph.update("destination", "Rome")
    graph.update("flight", "cancelled")
    edits = memory.list(user_id="anna", filters={"role": EDIT})
    [edit] = [edit for edit in edits if "Ouagadougou" in edit.text]
    memory.forget(edit.id)
    assert "Ouagadougou" not in "".join(memory.export())
    memory.consolidate(user_id="anna")
    assert graph.state() == {"trip/destination": "Rome", "trip/flight": "cancelled"}
    assert [former.value for former in graph.get("destination").former] == ["Seattle"]
    memory.close()
    assert not any(b"Ouagadougou" in file.read_bytes() for file in tmp_path.iterdir() if file.is_file())


def test_an_edit_is_carried_out_once(open_memory):
    memory = open_memory(system="task-graph")
    graph = memory.system.graph(ANNA)
    graph.add("count", "1")
    graph.update("count", "2")
    memory.consolidate(user_id="anna")
    assert [former.value for former in graph.get("count").former] == ["1"]


NAMES = st.sampled_from(("a", "b", "t/c", "t/d"))
OPS = st.one_of(
    st.builds(Op, st.just("new"), st.sampled_from("abcd"), st.sampled_from("123"), st.sampled_from((None, "t"))),
    st.builds(Op, st.just("set"), NAMES, st.sampled_from("123"), everywhere=st.booleans()),
    st.builds(Op, st.just("revert"), NAMES, steps=st.integers(1, 2)),
    st.builds(Op, st.just("remove"), NAMES, cascade=st.booleans()),
    st.builds(Op, st.sampled_from(("need", "share", "replace")), NAMES, new_slot=st.sampled_from("abcd")),
)


@given(st.lists(OPS, max_size=12))
@settings(max_examples=25)
def test_the_stored_graph_says_what_the_plain_one_says(ops):
    with Memory(embedder="hash", clock=lambda: 1.7e9) as memory:
        graph, forest = TaskGraph(memory.engine, ANNA), Forest()
        for op in ops:
            kept, _ = feasible([op], forest)
            if kept:
                apply(forest, op, "turn")
                graph.apply([op])
            else:
                with pytest.raises((InvalidInput, UnknownTrace)):
                    graph.apply([op])
        again = TaskGraph(memory.engine, ANNA).forest()
        assert again.state() == forest.state()
        assert sorted(map(again.line_of, again.nodes.values())) == sorted(map(forest.line_of, forest.nodes.values()))
