"""The contract of `halflife.store.protocol.Store`, in executable form.

A backend is tested by a subclass of `StoreContract` that says how to open it, and a subclass of `StoreMachine`
that does the same for random operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, precondition, rule

from halflife.decay import FSRS6
from halflife.errors import HalflifeError, InvalidInput, NothingToUndo, StoreError, UnknownTrace
from halflife.store.draft import Draft
from halflife.store.filters import ALL, parse
from halflife.store.protocol import Added, Feed, Store, Why
from halflife.store.rows import halves
from halflife.store.text import term_ids
from halflife.store.trace import Space, Trace

DIM = 4
LAW = FSRS6()
ANNA, BOB = Space.of(user_id="anna"), Space.of(user_id="bob")
ADD, UPDATE, ARCHIVE, UNDO, LINK = (
    Why(kind, "test", "because") for kind in ("add", "update", "archive", "undo", "link")
)
DAY = 86_400.0


def unit(*components: float) -> np.ndarray:
    """Windows of unit length: one a group of `DIM` components."""
    rows = np.array(components, dtype=np.float32).reshape(-1, DIM)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def stored(*components: float) -> bytes:
    """The same as a store keeps them."""
    return halves(unit(*components))


def draft(text: str, at: float = 0.0, **fields: Any) -> Draft:
    return Draft(text, at, **fields)


def one(store: Store, text: str, space: Space = ANNA, now: float = 0.0, **fields: Any) -> Added:
    [added] = store.add(space, [draft(text, **{"at": now, **fields})], ADD, now)
    return added


def everything(store: Store) -> list[Trace]:
    return list(store.iterate())


def changes_nothing(store: Store, error: type[HalflifeError], call: Any) -> None:
    """A refused call leaves the store as it was."""
    before, op = everything(store), store.last_op()
    with pytest.raises(error):
        call()
    assert everything(store) == before
    assert store.last_op() == op


class StoreContract:
    """What every store does."""

    lasts = True  # whether `open_store` with the same folder finds again what was written

    def open_store(self, folder: Path) -> Store:
        """A store in a folder, whose embedder has `DIM` dimensions."""
        raise NotImplementedError

    def erase(self, store: Store, ids: Sequence[str]) -> None:
        raise NotImplementedError

    @pytest.fixture
    def store(self, tmp_path: Path) -> Any:
        store = self.open_store(tmp_path)
        yield store
        store.close()

    # -- add and get ------------------------------------------------------------------------------------------

    def test_what_is_added_is_there_with_every_field(self, store: Store) -> None:
        given = Draft(
            "I moved to Lisbon.", -9_781_776_000.0, role="user", agent_id="helper", session_id="s1",
            metadata={"channel": "chat", "deep": {"list": [1, 2.5, None, "é"]}}, importance=0.9, layer="mid",
            valid_from=-10.0, valid_to=20.0, system="test", vectors=unit(1, 0, 0, 0),
        )  # fmt: skip
        [added] = store.add(ANNA, [given], ADD, 5.0)
        [trace] = store.get([added.id])
        assert (added.event, trace.space, trace.recorded_at, trace.version, trace.status) == (
            "add", ANNA, 5.0, 1, "active")  # fmt: skip
        for name in "text at role agent_id session_id metadata importance layer valid_from valid_to system".split():
            assert getattr(trace, name) == getattr(given, name), name
        assert trace.state == LAW.initial()
        assert trace.last_used == given.at
        assert store.vector_bytes(np.array([added.n])) == {added.n: stored(1, 0, 0, 0)}

    def test_answers_come_in_the_order_of_the_drafts(self, store: Store) -> None:
        added = store.add(ANNA, [draft(text) for text in "cab"], ADD, 0.0)
        assert [trace.text for trace in store.get([a.id for a in added])] == ["c", "a", "b"]
        assert [trace.text for trace in store.get([a.id for a in reversed(added)])] == ["b", "a", "c"]
        assert [a.n for a in added] == sorted(a.n for a in added)

    def test_adding_nothing_is_nothing(self, store: Store) -> None:
        assert store.add(ANNA, [], ADD, 0.0) == []
        assert store.last_op() == 0

    def test_the_same_words_are_met_again(self, store: Store) -> None:
        first = one(store, "The key is under the mat.")
        again = one(store, "  The key  is under\nthe mat. ", now=3 * DAY)
        assert (again.id, again.n, again.event) == (first.id, first.n, "met")
        [trace] = everything(store)
        assert (trace.text, trace.last_used, trace.state.uses) == ("The key is under the mat.", 3 * DAY, 2.0)

    def test_twice_in_one_call_is_met_too(self, store: Store) -> None:
        added = store.add(ANNA, [draft("tea"), draft("coffee"), draft("tea")], ADD, 0.0)
        assert [a.event for a in added] == ["add", "add", "met"]
        assert added[0].id == added[2].id
        assert [trace.text for trace in everything(store)] == ["tea", "coffee"]

    def test_who_said_it_and_whose_memory_it_is_make_it_another(self, store: Store) -> None:
        ids = {one(store, "yes").id, one(store, "yes", role="user").id, one(store, "yes", BOB).id}
        assert len(ids) == 3

    def test_met_long_ago_does_not_bring_use_forward(self, store: Store) -> None:
        """Told again of a day before 1970, a trace was used on that day, not in 1970."""
        one(store, "The great fire.", now=0.0, at=-9_000 * DAY)
        one(store, "The great fire.", now=0.0, at=-8_000 * DAY)
        [trace] = everything(store)
        assert trace.last_used == -8_000 * DAY

    def test_an_archived_trace_that_is_met_comes_back(self, store: Store) -> None:
        added = one(store, "tea")
        store.set_status([added.id], "archived", ARCHIVE, 1.0)
        assert one(store, "tea", now=2.0).id == added.id
        assert store.get([added.id])[0].status == "active"

    def test_ids_are_unique(self, store: Store) -> None:
        added = one(store, "tea")
        changes_nothing(store, InvalidInput, lambda: one(store, "coffee", id=added.id))

    def test_a_batch_is_written_whole_or_not(self, store: Store) -> None:
        one(store, "tea")
        bad = [draft("good"), draft("derived", sources=("no-such-id",))]
        changes_nothing(store, UnknownTrace, lambda: store.add(ANNA, bad, ADD, 1.0))

    def test_vectors_of_another_length_are_refused(self, store: Store) -> None:
        wrong = draft("tea", vectors=np.ones((1, DIM + 1), dtype=np.float32))
        changes_nothing(store, HalflifeError, lambda: store.add(ANNA, [wrong], ADD, 0.0))

    def test_sources_are_kept_in_order(self, store: Store) -> None:
        a, b = one(store, "a"), one(store, "b")
        derived = one(store, "both", sources=(a.id, b.id, a.id))
        assert store.get([derived.id])[0].sources == (a.id, b.id)
        assert [trace.sources for trace in everything(store)] == [(), (), (a.id, b.id)]

    def test_an_update_changes_sources_and_an_undo_puts_them_back(self, store: Store) -> None:
        a, b = one(store, "a"), one(store, "b")
        derived = one(store, "both", sources=(a.id,))
        store.update(derived.id, {"text": "more", "sources": (a.id, b.id)}, None, UPDATE, 10.0)
        assert store.get([derived.id])[0].sources == (a.id, b.id)
        op = store.revise([(derived.id, {"sources": (b.id,)})], UPDATE, 11.0)
        assert store.get([derived.id])[0].sources == (b.id,)
        undone = store.undo(op, UNDO, 12.0)
        assert store.get([derived.id])[0].sources == (a.id, b.id)
        store.undo(undone.op, UNDO, 13.0)
        assert store.get([derived.id])[0].sources == (b.id,)

    def test_new_sources_lie_in_the_same_space(self, store: Store) -> None:
        other, mine = one(store, "theirs", BOB), one(store, "mine", ANNA)
        changes_nothing(store, UnknownTrace, lambda: store.update(mine.id, {"sources": (other.id,)}, None, UPDATE, 1.0))

    def test_settings_are_kept(self, store: Store) -> None:
        assert store.meta("mine") is None
        store.set_meta("mine", "1")

        def interrupted() -> None:
            with store.transaction():
                store.set_meta("mine", "2")
                one(store, "lost")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert store.meta("mine") == "1"
        assert everything(store) == []

    def test_sources_lie_in_the_same_space(self, store: Store) -> None:
        other = one(store, "secret", BOB)
        changes_nothing(store, UnknownTrace, lambda: one(store, "derived", ANNA, sources=(other.id,)))

    def test_get_refuses_what_is_not_there(self, store: Store) -> None:
        added = one(store, "tea")
        with pytest.raises(UnknownTrace, match="nowhere"):
            store.get([added.id, "nowhere"])
        with pytest.raises(UnknownTrace):
            store.get([added.id], BOB)
        assert store.get([added.id], ANNA)[0].text == "tea"
        assert store.get([]) == []

    # -- find, match, iterate ---------------------------------------------------------------------------------

    def test_find_is_newest_first_in_pages(self, store: Store) -> None:
        for at in (3.0, 1.0, 2.0):
            one(store, f"day {at:.0f}", at=at)
        one(store, "of another", BOB)
        texts = [trace.text for trace in store.find(ANNA, ALL)]
        assert texts == ["day 3", "day 2", "day 1"]
        assert [t.text for i in range(4) for t in store.find(ANNA, ALL, limit=1, offset=i)] == texts

    def test_an_unknown_space_is_empty(self, store: Store) -> None:
        one(store, "tea")
        nobody = Space.of(user_id="nobody")
        assert store.find(nobody, ALL) == []
        assert store.match(nobody, ALL).tolist() == []
        assert list(store.iterate(nobody)) == []
        assert store.links(nobody) == []
        assert store.feed(nobody, 0).n.tolist() == []
        assert [space for space, _ in store.spaces()] == [ANNA]

    def test_names_are_taken_literally(self, store: Store) -> None:
        """`%`, `_` and quotes in a user's id are letters like any other."""
        names = ["a_b", "axb", "a%", "a'; DROP TABLE trace; --", 'a"b', "anna", "ANNA", "ａnna"]
        for name in names:
            one(store, f"of {name}", Space.of(user_id=name))
        for name in names:
            assert [t.text for t in store.find(Space.of(user_id=name), ALL)] == [f"of {name}"]

    def test_match_agrees_with_find(self, store: Store) -> None:
        for i in range(6):
            one(store, f"text {i}", metadata={"i": i})
        where = parse({"i": {"gte": 2, "lt": 5}})
        found = {trace.id for trace in store.find(ANNA, where)}
        assert len(found) == 3
        numbers = set(store.match(ANNA, where).tolist())
        assert numbers == {added for added in range(1, 7) if store.find(ANNA, where & parse({"i": added - 1}))}

    def test_iterate_gives_all_in_the_order_of_writing(self, store: Store) -> None:
        texts = [f"number {i}" for i in range(1100)]
        store.add(ANNA, [draft(text) for text in texts[:600]], ADD, 0.0)
        one(store, "of another", BOB)
        store.add(ANNA, [draft(text) for text in texts[600:]], ADD, 0.0)
        assert [trace.text for trace in store.iterate(ANNA)] == texts
        assert sum(1 for _ in store.iterate()) == 1101

    def test_spaces_count_active_traces(self, store: Store) -> None:
        a, _ = one(store, "a"), one(store, "b")
        one(store, "c", BOB)
        store.set_status([a.id], "archived", ARCHIVE, 0.0)
        assert store.spaces() == [(ANNA, 1), (BOB, 1)]

    # -- update, status, reinforce, link ----------------------------------------------------------------------

    def test_an_update_makes_a_version_and_keeps_the_old_one(self, store: Store) -> None:
        added = one(store, "I live in Porto.", vectors=unit(1, 0, 0, 0), metadata={"a": 1})
        new = store.update(added.id, {"text": "I live in Lisbon.", "metadata": {"b": 2}}, unit(0, 1, 0, 0), UPDATE, 7.0)
        assert (new.id, new.text, new.version, new.metadata) == (added.id, "I live in Lisbon.", 2, {"b": 2})
        assert store.get([added.id]) == [new]
        assert store.vector_bytes(np.array([added.n])) == {added.n: stored(0, 1, 0, 0)}
        first, event = store.history(added.id)
        assert (first.kind, event.kind, event.at, event.actor, event.reason) == (
            "add",
            "update",
            7.0,
            "test",
            "because",
        )
        assert event.before["text"] == "I live in Porto."
        assert one(store, "I live in Porto.").event == "add"
        assert one(store, "I live in Lisbon.").event == "met"

    @pytest.mark.parametrize("changes", [{"id": "other"}, {"space": "user:bob"}, {"n": 3}, {"nonsense": 1}])
    def test_what_a_trace_is_cannot_be_updated(self, store: Store, changes: dict[str, Any]) -> None:
        added = one(store, "tea")
        changes_nothing(store, InvalidInput, lambda: store.update(added.id, changes, None, UPDATE, 1.0))

    def test_two_traces_cannot_come_to_say_the_same(self, store: Store) -> None:
        one(store, "tea")
        added = one(store, "coffee")
        changes_nothing(store, InvalidInput, lambda: store.update(added.id, {"text": "tea"}, None, UPDATE, 1.0))

    def test_what_is_unknown_cannot_be_changed(self, store: Store) -> None:
        added = one(store, "tea")
        changes_nothing(store, UnknownTrace, lambda: store.update("nowhere", {"text": "x"}, None, UPDATE, 1.0))
        changes_nothing(store, UnknownTrace, lambda: store.set_status([added.id, "nowhere"], "archived", ARCHIVE, 1.0))
        changes_nothing(store, UnknownTrace, lambda: store.link([(added.id, "nowhere", 1.0)], "x", LINK, 1.0))
        with pytest.raises(UnknownTrace):
            store.history("nowhere")

    def test_a_status_given_twice_is_given_once(self, store: Store) -> None:
        added = one(store, "tea")
        store.set_status([added.id, added.id], "archived", ARCHIVE, 1.0)
        assert store.get([added.id])[0].status == "archived"

    def test_retiring_says_when(self, store: Store) -> None:
        added = one(store, "tea")
        store.set_status([added.id], "retired", ARCHIVE, 9.0)
        trace = store.get([added.id])[0]
        assert (trace.status, trace.retired_at) == ("retired", 9.0)
        assert one(store, "tea").event == "add"

    def test_reinforcing_follows_the_law(self, store: Store) -> None:
        added, other = one(store, "tea"), one(store, "coffee")
        store.reinforce([added.id], 10 * DAY)
        expected = LAW.reinforce(LAW.initial(), 10 * DAY)
        trace = store.get([added.id])[0]
        for name in ("stability", "difficulty", "uses", "lapses", "span"):
            assert getattr(trace.state, name) == pytest.approx(float(np.asarray(getattr(expected, name))))
        assert trace.last_used == 10 * DAY
        assert store.get([other.id])[0].last_used == 0.0

    def test_time_never_runs_back(self, store: Store) -> None:
        added = one(store, "tea", now=5 * DAY)
        store.reinforce([added.id], 2 * DAY)
        assert store.get([added.id])[0].last_used == 5 * DAY

    def test_reinforcing_what_is_gone_is_no_error(self, store: Store) -> None:
        added = one(store, "tea")
        store.reinforce(["nowhere"], 1.0)
        store.reinforce([added.id, "nowhere"], 1.0)
        assert store.get([added.id])[0].state.uses == 2.0

    def test_links_are_symmetric_and_stay_in_a_space(self, store: Store) -> None:
        a, b, c = one(store, "a"), one(store, "b"), one(store, "c", BOB)
        store.link([(b.id, a.id, 0.5)], "similar", LINK, 0.0)
        assert store.links(ANNA) == [(a.n, b.n, 0.5)]
        assert store.links(BOB) == []
        changes_nothing(store, InvalidInput, lambda: store.link([(a.id, c.id, 1.0)], "similar", LINK, 0.0))

    # -- history and undo -------------------------------------------------------------------------------------

    def test_operations_are_newest_first_and_of_their_space(self, store: Store) -> None:
        added = one(store, "a")
        one(store, "b", BOB)
        store.update(added.id, {"layer": "mid"}, None, UPDATE, 1.0)
        assert [event.kind for event in store.operations()] == ["update", "add", "add"]
        assert [event.kind for event in store.operations(ANNA)] == ["update", "add"]
        assert [event.op for event in store.operations(limit=1)] == [store.last_op()]

    def test_undoing_an_addition_retires_it(self, store: Store) -> None:
        added = one(store, "a")
        store.undo(store.last_op(), UNDO, 3.0)
        trace = store.get([added.id])[0]
        assert (trace.status, trace.retired_at) == ("retired", 3.0)

    def test_undoing_an_update_restores_everything(self, store: Store) -> None:
        added = one(store, "a", vectors=unit(1, 0, 0, 0), metadata={"x": 1}, valid_to=4.0)
        before = store.get([added.id])
        store.update(added.id, {"text": "b", "metadata": {}, "valid_to": 9.0}, unit(0, 0, 1, 0), UPDATE, 1.0)
        after = store.get([added.id])
        op = store.last_op()
        undone = store.undo(op, UNDO, 2.0)
        assert store.get([added.id]) == before
        assert store.vector_bytes(np.array([added.n]))[added.n] == stored(1, 0, 0, 0)
        assert one(store, "a").event == "met"
        with pytest.raises(NothingToUndo, match="already"):
            store.undo(op, UNDO, 3.0)
        store.undo(undone.op, UNDO, 4.0)
        assert [replace(t, state=after[0].state, last_used=after[0].last_used) for t in store.get([added.id])] == after
        assert store.vector_bytes(np.array([added.n]))[added.n] == stored(0, 0, 1, 0)

    def test_undoing_a_link_removes_it_and_undoing_that_brings_it_back(self, store: Store) -> None:
        a, b = one(store, "a"), one(store, "b")
        op = store.link([(a.id, b.id, 0.5)], "similar", LINK, 0.0)
        undone = store.undo(op, UNDO, 1.0)
        assert store.links(ANNA) == []
        store.undo(undone.op, UNDO, 2.0)
        assert store.links(ANNA) == [(a.n, b.n, 0.5)]

    def test_undoing_a_second_link_leaves_the_first(self, store: Store) -> None:
        a, b = one(store, "a"), one(store, "b")
        store.link([(a.id, b.id, 0.5)], "similar", LINK, 0.0)
        op = store.link([(a.id, b.id, 0.9)], "similar", LINK, 1.0)
        assert store.links(ANNA) == [(a.n, b.n, 0.9)]
        store.undo(op, UNDO, 2.0)
        assert store.links(ANNA) == [(a.n, b.n, 0.5)]

    def test_what_was_built_upon_is_undone_last(self, store: Store) -> None:
        added = one(store, "a")
        add = store.last_op()
        store.update(added.id, {"text": "b"}, None, UPDATE, 1.0)
        update = store.last_op()
        changes_nothing(store, NothingToUndo, lambda: store.undo(add, UNDO, 2.0))
        store.undo(update, UNDO, 3.0)
        store.undo(add, UNDO, 4.0)
        assert store.get([added.id])[0].status == "retired"

    def test_there_is_nothing_to_undo(self, store: Store) -> None:
        added = one(store, "a")
        recall = store.reinforce([added.id], 1.0)
        for op in (0, 99, -1, recall):
            changes_nothing(store, NothingToUndo, lambda op=op: store.undo(op, UNDO, 2.0))

    def test_the_history_of_a_trace(self, store: Store) -> None:
        added = one(store, "a", now=0.0)
        store.update(added.id, {"layer": "mid"}, None, UPDATE, 1.0)
        store.reinforce([added.id], 2.0)
        one(store, "a", now=3.0)
        store.undo(2, UNDO, 4.0)
        assert [event.kind for event in store.history(added.id)] == ["add", "update", "recall", "met", "undo"]
        assert [event.at for event in store.history(added.id)] == [0.0, 1.0, 2.0, 3.0, 4.0]

    # -- feed -------------------------------------------------------------------------------------------------

    def test_the_feed_tells_all_and_then_what_changed(self, store: Store) -> None:
        a = one(store, "alpha beta", vectors=unit(1, 0, 0, 0, 0, 1, 0, 0), session_id="s", importance=0.7)
        b = one(store, "gamma", at=2.0)
        feed = store.feed(ANNA, 0)
        assert feed.op == store.last_op()
        assert feed.n.tolist() == [a.n, b.n]
        assert feed.fresh.all()
        assert list(feed.session) == ["s", None]
        assert feed.columns["importance"].tolist() == [0.7, 0.5]
        assert list(feed.terms) == [term_ids("alpha beta").tobytes(), term_ids("gamma").tobytes()]
        assert list(feed.vectors) == [stored(1, 0, 0, 0, 0, 1, 0, 0), b""]
        store.reinforce([b.id], 4.0)
        feed = store.feed(ANNA, feed.op)
        assert (feed.n.tolist(), feed.fresh.tolist(), feed.gone.tolist()) == ([b.n], [False], [])
        assert feed.columns["uses"].tolist() == [2.0]
        assert not feed.terms
        store.set_status([a.id], "archived", ARCHIVE, 5.0)
        assert store.feed(ANNA, feed.op).gone.tolist() == [a.n]
        assert store.feed(ANNA, feed.op, statuses=("active", "archived")).gone.tolist() == []
        assert store.feed(ANNA, store.last_op()).n.tolist() == []

    def test_the_feed_forgets(self, store: Store) -> None:
        a, b = one(store, "alpha"), one(store, "beta")
        op = store.last_op()
        self.erase(store, [a.id])
        feed = store.feed(ANNA, op)
        assert (feed.n.tolist(), feed.gone.tolist()) == ([], [a.n])
        assert store.feed(ANNA, 0).n.tolist() == [b.n]

    def test_the_feed_leaves_out_vectors_that_an_index_holds(self, store: Store) -> None:
        a = one(store, "alpha", vectors=unit(1, 0, 0, 0))
        covered = store.last_op()
        b = one(store, "beta", vectors=unit(0, 1, 0, 0))
        feed = store.feed(ANNA, 0, vectors_after=covered)
        assert list(feed.vectors) == [b"", stored(0, 1, 0, 0)]
        store.update(a.id, {"text": "new"}, unit(0, 0, 1, 0), UPDATE, 1.0)
        feed = store.feed(ANNA, 0, vectors_after=covered)
        assert dict(zip(feed.n.tolist(), feed.vectors, strict=True)) == {
            a.n: stored(0, 0, 1, 0), b.n: stored(0, 1, 0, 0)}  # fmt: skip

    def test_numbers_are_never_used_twice(self, store: Store) -> None:
        a = one(store, "alpha")
        self.erase(store, [a.id])
        assert one(store, "beta").n > a.n

    # -- copies -----------------------------------------------------------------------------------------------

    def test_what_is_written_lasts(self, tmp_path: Path) -> None:
        if not self.lasts:
            pytest.skip("lives in the process only")
        store = self.open_store(tmp_path)
        added = one(store, "tea", vectors=unit(1, 0, 0, 0), metadata={"a": [1]})
        store.update(added.id, {"text": "green tea"}, unit(0, 1, 0, 0), UPDATE, 1.0)
        before, op, history = everything(store), store.last_op(), store.history(added.id)
        store.close()
        again = self.open_store(tmp_path)
        assert (everything(again), again.last_op(), again.history(added.id)) == (before, op, history)
        again.close()

    def test_a_backup_is_a_copy_at_that_moment(self, store: Store, tmp_path: Path) -> None:
        one(store, "tea")
        (tmp_path / "copy").mkdir()
        store.backup(tmp_path / "copy" / self.name)
        one(store, "coffee")
        copy = self.open_store(tmp_path / "copy")
        assert [trace.text for trace in everything(copy)] == ["tea"]
        copy.close()
        with pytest.raises(StoreError, match="exists"):
            store.backup(tmp_path / "copy" / self.name)

    name = "store.db"

    def test_closing_twice_is_fine(self, tmp_path: Path) -> None:
        store = self.open_store(tmp_path)
        store.close()
        store.close()


# -- random operations against a dictionary ---------------------------------------------------------------------


@dataclass
class Kept:
    """What a dictionary says of one trace."""

    space: Space
    text: str
    status: str = "active"
    version: int = 1
    layer: str = "short"


@dataclass
class Done:
    """An operation: what it changed, as it was before, and what it added."""

    kind: str
    before: dict[str, Kept] = field(default_factory=dict)
    created: list[str] = field(default_factory=list)
    undone: bool = False

    def touched(self) -> set[str]:
        return {*self.before, *self.created}


TEXTS = st.sampled_from(["tea", "coffee", "милый чай", "水", "a\nb", "it's", "x" * 300])
SPACES = st.sampled_from([ANNA, BOB])


class StoreMachine(RuleBasedStateMachine):
    """Random writes, undoings, erasures and reopenings, checked against a dictionary with a history."""

    ids: Bundle[str] = Bundle("ids")
    contract: StoreContract

    def __init__(self) -> None:
        super().__init__()
        self.store = self.reopened(None)
        self.kept: dict[str, Kept] = {}
        self.done: dict[int, Done] = {}
        self.now = 0.0

    def reopened(self, store: Store | None) -> Store:
        raise NotImplementedError

    def note(self, done: Done) -> None:
        self.done[self.store.last_op()] = done

    def tick(self) -> float:
        self.now += DAY
        return self.now

    def same(self, space: Space, text: str, besides: str = "") -> str | None:
        words = text.split()
        for id, kept in self.kept.items():
            if id != besides and kept.space == space and kept.text.split() == words and kept.status != "retired":
                return id
        return None

    @rule(target=ids, space=SPACES, texts=st.lists(TEXTS, min_size=1, max_size=3))
    def add(self, space: Space, texts: list[str]) -> Any:
        now = self.tick()
        added = self.store.add(space, [draft(text, now) for text in texts], ADD, now)
        done = Done("add")
        for text, result in zip(texts, added, strict=True):
            known = self.same(space, text)
            assert (result.event, result.id) == (("met", known) if known else ("add", result.id))
            if known is None:
                self.kept[result.id] = Kept(space, text)
                done.created.append(result.id)
            elif self.kept[known].status == "archived":
                done.before[known] = replace(self.kept[known])
                self.kept[known].status = "active"
        self.note(done)
        return multiple(*done.created)

    @rule(id=ids, text=TEXTS)
    def update(self, id: str, text: str) -> None:
        if id not in self.kept:
            with pytest.raises(UnknownTrace):
                self.store.update(id, {"text": text}, None, UPDATE, self.tick())
            return
        kept = self.kept[id]
        if kept.status != "retired" and self.same(kept.space, text, besides=id):
            with pytest.raises(InvalidInput):
                self.store.update(id, {"text": text}, None, UPDATE, self.tick())
            return
        self.store.update(id, {"text": text}, None, UPDATE, self.tick())
        self.note(Done("update", {id: replace(kept)}))
        kept.text, kept.version = text, kept.version + 1

    @rule(id=ids, status=st.sampled_from(["archived", "active", "merged", "retired"]))
    def set_status(self, id: str, status: Any) -> None:
        kept = self.kept.get(id)
        if kept is None or (kept.status == "retired" and status != "retired" and self.same(kept.space, kept.text, id)):
            with pytest.raises((UnknownTrace, InvalidInput)):
                self.store.set_status([id], status, ARCHIVE, self.tick())
            return
        self.store.set_status([id], status, ARCHIVE, self.tick())
        self.note(Done("status", {id: replace(kept)}))
        kept.status = status

    @rule(id=ids)
    def reinforce(self, id: str) -> None:
        self.store.reinforce([id], self.tick())

    @precondition(lambda self: self.done)
    @rule(data=st.data())
    def undo(self, data: st.DataObject) -> None:
        op = data.draw(st.sampled_from(sorted(self.done)))
        done = self.done[op]
        mine = done.touched() & self.kept.keys()
        later = [d for o, d in self.done.items() if o > op and not d.undone and d.before.keys() & mine]
        back = {id: old for id, old in done.before.items() if id in self.kept}
        if done.undone or later or self.clash(back):
            with pytest.raises((NothingToUndo, InvalidInput)):
                self.store.undo(op, UNDO, self.tick())
            return
        self.store.undo(op, UNDO, self.tick())
        done.undone = True
        for id, old in back.items():
            self.kept[id] = replace(old)
        for id in done.created:
            if id in self.kept:
                self.kept[id].status = "retired"

    def clash(self, back: dict[str, Kept]) -> bool:
        return any(old.status != "retired" and self.same(old.space, old.text, besides=id) for id, old in back.items())

    @rule(id=consumes(ids))
    def erase(self, id: str) -> None:
        if id in self.kept:
            self.contract.erase(self.store, [id])
            del self.kept[id]

    @rule()
    def reopen(self) -> None:
        self.store = self.reopened(self.store)

    @invariant()
    def says_what_the_dictionary_says(self) -> None:
        there = {t.id: Kept(t.space, t.text, t.status, t.version, t.layer) for t in self.store.iterate()}
        assert there == self.kept
        for space in (ANNA, BOB):
            feed: Feed = self.store.feed(space, 0)
            active = sorted(k.text for k in self.kept.values() if k.space == space and k.status == "active")
            assert sorted(t.text for t in self.store.find(space, parse({"status": "active"}))) == active
            assert len(feed.n) == len(active)
            assert sorted(feed.terms) == sorted(term_ids(text).tobytes() for text in active)

    def teardown(self) -> None:
        self.store.close()
