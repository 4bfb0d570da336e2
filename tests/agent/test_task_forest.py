"""The task graph as plain data: revision, roll-back, staleness, replacement, and what is refused."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halflife.agent.task_forest import Forest
from halflife.agent.task_ops import Op, apply, judge
from halflife.errors import InvalidInput, UnknownTrace
from halflife.llm.hashing import word_count


@pytest.fixture
def trip():
    forest = Forest()
    forest.add("trip")
    forest.add("start", "Chicago", "trip")
    forest.add("destination", "Seattle", "trip")
    forest.add("flight", "booked", "trip", deps=["start", "destination"])
    forest.add("seat", "12A", "trip", deps=["flight"])
    return forest


def test_a_change_makes_stale_what_needs_it_and_nothing_else(trip):
    assert set(trip.update("destination", "Rome").stale) == {"trip/flight", "trip/seat"}
    assert trip.get("start").stale == ()
    assert "to be checked, since destination changed" in trip.line("flight")
    trip.update("flight", "booked")
    assert trip.get("flight").stale == ()
    assert trip.get("seat").stale


def test_a_value_said_again_changes_nothing(trip):
    assert trip.update("destination", "Seattle").stale == ()
    assert trip.get("destination").former == ()


def test_an_update_keeps_the_name_and_the_edges(trip):
    trip.update("destination", "Rome")
    flight = trip.get("flight")
    assert {trip.nodes[id].slot for id in flight.needs} == {"start", "destination"}
    assert [former.value for former in trip.get("destination").former] == ["Seattle"]


def test_a_new_name_keeps_history_and_dependants(trip):
    trip.update("destination", "Rome", new_slot="arrival")
    node = trip.get("arrival")
    assert [(f.slot, f.value) for f in node.former] == [("destination", "Seattle")]
    assert {n.slot for n in trip.dependants("arrival")} == {"flight", "seat", "trip"}
    trip.rollback("arrival")
    assert trip.get("destination").value == "Seattle"


def test_renaming_a_task_moves_its_slots(trip):
    changed = trip.update("trip", new_slot="journey").changed
    assert "journey/start" in changed
    assert trip.get("journey/start").value == "Chicago"


def test_a_name_that_is_taken_is_refused_and_nothing_changes(trip):
    before = trip.state()
    for act in (
        lambda: trip.update("destination", "Rome", new_slot="start"),
        lambda: trip.add("start", "Rome", "trip"),
        lambda: trip.add("start", "Rome", "flight"),
    ):
        with pytest.raises(InvalidInput, match="already"):
            act()
    assert trip.state() == before


def test_cycles_are_refused(trip):
    with pytest.raises(InvalidInput, match="need itself"):
        trip.need("start", "seat")
    with pytest.raises(InvalidInput, match="need itself"):
        trip.need("start", "start")


def test_one_object_in_two_tasks_is_two_slots():
    forest = Forest()
    for task in ("soup", "pie"):
        forest.add(task)
        forest.add("salt", "a pinch", task)
    with pytest.raises(InvalidInput, match="several tasks"):
        forest.get("salt")
    assert forest.get("pie/salt").value == "a pinch"
    forest.update("pie/salt", "none")
    assert forest.get("soup/salt").value == "a pinch"


def test_shared_objects_change_together_only_if_asked():
    forest = Forest()
    for task in ("soup", "pie"):
        apply(forest, Op("new", "salt", "a pinch", task))
    forest.share("soup/salt", "pie/salt")
    assert forest.update("soup/salt", "two pinches").changed == ("soup/salt",)
    assert forest.get("pie/salt").value == "a pinch"
    assert set(forest.update("soup/salt", "none", everywhere=True).changed) == {"soup/salt", "pie/salt"}
    assert forest.get("pie/salt").needs == ()


def test_an_object_is_replaced_in_every_task():
    forest = Forest()
    for task in ("soup", "pie"):
        apply(forest, Op("new", "leek", f"for the {task}", task))
    apply(forest, Op("new", "leek stock", "boil", "soup", needs=("soup/leek",)))
    impact = forest.replace("leek", "onion")
    assert forest.state() == {
        "soup/onion": "for the soup",
        "pie/onion": "for the pie",
        "soup/leek stock": "boil",
    }
    assert impact.stale == ("soup/leek stock",)


def test_what_replaces_it_may_be_there_already():
    forest = Forest()
    for name in ("leek", "onion"):
        apply(forest, Op("new", name, "chop", "soup"))
    apply(forest, Op("new", "stock", "boil", "soup", needs=("leek",)))
    forest.replace("leek", "onion")
    assert forest.state() == {"soup/onion": "chop", "soup/stock": "boil"}
    assert forest.nodes[forest.get("stock").needs[0]].slot == "onion"
    assert forest.line("leek") == "soup/leek: replaced by onion (formerly chop)"


def test_a_replacement_never_makes_a_cycle():
    forest = Forest()
    for name, needs in (("a", ()), ("b", ("a",)), ("c", ("b",))):
        forest.add(name, "x", deps=needs)
    forest.replace("a", "c")
    assert forest.get("c").needs
    assert forest.get("b").needs == ()


@pytest.mark.parametrize("cascade", [False, True])
def test_removal_leaves_dependants_stale_or_takes_them(trip, cascade):
    impact = trip.remove("destination", cascade=cascade)
    if cascade:
        assert trip.state() == {"trip/start": "Chicago"}
    else:
        assert set(impact.stale) == {"trip/flight", "trip/seat"}
    assert "trip" in trip
    trip.rollback("destination")
    assert trip.get("destination").value == "Seattle"


def test_removing_a_task_takes_its_parts(trip):
    trip.remove("trip")
    assert trip.state() == {}
    assert trip.remove("trip").flags == ("trip was removed already",)


def test_rolling_back_by_steps_and_by_value():
    forest = Forest()
    forest.add("date", "1")
    for value in "234":
        forest.update("date", value)
    forest.rollback("date", 2)
    assert forest.get("date").value == "2"
    forest.rollback("date", to="4")
    assert forest.get("date").value == "4"
    for wrong in (lambda: forest.rollback("date", 99), lambda: forest.rollback("date", to="7")):
        with pytest.raises(InvalidInput):
            wrong()


def test_an_unknown_slot_is_added_and_flagged_or_said_to_be_unknown():
    forest = Forest()
    assert forest.update("gate", "B4").flags == ("gate was not in memory: added",)
    with pytest.raises(UnknownTrace, match="There are: gate"):
        forest.rollback("door")
    assert not forest.check("door", "red").known


def test_a_former_value_does_not_pass_for_the_current_one(trip):
    trip.update("destination", "Rome")
    holds, current, history = trip.check("destination", "seattle")
    assert (holds, current, [former.value for former in history]) == (False, "Rome", ["Seattle"])
    assert trip.check("destination", " rome.").holds


@pytest.mark.parametrize(
    ("about", "slot", "holds"),
    [("removed", "milk", True), ("removed", "leek", False), ("never", "leek", False), ("never", "ham", True)],
)
def test_what_was_taken_out_and_what_never_was(about, slot, holds):
    forest = Forest()
    for name in ("leek", "milk"):
        apply(forest, Op("new", name, "some", "soup"))
    forest.remove("milk")
    forest.replace("leek", "onion")
    assert judge(forest, Op("check", slot, parent="soup", about=about)).holds is holds


@pytest.mark.parametrize("name", ["", "  ", "a/b", "x" * 121, None])
def test_bad_names_are_refused(name):
    with pytest.raises(InvalidInput, match="no name of a slot"):
        Forest().add(name, "1")


@pytest.mark.parametrize("value", ["", " ", "x" * 2001, 7])
def test_bad_values_are_refused(value):
    with pytest.raises(InvalidInput, match="no value of a slot"):
        Forest().add("slot", value)


def test_the_context_grows_with_the_graph_and_not_with_the_turns(trip):
    short = word_count(trip.to_context(["flight"], 1000, word_count))
    for turn in range(200):
        trip.update("destination", f"city {turn}")
    long = word_count(trip.to_context(["flight"], 1000, word_count))
    assert long <= short + 30
    assert word_count(trip.to_context([], 12, word_count)) <= 12


SLOTS = ("a", "b", "c", "d")
STEPS = st.lists(
    st.tuples(st.sampled_from(("set", "back", "remove")), st.sampled_from(SLOTS), st.integers(1, 3)), max_size=40
)


@given(STEPS)
@settings(max_examples=60)
def test_values_are_those_of_a_list_of_values(steps):
    """The graph against the simplest model: for each slot the list of its values, and what it is now."""
    forest = Forest()
    was, now = defaultdict(list), {}
    for number, (act, slot, arg) in enumerate(steps):
        if act == "set":
            forest.update(slot, str(number))
            was[slot] += [now[slot]] if slot in now else []
            now[slot] = str(number)
        elif act == "remove" and slot in forest:
            forest.remove(slot)
            was[slot] += [now.pop(slot)] if slot in now else []
        elif act == "back" and len(was[slot]) >= arg:
            forest.rollback(slot, arg)
            target = was[slot][-arg]
            if slot in now and now[slot] != target:
                was[slot].append(now[slot])
            now[slot] = target
    assert forest.state() == now


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=40))
@settings(max_examples=60)
def test_no_order_of_dependencies_makes_a_cycle(edges):
    forest = Forest()
    for i in range(8):
        forest.add(str(i), "x")
    for a, b in edges:
        try:
            forest.need(str(a), str(b))
        except InvalidInput:
            continue
    for node in forest.nodes.values():
        assert node not in forest.dependants(node.slot)
