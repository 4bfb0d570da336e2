"""Mistakes that other memories made, each with the test that would have caught it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from halflife import Memory
from halflife.agent.consolidate import Policy
from halflife.errors import EmbedderMismatch, HalflifeError, InvalidFilter, InvalidInput, UnknownSpace
from halflife.store.draft import Draft
from halflife.store.protocol import Why
from halflife.store.trace import Space, Trace
from tests.conftest import Clock

DAY = 86_400.0


def bytes_of(memory: Memory) -> bytes:
    folder = Path(memory.engine.store.path).parent
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def state_of(memory: Memory) -> list[Trace]:
    return list(memory.engine.store.iterate())


# -- deletion that does not delete, or deletes too much -----------------------------------------------------------


def test_deleted_text_stays_in_a_history_row_a_cache_or_a_log(memory: Memory) -> None:
    [added] = memory.add("My PIN is zqpin4711.")
    memory.update(added.id, text="My PIN was zqold0815.", metadata={"old": "zqpin4711"})
    memory.search("PIN")
    memory.archive(added.id)
    memory.undo(memory.operations(limit=1)[0].op)
    memory.delete(added.id)
    data = bytes_of(memory)
    assert b"zqpin4711" not in data
    assert b"zqold0815" not in data
    assert memory.search("PIN") == []
    assert b"zqpin" not in json.dumps([vars(event) for event in memory.operations()], default=str).encode()


def test_delete_all_of_one_user_wipes_everyone(memory: Memory) -> None:
    for user in ("anna", "bob", "an%", "a_na", "ANNA"):
        memory.add(f"of {user}", user_id=user)
    memory.add("of nobody")
    memory.add("of an agent", agent_id="anna")
    memory.delete_all(user_id="anna")
    assert {str(space): count for space, count in memory.spaces()} == {
        "user:anna": 0, "user:bob": 1, "user:an%": 1, "user:a_na": 1, "user:ANNA": 1, "default": 1, "agent:anna": 1,
    }  # fmt: skip


def test_delete_all_of_nobody_wipes_everyone(memory: Memory) -> None:
    memory.add("of bob", user_id="bob")
    memory.add("of nobody")
    with pytest.raises(InvalidInput):
        memory.delete_all()
    for nobody in ("", "  "):
        with pytest.raises(InvalidInput):
            memory.delete_all(user_id=nobody)
        with pytest.raises(InvalidInput):
            memory.delete_all(agent_id=nobody)
    assert sum(count for _, count in memory.spaces()) == 2


@pytest.mark.parametrize("nobody", ["", " "])
def test_an_empty_user_is_everyone(memory: Memory, nobody: str) -> None:
    memory.add("of bob", user_id="bob")
    memory.add("of nobody")
    calls: list[Callable[..., Any]] = [
        lambda **who: memory.search("of", **who), lambda **who: memory.list(**who),
        lambda **who: list(memory.export(**who)), lambda **who: memory.operations(**who),
        lambda **who: memory.consolidate(**who), lambda **who: memory.context("of", **who),
        lambda **who: memory.forget(everything=True, **who), lambda **who: memory.add("x", **who),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(InvalidInput):
            call(user_id=nobody)
        with pytest.raises(InvalidInput):
            call(agent_id=nobody)


def test_a_condition_is_silently_dropped(memory: Memory) -> None:
    memory.add("tea", metadata={"k": 1})
    for filters in ({"k": {"near": 1}}, {"k": {}}, {"AND": []}, {"NOT": {}}, {"OR": [{}]}, {"user_id": {"in": ["x"]}}):
        with pytest.raises(InvalidFilter):
            memory.search("tea", filters=filters)
        with pytest.raises(InvalidFilter):
            memory.forget(filters=filters)
    assert len(memory.list()) == 1


def test_orphans_of_derived_data(memory: Memory) -> None:
    added = memory.add(["Anna moved to Lisbon.", "Anna moved to Porto."])
    draft = Draft("Anna moves a lot.", 0.0, sources=tuple(a.id for a in added), payload=b"x" * 64)
    [summary] = memory.engine.write(Space.of(), [draft], Why("consolidate"))
    memory.link(summary.id, added[0].id)
    memory.search("Anna")
    memory.forget([a.id for a in added])
    for table in ("trace", "vector", "payload", "source", "link", "change", "met"):
        assert memory.engine.store.db.one(f"SELECT count(*) FROM {table}") == 0, table
    assert memory.doctor().healthy


# -- consolidation ------------------------------------------------------------------------------------------------


def lived(memory: Memory, clock: Clock) -> None:
    """Near-duplicates, things that faded, things often met."""
    memory.add("I like green tea.", at=clock.now - 900 * DAY)
    memory.add("I like GREEN tea.", at=clock.now - 800 * DAY)
    memory.add("i LIKE green tea.", at=clock.now - 700 * DAY)
    memory.add("The bus was late once.", at=clock.now - 3_000 * DAY)
    memory.add("My sister is called Ada.", at=clock.now - 2_000 * DAY, importance=1.0)
    memory.add("Green tea grows in Japan.", at=clock.now - 10 * DAY)
    for i in range(6):
        memory.search("Japan", k=1, now=clock.now - (9 - i) * DAY)


def test_consolidation_silently_empties_a_memory(memory: Memory, clock: Clock) -> None:
    lived(memory, clock)
    before = {trace.id: trace.text for trace in state_of(memory)}
    planned = memory.consolidate(dry_run=True)
    assert {t.id: t.text for t in state_of(memory)} == before
    report = memory.consolidate()
    assert (report.merged, report.archived, report.promoted) == (planned.merged, planned.archived, planned.promoted)
    after = {trace.id: trace for trace in state_of(memory)}
    assert {id: trace.text for id, trace in after.items()} == before
    silent = {id for id, trace in after.items() if trace.status != "active"}
    assert silent == {a for a, _ in report.merged} | set(report.archived)
    assert report.archived
    assert report.merged
    assert any(trace.status == "active" for trace in after.values())


def test_sleep_can_be_undone_act_by_act(memory: Memory, clock: Clock) -> None:
    lived(memory, clock)
    before, links = state_of(memory), memory.engine.store.links(Space.of())
    report = memory.consolidate()
    assert report.operations
    assert state_of(memory) != before
    for op in reversed(report.operations):
        memory.undo(op)
    assert state_of(memory) == before
    assert memory.engine.store.links(Space.of()) == links
    assert memory.search("bus", k=1)[0].text == "The bus was late once."


def test_a_chain_of_likenesses_breaks_sleep(open_memory: Callable[..., Memory]) -> None:
    """a is like b and b like c, but a not like c; and they were not told in the order in which they happened."""
    angles = {"tea tea tea": 0.0, "tea tea": 0.2, "tea": 0.4}
    memory = open_memory(
        embedder=lambda texts: np.array([[np.cos(angles.get(t, 1)), np.sin(angles.get(t, 1))] for t in texts])
    )
    for order, text in enumerate(["tea", "tea tea", "tea tea tea"]):
        memory.add(text, at=1000.0 - order)
    report = memory.consolidate(policy=Policy(merge_at=0.97, archive_below=0.0))
    gone = {a for a, _ in report.merged}
    assert gone
    assert not gone & {b for _, b in report.merged}
    assert {t.id for t in state_of(memory) if t.status == "merged"} == gone


def test_what_was_said_again_today_sleeps_away_with_what_faded(memory: Memory, clock: Clock) -> None:
    memory.add("I like green tea.", at=clock.now - 9_000 * DAY)
    memory.add("I LIKE green tea.", at=clock.now)
    memory.add("The bus was late once.", at=clock.now - 9_000 * DAY)
    report = memory.consolidate()
    assert (len(report.merged), len(report.archived)) == (1, 1)
    assert [hit.text for hit in memory.search("tea")] == ["I like green tea."]


def test_sleep_again_changes_nothing(memory: Memory, clock: Clock) -> None:
    lived(memory, clock)
    memory.consolidate()
    memory.consolidate()  # what was met in three forms is promoted in the second night
    before = state_of(memory)
    again = memory.consolidate()
    assert (again.merged, again.archived, again.promoted, again.linked) == ([], [], [], 0)
    assert state_of(memory) == before


def test_a_negation_is_a_duplicate(memory: Memory) -> None:
    memory.add(["Anna eats meat on day 5.", "Anna eats meat on day 6.", "Anna never eats meat on day 5."])
    assert memory.consolidate(policy=Policy(merge_at=0.5)).merged == []
    assert len(memory.search("Anna eats meat", k=5)) == 3


# -- search -------------------------------------------------------------------------------------------------------


def test_a_keyword_match_cannot_come_back_because_candidates_come_from_vectors(
    open_memory: Callable[..., Memory],
) -> None:
    def embed(texts: Any) -> np.ndarray:
        return np.array(
            [[-1.0, 0] if "fault" in text else [0.5, 0.9] if "manual" in text else [1, 0] for text in texts]
        )

    memory = open_memory(embedder=embed)
    memory.add_many([f"Chapter {i} of the manual." for i in range(500)])
    memory.add("The fault code is E1401.")
    assert memory.search("E1401", k=1)[0].text == "The fault code is E1401."


@pytest.mark.parametrize(
    ("text", "query"),
    [("我昨天在上海见了李雷", "上海"), ("ผมชอบกินผัดไทย", "ผัดไทย"), ("猫が好きです", "猫"), ("ÉCOLE fermée", "école"),
     ("Straße 5", "STRASSE"), ("Ελλάδα", "ΕΛΛΆΔΑ"), ("नमस्ते दुनिया", "दुनिया")],
)  # fmt: skip
def test_text_search_knows_english_only(open_memory: Callable[..., Memory], text: str, query: str) -> None:
    memory = open_memory(embedder=lambda texts: np.ones((len(texts), 2)))
    memory.add_many(["nothing", "rien", "什么都没有", text, "niente"])
    assert memory.search(query, k=1)[0].text == text


def test_icontains_knows_english_only(memory: Memory) -> None:
    memory.add("Elle habite à ÉVORA.", metadata={"city": "ÉVORA"})
    assert memory.list(filters={"text": {"icontains": "évora"}})
    assert memory.list(filters={"city": {"icontains": "Évora"}})


# -- time, repetition, identity -----------------------------------------------------------------------------------


def test_import_time_is_stored_as_event_time(memory: Memory, clock: Clock) -> None:
    memory.add([{"content": "Great fire.", "timestamp": "1666-09-02"}, {"content": "Moved.", "at": "2021-05-01T10:00"}])
    moved, fire = memory.list()
    assert (fire.text, moved.text) == ("Great fire.", "Moved.")
    assert [str(hit.at.date()) for hit in memory.search("fire", k=1)] == ["1666-09-02"]
    assert fire.recorded_at == moved.recorded_at == clock.now
    lines = list(memory.export())
    with Memory(embedder="hash", clock=Clock(clock.now + 1e6)) as other:
        other.import_lines(lines)
        assert [trace.at for trace in other.list()] == [moved.at, fire.at]


def test_recalled_text_is_written_back_as_new_memory(memory: Memory, clock: Clock) -> None:
    memory.add_many([f"Fact {i}: number {i * i}." for i in range(20)])
    for _ in range(5):
        clock.now += DAY
        for hit in memory.search("fact number", k=5, reinforce=False):
            [again] = memory.add(f"  {hit.text}\n")
            assert (again.event, again.id) == ("met", hit.id)
    assert len(memory.list(limit=None)) == 20
    assert max(float(trace.state.uses) for trace in memory.list(limit=None)) == 6.0


@pytest.mark.parametrize("name", ["user_id", "agent_id", "session_id", "run_id", "space", "id", "at", "role", "status"])
def test_identity_can_be_set_through_metadata(memory: Memory, name: str) -> None:
    with pytest.raises(InvalidInput, match=name):
        memory.add("x", user_id="anna", metadata={name: "bob"})
    with pytest.raises(InvalidInput, match=name):
        memory.add([{"text": "x", "metadata": {name: "bob"}}], user_id="anna")
    [added] = memory.add("y", user_id="anna")
    with pytest.raises(InvalidInput, match=name):
        memory.update(added.id, metadata={name: "bob"})
    assert memory.get(added.id).metadata == {}


def test_a_changed_embedder_fails_at_the_first_search(tmp_path: Path) -> None:
    with Memory(tmp_path / "a.db", embedder="hash:64") as memory:
        memory.add("tea")
    for other in ("hash:128", lambda texts: np.ones((len(texts), 64))):
        with pytest.raises(EmbedderMismatch, match="hash-1/64"):
            Memory(tmp_path / "a.db", embedder=other)
    with Memory(tmp_path / "a.db", embedder="hash:64") as memory:
        assert memory.search("tea")


# -- the world around ---------------------------------------------------------------------------------------------

WRITER = """
import sys
from halflife import Memory
with Memory(sys.argv[1], embedder="hash", synchronous="NORMAL") as memory:
    for i in range(int(sys.argv[3])):
        memory.add(f"number {i} of {sys.argv[2]}", user_id=sys.argv[2])
        memory.search("number", user_id=sys.argv[2], k=2)
"""


def test_database_is_locked_with_two_processes(tmp_path: Path) -> None:
    """Both also make the file: neither waits for the other to have done so."""
    path = str(tmp_path / "a.db")
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, path, who, "40"], stderr=subprocess.PIPE, text=True)
        for who in ("anna", "bob", "anna")
    ]
    for writer in writers:
        assert writer.communicate(timeout=120)[1] == ""
        assert writer.returncode == 0
    with Memory(path, embedder="hash") as memory:
        assert {str(space): count for space, count in memory.spaces()} == {"user:anna": 40, "user:bob": 40}
        assert memory.doctor().healthy


def test_it_phones_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the network was touched")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    with Memory(tmp_path / "a.db", embedder="hash") as memory:
        [added] = memory.add("tea", user_id="anna")
        memory.search("tea", user_id="anna")
        memory.context("tea", user_id="anna")
        memory.update(added.id, text="coffee")
        memory.consolidate()
        list(memory.export())
        memory.doctor()
        memory.forget(added.id)


def test_threads_trip_over_each_other(memory: Memory) -> None:
    """Adding, searching, sleeping and forgetting at once, as an asynchronous server does."""
    failures: list[BaseException] = []
    memory.add_many([f"fact {i} of old" for i in range(300)])

    def work(step: Callable[[int], Any]) -> None:
        try:
            for i in range(15):
                step(i)
        except BaseException as error:
            failures.append(error)
            traceback.print_exc()

    steps: list[Callable[[int], Any]] = [
        lambda i: memory.add(f"fact {i} of now"), lambda i: memory.search(f"fact {i}", k=3),
        lambda i: memory.add_many([f"many {i} {j}" for j in range(40)]), lambda i: memory.consolidate(),
        lambda i: memory.forget(memory.list(limit=1, offset=i)[0].id), lambda i: memory.search("many", archived=True),
        lambda i: memory.plan_forget(about="fact 3"),
    ]  # fmt: skip
    threads = [threading.Thread(target=work, args=(step,)) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    assert memory.doctor().healthy


# -- tenants ------------------------------------------------------------------------------------------------------

USERS = ["anna", "bob", "a%", "user:anna", "anna'--"]
SHARED = "fact tea said by all"
ACTS = ["add", "met", "update", "search", "context", "list", "forget", "sleep", "archive", "undo", "link", "export"]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=st.lists(st.tuples(st.sampled_from(USERS), st.sampled_from(ACTS), st.integers(0, 9)), max_size=40))
def test_one_tenant_sees_another(acts: list[tuple[str, str, int]]) -> None:
    """Each user's texts carry the user's canary; no answer to one ever holds another's."""
    canary = {user: f"canary{i}zq" for i, user in enumerate(USERS)}
    mine: dict[str, list[str]] = {user: [] for user in USERS}
    with Memory(embedder="hash", clock=Clock()) as memory:
        for user, act, i in acts:
            text = f"fact {i} tea {canary[user]}"
            try:
                said = _act(memory, user, act, text, i, mine[user])
            except HalflifeError as error:
                said = str(error)
            for other, word in canary.items():
                assert other == user or word not in said, (user, act)
        for user in USERS:
            for hit in memory.search("tea canary0zq canary1zq", user_id=user, k=50):
                assert hit.trace.space == Space.of(user)
                assert canary[user] in hit.text or hit.text == SHARED


def _act(memory: Memory, user: str, act: str, text: str, i: int, mine: list[str]) -> str:
    if act == "add":
        mine += [added.id for added in memory.add(text, user_id=user) if added.event == "add"]
    elif act == "met":
        return str(memory.add(SHARED, user_id=user))
    elif act in ("update", "archive", "link") and mine:
        one = mine[i % len(mine)]
        if act == "update":
            return repr(memory.update(one, text=f"{text} again"))
        if act == "archive":
            memory.archive(one)
        elif len(mine) > 1:
            memory.link(mine[0], mine[-1])
    elif act == "search":
        return repr(memory.search("tea fact canary0zq canary1zq canary2zq", user_id=user, k=30))
    elif act == "context":
        return str(memory.context("tea fact", user_id=user))
    elif act == "list":
        return repr(memory.list(user_id=user))
    elif act == "forget":
        report = memory.forget(user_id=user, about=text)
        mine[:] = [id for id in mine if id not in {*report.ids, *report.derived}]
        return str(report) + json.dumps(report.to_dict())
    elif act == "sleep":
        return json.dumps(memory.consolidate(user_id=user).to_dict())
    elif act == "undo":
        return repr(memory.operations(user_id=user))
    elif act == "export":
        return "".join(memory.export(user_id=user))
    return ""


def test_another_space_is_reached_by_its_id(memory: Memory) -> None:
    """An id of one user, given as another, is unknown."""
    [secret] = memory.add("canary", user_id="anna")
    memory.add("mine", user_id="bob")
    for call in (lambda: memory.forget(secret.id, user_id="bob"), lambda: memory.forget([secret.id], agent_id="bob")):
        with pytest.raises((HalflifeError,)) as caught:
            call()
        assert "canary" not in str(caught.value)
    assert memory.get(secret.id).text == "canary"
    [own] = memory.list(user_id="bob")
    with pytest.raises(InvalidInput):
        memory.link(secret.id, own.id)


def test_an_error_tells_who_else_is_there(memory: Memory) -> None:
    memory.add("x", user_id="anna-of-lisbon")
    with pytest.raises(UnknownSpace) as caught:
        memory.list(user_id="bob")
    assert "anna-of-lisbon" not in str(caught.value)
