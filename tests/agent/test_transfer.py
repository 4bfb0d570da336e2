"""Memories out of one store and into another: exactly, or not at all."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from halflife.agent.memory import Memory
from halflife.decay import Exponential
from halflife.decay.law import State
from halflife.errors import InvalidInput
from halflife.llm.hashing import HashEmbedder
from halflife.store import restore
from halflife.store.draft import RESERVED
from halflife.store.protocol import Why
from halflife.store.restore import Record
from halflife.store.trace import KINDS, STATUSES, Space, Trace

NOW = 1_750_000_000.0


@pytest.fixture
def memory():
    with Memory(embedder="hash", clock=lambda: NOW) as memory:
        yield memory


def fresh(**options):
    return Memory(embedder=options.pop("embedder", "hash"), clock=lambda: NOW + 5, **options)


def everything(memory):
    """All that an export must bring back: traces, vectors, tensors, links."""
    store = memory.engine.store
    traces = {trace.id: trace for trace in store.iterate()}
    vectors = {id: array.tobytes() for id, array in store.vectors(list(traces)).items()}
    return traces, vectors, restore.payloads(store, list(traces)), sorted(restore.links(store, None))


# -- our own export -----------------------------------------------------------------------------------------------

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30)
words = text.filter(str.strip)
times = st.floats(-6e10, 2e11).map(lambda t: t + 0.0)
names = st.none() | words
positive = st.floats(1e-3, 1e12)
states = st.builds(State, positive, st.floats(0, 10), st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e12))
values = (
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | text
)
metadata = st.dictionaries(
    text.filter(lambda key: key not in RESERVED), values | st.lists(values, max_size=3), max_size=3
)
spaces = st.sampled_from([Space.of(), Space.of("anna"), Space.of("Ω ben"), Space.of(agent_id="helper")])


@st.composite
def records(draw):
    """Traces of any kind and status, with sources and links among those of one space."""
    out = []
    for i in range(draw(st.integers(1, 6))):
        payload = draw(st.none() | st.binary(min_size=1, max_size=40))
        valid = sorted(draw(st.tuples(times, times)))
        space = draw(spaces)
        mine = [record.trace.id for record in out if record.trace.space == space]
        trace = Trace(
            f"id-{i}", space, draw(words if payload is None else text), draw(times), draw(times),
            draw(st.sampled_from(KINDS)), draw(st.none() | st.just(valid[0])), draw(st.none() | st.just(valid[1])),
            draw(st.none() | times), draw(names), draw(names), draw(names), draw(metadata), draw(st.floats(0, 1)),
            draw(words), draw(states), draw(times),
            tuple(sorted(draw(st.sets(st.sampled_from(mine), max_size=2)) if mine else ())), draw(text),
            draw(st.integers(1, 9)), draw(st.sampled_from(STATUSES)),
        )  # fmt: skip
        vectors = None
        if trace.text.strip():
            random = np.random.default_rng(draw(st.integers(0, 99)))
            vectors = random.normal(size=(draw(st.integers(1, 2)), 8)).astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        record = Record(trace, vectors, payload)
        twins = [
            other for other in out if (other.trace.space, other.draft().digest()) == (space, record.draft().digest())
        ]
        if not twins:
            out.append(record)
    return out


def put(memory, records):
    store = memory.engine.store
    store.bind("hash-1/8", 8)
    for record in records:
        restore.insert(store, record.trace.space, [record], Why("add"), NOW)
        restore.relate(store, [(record.trace.id, source) for source in record.trace.sources])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(records(), st.data())
def test_an_export_comes_back_exactly(records, data):
    with fresh(embedder=HashEmbedder(8)) as old, fresh(embedder=HashEmbedder(8)) as new:
        put(old, records)
        ids = [record.trace.id for record in records]
        pairs = st.tuples(st.sampled_from(ids), st.sampled_from(ids), words, st.floats(0.01, 1))
        home = {record.trace.id: record.trace.space for record in records}
        links = [link for link in data.draw(st.lists(pairs, max_size=4)) if home[link[0]] == home[link[1]]]
        restore.connect(old.engine.store, links, Why("link"), NOW)
        assert everything(old)[0] == {record.trace.id: record.trace for record in records}
        lines = list(old.export())
        report = new.import_lines(lines)
        assert everything(new) == everything(old)
        assert (report.format, report.added, report.skipped) == ("halflife", len(records), 0)
        assert report.links == len(everything(old)[3])
        assert sorted(list(new.export())[1:]) == sorted(lines[1:])
        assert "\n".join(lines).splitlines() == lines
        again = new.import_lines(lines)
        assert (again.added, again.met, again.links, again.skipped) == (0, 0, 0, len(records))
        assert everything(new) == everything(old)


def some(memory):
    """A store with some history."""
    a, b, c = memory.add(["I moved to Lisbon.", "Ben plays the cello.", "有猫"], user_id="anna", at="2023-05-01")
    [d] = memory.add("Another's secret.", user_id="ben", role="user", metadata={"n": 1.5})
    memory.link(a.id, b.id, 0.25, kind="similar")
    memory.update(b.id, text="Ben plays the violin.", importance=0.9)
    memory.archive(c.id)
    memory.search("Lisbon", user_id="anna")
    return a.id, b.id, c.id, d.id


def test_what_came_back_is_found_and_can_be_taken_back(memory):
    ids = some(memory)
    with fresh() as new:
        report = new.import_lines(memory.export())
        assert [hit.id for hit in new.search("Lisbon", user_id="anna", k=1, reinforce=False)] == [ids[0]]
        assert new.get(ids[1]).version == 2
        assert new.get(ids[2]).status == "archived"
        assert new.history(ids[0])[0].kind == "import"
        for operation in report.operations:
            new.undo(operation)
        assert new.search("Lisbon", user_id="anna") == []


def test_an_export_of_one_space_holds_nothing_of_another(memory):
    some(memory)
    lines = list(memory.export(user_id="ben"))
    assert len(lines) == 2
    assert "Lisbon" not in "".join(lines)
    assert json.loads(lines[0])["exported_at"] == NOW


def test_all_can_go_to_one_user(memory):
    ids = some(memory)
    with fresh() as new:
        new.import_lines(memory.export(), user_id="carl")
        assert new.spaces() == [(Space.of("carl"), 3)]
        assert new.get(ids[3]).space == Space.of("carl")


def test_vectors_of_another_embedder_are_made_anew(memory):
    ids = some(memory)
    with fresh(embedder=HashEmbedder(64)) as new:
        calls = []
        new.import_lines(memory.export(), progress=lambda done, total: calls.append((done, total)))
        assert new.engine.store.vectors(ids)[ids[0]].shape == (1, 64)
        assert calls == [(4, 4)]
        assert new.search("violin", user_id="anna", k=1)[0].id == ids[1]


def test_vectors_of_the_same_embedder_are_not_made_anew(memory):
    some(memory)
    with fresh() as new:
        calls = []
        new.import_lines(memory.export(), progress=lambda *counts: calls.append(counts))
        assert calls == []
    with fresh() as new:
        new.import_lines(memory.export(vectors=False))
        assert everything(new) == everything(memory)


def test_what_was_said_here_already_is_met_again(memory):
    _, b, *_ = some(memory)
    with fresh() as new:
        [mine] = new.add("I moved to Lisbon.", user_id="anna", at="2023-01-01")
        report = new.import_lines(memory.export())
        assert (report.added, report.met, report.links) == (3, 1, 1)
        assert new.get(mine.id).state.uses == 2
        assert sorted(restore.links(new.engine.store, None)) == [(mine.id, b, "similar", 0.25)]
        before = everything(new)
        assert new.import_lines(memory.export()).added == 0
        assert everything(new) == before


def test_another_law_is_said(memory):
    some(memory)
    with fresh(law=Exponential()) as new:
        assert "another law" in str(new.import_lines(memory.export()))


def test_an_id_that_stands_for_something_else_is_refused(memory):
    ids = some(memory)
    lines = list(memory.export())
    with fresh() as new:
        new.import_lines(lines)
        new.update(ids[0], text="I moved to Porto.")
        before = everything(new)
        with pytest.raises(InvalidInput, match=f"line 2: the id {ids[0]} is that of another memory"):
            new.import_lines(lines)
        with pytest.raises(InvalidInput, match="another memory"):
            new.import_lines(lines, user_id="carl")
        assert everything(new) == before


def broken_exports(lines):
    trace, link = json.loads(lines[1]), {"link": ["x", "y", "similar", 0.5]}
    changes = [
        {"text": ""}, {"text": 5}, {"at": "soon"}, {"at": None}, {"at": float("nan")}, {"state": {}}, {"status": "odd"},
        {"kind": "odd"}, {"version": 0}, {"importance": 2}, {"metadata": {"id": 1}}, {"space": "anna"},
        {"space": "user:"},
        {"sources": ["nowhere"]}, {"vectors": "AAA"}, {"vectors": "AAAA"}, {"vectors": "!"}, {"id": ""}, {"id": None},
        {"sources": 5}, {"metadata": 3}, {"payload": 3},
    ]  # fmt: skip
    yield from (json.dumps(trace | change) for change in changes)
    yield from (json.dumps({k: v for k, v in trace.items() if k != name}) for name in ("text", "state", "recorded_at"))
    yield from ("{", "[]", "7", lines[1][:50], json.dumps(link), '{"link": []}', '{"link": ["x", "y", 3, 0.5]}')
    yield from (lines[2], lines[0])


def test_a_broken_line_is_named_and_nothing_is_written(memory):
    some(memory)
    lines = list(memory.export())
    with fresh() as new:
        for broken in broken_exports(lines):
            with pytest.raises(InvalidInput, match=r"^line 4: "):
                new.import_lines([lines[0], lines[2], "", broken])
            assert new.spaces() == []
            assert new.engine.store.last_op() == 0
            assert new.engine.store.embedder() is None


def test_a_newer_export_is_refused(memory):
    with pytest.raises(InvalidInput, match="line 1: this export has format 99"):
        memory.import_lines(['{"halflife": 99}'])


def test_nothing_is_half_written_when_interrupted(memory, monkeypatch):
    some(memory)
    lines = list(memory.export())
    calls = []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return insert(*args)

    insert = restore.insert
    monkeypatch.setattr(restore, "insert", interrupted)
    with fresh() as new:
        with pytest.raises(KeyboardInterrupt):
            new.import_lines(lines)
        assert len(calls) == 2
        assert new.spaces() == []
        assert new.engine.store.last_op() == 0
        monkeypatch.undo()
        assert new.import_lines(lines).added == 4


# -- mem0 ---------------------------------------------------------------------------------------------------------

MEM0 = [
    {
        "id": "3f0c8a52-0001", "memory": "Likes oat milk", "hash": "abc", "metadata": {"category": "food"},
        "score": None, "created_at": "2024-03-01T10:00:00-08:00", "updated_at": None, "user_id": "anna", "role": "user",
    },
    {
        "id": "3f0c8a52-0002", "memory": "Works as a nurse", "hash": "def", "metadata": None,
        "created_at": "2024-02-01T09:30:00.123456+00:00", "updated_at": "2024-02-02T00:00:00Z", "user_id": "ben",
        "agent_id": "helper", "run_id": "r1", "actor_id": "ben",
    },
]  # fmt: skip


@pytest.mark.parametrize(
    "document",
    [
        json.dumps({"results": MEM0}),
        json.dumps({"results": MEM0}, indent=2),
        json.dumps(MEM0),
        json.dumps(MEM0, indent=4),
        "\n".join(json.dumps(item) for item in MEM0),
        "\ufeff\n\n" + "\n\n".join(json.dumps(item) for item in MEM0),
    ],
    ids=["results", "pretty results", "list", "pretty list", "lines", "lines with blanks"],
)
def test_mem0_in_all_its_shapes(memory, document):
    report = memory.import_lines(document.split("\n"))
    assert (report.format, report.added, report.undated, len(report.operations)) == ("mem0", 2, 0, 2)
    a, b = memory.get("3f0c8a52-0001"), memory.get("3f0c8a52-0002")
    assert (a.space, a.text, a.at, a.role) == (Space.of("anna"), "Likes oat milk", 1709316000.0, "user")
    assert a.metadata == {"category": "food", "hash": "abc"}
    assert (b.space, b.at, b.agent_id, b.session_id) == (Space.of("ben"), 1706779800.123456, "helper", "r1")
    assert b.metadata == {"hash": "def", "updated_at": "2024-02-02T00:00:00Z", "actor_id": "ben"}
    assert memory.retention(a) < 1
    before = everything(memory)
    again = memory.import_lines(document.split("\n"))
    assert (again.added, again.met, again.skipped) == (0, 0, 2)
    assert everything(memory) == before


def test_mem0_to_a_user_and_names_that_are_taken(memory):
    items = [{"memory": "a b c", "metadata": {"id": 7, "text": "x"}, "created_at": "2024-01-01"}, {"memory": "d e f"}]
    report = memory.import_lines([json.dumps({"results": items, "relations": [{}, {}]})], user_id="carl")
    assert (report.added, report.undated) == (2, 1)
    assert "2 relations" in str(report)
    [undated, dated] = memory.list(user_id="carl")
    assert dated.metadata == {"original_id": 7, "original_text": "x"}
    assert undated.at == NOW


def test_an_id_of_mem0_that_is_taken_gets_another(memory):
    memory.import_lines([json.dumps(MEM0)])
    changed = [MEM0[0] | {"memory": "Likes soy milk"}]
    assert memory.import_lines([json.dumps(changed)]).added == 1
    assert {trace.text for trace in memory.list(user_id="anna")} == {"Likes oat milk", "Likes soy milk"}


# -- chats --------------------------------------------------------------------------------------------------------


def said(memory, user="anna"):
    traces = memory.list(user_id=user, limit=None)
    return [(trace.role, trace.text, trace.at, trace.session_id) for trace in reversed(traces)]


def test_messages_as_a_list_or_as_lines(memory):
    messages = [
        {"role": "user", "content": "Hello there", "timestamp": 1000, "session_id": "s1"},
        {"role": "assistant", "content": [{"type": "text", "text": "Good day"}], "at": "1970-01-01T01:00:00Z"},
        {"role": "assistant", "content": None, "tool_calls": [{}]},
        {"role": "user", "content": "Bye", "mood": "glad"},
    ]
    expected = [
        ("user", "Hello there", 1000.0, "s1"), ("assistant", "Good day", 3600.0, None), ("user", "Bye", 3600.0, None),
    ]  # fmt: skip
    for user, lines in (("anna", [json.dumps(messages)]), ("ben", [json.dumps(message) for message in messages])):
        report = memory.import_lines(lines, user_id=user)
        assert (report.format, report.added, report.skipped, report.undated) == ("chat", 3, 1, 1)
        assert said(memory, user) == expected
        assert memory.list(user_id=user, filters={"mood": "glad"})[0].text == "Bye"
        assert memory.import_lines(lines, user_id=user).skipped == 4


def test_an_object_with_messages_is_a_session(memory):
    lines = [
        json.dumps({"messages": [{"role": "user", "content": "One thing"}, {"role": "assistant", "content": "Indeed"}],
                    "date": "2023-01-01"}),
        json.dumps({"id": "chat-7", "messages": [{"role": "user", "content": "Two things"}]}),
    ]  # fmt: skip
    report = memory.import_lines(lines, user_id="anna")
    assert (report.added, report.undated) == (3, 3)
    assert said(memory) == [
        ("user", "One thing", 1672531200.0, "session-1"), ("assistant", "Indeed", 1672531200.0, "session-1"),
        ("user", "Two things", NOW, "chat-7"),
    ]  # fmt: skip
    assert "3 had no time" in str(report)


def test_a_text_log(memory):
    log = """\
2024-05-01 10:03 Anna: I moved to Lisbon: the flat has a view.
It is on the hill, see http://example.org/flat
[2024-05-01 10:04] Ben Smith: Nice!
2024/5/2 08:00:30 - Anna: 早上好

Ben Smith: So early
[2024-05-03] Łucja: hej"""
    report = memory.import_lines(log.split("\n"), user_id="anna")
    assert (report.format, report.added, report.undated) == ("log", 5, 1)
    assert said(memory) == [
        ("Anna", "I moved to Lisbon: the flat has a view.\nIt is on the hill, see http://example.org/flat",
         1714557780.0, None),
        ("Ben Smith", "Nice!", 1714557840.0, None), ("Anna", "早上好", 1714636830.0, None),
        ("Ben Smith", "So early", 1714636830.0, None), ("Łucja", "hej", 1714694400.0, None),
    ]  # fmt: skip
    before = everything(memory)
    assert memory.import_lines(log.split("\n"), user_id="anna").skipped == 5
    assert everything(memory) == before


def test_a_log_without_any_time_is_of_now(memory):
    report = memory.import_lines(["Anna: hello you", "Ben: hello to you", "Anna: hello you"], user_id="anna")
    assert (report.added, report.met, report.undated) == (2, 1, 3)
    assert {at for _, _, at, _ in said(memory)} == {NOW}


@pytest.mark.parametrize(
    ("lines", "where"),
    [
        (["[1, 2]"], "line 1, item 1"),
        (['{"role": "user", "content": "x"}', "{"], "line 2"),
        (['{"role": "user", "content": "x"}', "", '{"content": 5}'], "line 3"),
        (['{"role": "user", "content": "x"}', '{"mood": "odd"}'], "line 2"),
        (['{"role": "user", "content": "x", "at": "5th of never"}'], "line 1"),
        (['{"role": "user", "content": "x", "at": 1700000000000}'], "line 1"),
        (['{"role": 1.5, "content": "x"}'], "line 1"),
        (['{"messages": 3}'], "line 1"),
        (['{"messages": [{"role": "user", "content": "x"}, 7]}'], "line 1, message 2"),
        (['{"results": 3}'], "line 1"),
        (['{"results": [{"memory": "x"}, {"text": "y"}]}'], "line 1, item 2"),
        (['{"memory": "x"}', '{"memory": "y\\u0000"}'], "line 2"),
        (['{"memory": "x"}', '{"memory": "y", "metadata": []}'], "line 2"),
        (["[", '  {"memory": "x"},', "  {memory}", "]"], "line 3"),
        (['{"content": "x"', "and more"], "line 2"),
        (["Just some prose without a speaker"], "line 1"),
        (["Anna: hi", "12/05/2024, 10:03 - Ben: hi"], "line 2"),
        (["2024-13-45 Anna: hi"], "line 1"),
        (["[2024-05-01 10:03] Anna: hi", "[2024-05-01 25:03] Ben: hi"], "line 2"),
        (["Anna: hi", "Ben: \x00"], "line 2"),
    ],
)  # fmt: skip
def test_bad_lines_are_named_and_nothing_is_written(memory, lines, where):
    with pytest.raises(InvalidInput, match=r"(line|item) \d+.*: .*Nothing was imported\.$") as caught:
        memory.import_lines(lines, user_id="anna")
    assert str(caught.value).startswith(f"{where}: ")
    assert memory.spaces() == []
    assert memory.engine.store.last_op() == 0


@pytest.mark.parametrize("lines", [[], ["", "  \n"], ["[]"], ['{"results": []}']])
def test_nothing_to_import(memory, lines):
    if any(line.strip() for line in lines):
        assert memory.import_lines(lines).added == 0
    else:
        with pytest.raises(InvalidInput, match="nothing to import"):
            memory.import_lines(lines)
    assert memory.spaces() == []


def test_bytes_are_refused(memory):
    with pytest.raises(InvalidInput, match="line 1 is bytes"):
        memory.import_lines([b"Anna: hi"])


@given(st.lists(st.text(max_size=40), max_size=5))
@settings(max_examples=60, deadline=None)
def test_any_text_is_read_or_refused(lines):
    with fresh() as memory:
        try:
            report = memory.import_lines(lines, user_id="anna")
        except InvalidInput:
            assert memory.spaces() == []
        else:
            assert report.added == sum(count for _, count in memory.spaces())
