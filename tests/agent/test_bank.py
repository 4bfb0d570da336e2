"""The bank of facts: atomic, reversible, and with ids that stay."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halflife.agent.bank import Diff, Entry, FactBank, Op
from halflife.errors import InvalidInput

WORDS = st.sampled_from(["Anna lives in Oslo.", "Anna has a dog.", "Ben is tall.", "Ben sings."])


@st.composite
def programs(draw):
    """Lists of lists of operations, some of which name entries that may not be there."""
    one = st.one_of(
        st.builds(lambda text, source: Op("ADD", text=text, source=source), WORDS, st.sampled_from(["", "m1", "m2"])),
        st.builds(lambda n, text: Op("UPDATE", f"e{n}", text, "m3"), st.integers(1, 6), WORDS),
        st.builds(lambda n: Op("DELETE", f"e{n}"), st.integers(1, 6)),
        st.just(Op("NOOP")),
    )
    return draw(st.lists(st.lists(one, max_size=4), max_size=8))


def state(bank: FactBank) -> dict[str, Entry]:
    return dict(bank.entries)


@given(programs())
@settings(max_examples=150, deadline=None)
def test_what_is_applied_happens_whole_or_not_at_all_and_can_be_taken_back(program):
    bank = FactBank()
    seen: list[tuple[dict[str, Entry], Diff]] = []
    ids: set[str] = set()
    for ops in program:
        before = state(bank)
        try:
            diff = bank.apply(ops)
        except InvalidInput:
            assert state(bank) == before
            continue
        new = set(state(bank)) - set(before)
        assert not new & ids  # no id is given twice
        ids |= new
        seen.append((before, diff))
    for turn, (before, _) in enumerate(seen):
        assert state(bank.snapshot(turn)) == before
    after = state(bank)
    assert state(bank.snapshot()) == after
    for before, diff in reversed(seen):
        bank.undo(diff)
        assert state(bank) == before
    assert bank.turn == 0


@given(programs())
@settings(max_examples=80, deadline=None)
def test_the_net_of_a_diff_is_the_difference_of_the_bank(program):
    bank = FactBank([Entry("e1", "Anna lives in Oslo."), Entry("e2", "Ben is tall.")])
    for ops in program:
        before = state(bank)
        try:
            diff = bank.apply(ops)
        except InvalidInput:
            continue
        after = state(bank)
        changed = {id for id in before.keys() | after.keys() if before.get(id) != after.get(id)}
        assert diff.net == {id: (before.get(id), after.get(id)) for id in changed}


def test_operations_of_one_list_see_one_another_and_sources_add_up():
    bank = FactBank()
    bank.apply([Op("ADD", text="Anna has a dog.", source="m1"), Op("UPDATE", "e1", "Anna has two dogs.", "m2")])
    bank.apply([Op("UPDATE", "e1", "Anna has three dogs.", "m1")])
    assert list(bank) == [Entry("e1", "Anna has three dogs.", ("m1", "m2"))]


def test_an_earlier_diff_can_be_undone_alone_unless_a_later_one_touched_its_entries():
    bank = FactBank()
    oslo = bank.apply([Op("ADD", text="Anna lives in Oslo.")])
    dog = bank.apply([Op("ADD", text="Anna has a dog.")])
    dogs = bank.apply([Op("UPDATE", "e2", "Anna has two dogs.")])
    with pytest.raises(InvalidInput, match="changed since"):
        bank.undo(dog)
    bank.undo(oslo)
    assert [entry.id for entry in bank] == ["e2"]
    with pytest.raises(InvalidInput, match="was undone"):
        bank.undo(oslo)
    bank.undo(dogs)
    bank.undo(dog)
    assert len(bank) == 0


def test_a_copy_goes_its_own_way_and_gives_no_id_again():
    bank = FactBank()
    bank.apply([Op("ADD", text="Anna lives in Oslo.")])
    copy = bank.snapshot(0)
    copy.apply([Op("ADD", text="Ben sings.")])
    assert [entry.id for entry in copy] == ["e2"]
    assert [entry.text for entry in bank] == ["Anna lives in Oslo."]


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "FORGET"},
        {"kind": "ADD"},
        {"kind": "ADD", "id": "e1", "text": "x"},
        {"kind": "UPDATE", "id": "e1", "text": " "},
        {"kind": "UPDATE", "text": "x"},
        {"kind": "DELETE"},
        {"kind": "NOOP", "text": "x"},
    ],
)
def test_an_operation_has_what_its_kind_needs_and_no_more(wrong):
    with pytest.raises(InvalidInput):
        Op(**wrong)


def test_mistakes_are_named():
    with pytest.raises(InvalidInput, match="same id"):
        FactBank([Entry("e1", "a"), Entry("e1", "b")])
    with pytest.raises(InvalidInput, match="no turn 3"):
        FactBank().snapshot(3)
    with pytest.raises(InvalidInput, match="no entry 'e9'"):
        FactBank()["e9"]
