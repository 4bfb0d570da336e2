"""Sleep: what it merges, archives, promotes and links, and that it can be taken back."""

from __future__ import annotations

from dataclasses import replace

from halflife import Memory
from halflife.agent.consolidate import Policy
from halflife.decay.law import DAY
from tests.conftest import Clock

START = 1_700_000_000.0


def texts(memory: Memory) -> set[str]:
    return {trace.text for trace in memory.list(filters={"status": "active"})}


def test_texts_that_differ_in_function_words_become_one_and_count_both_meetings(memory: Memory, clock: Clock) -> None:
    [first] = memory.add("The spare key is under the mat.")
    clock.now += 60
    [second] = memory.add("The spare key is under a mat.")
    report = memory.consolidate(policy=Policy(merge_at=0.8))
    assert report.merged == [(second.id, first.id)]
    assert memory.get(second.id).status == "merged"
    assert memory.get(first.id).state.uses == 2
    for operation in reversed(report.operations):
        memory.undo(operation)
    assert memory.get(second.id).status == "active"
    assert memory.get(first.id).state.uses == 1


def test_a_merged_text_said_again_strengthens_what_it_went_into(memory: Memory, clock: Clock) -> None:
    [first] = memory.add("The spare key is under the mat.")
    clock.now += 60
    memory.add("The spare key is under a mat.")
    memory.consolidate(policy=Policy(merge_at=0.8))
    clock.now += DAY
    [again] = memory.add("The spare key is under a mat.")
    assert (again.id, again.event) == (first.id, "met")
    assert memory.get(first.id).state.uses == 3
    assert [hit.id for hit in memory.search("spare key", reinforce=False)] == [first.id]


def test_a_number_or_a_negation_is_never_merged_away(memory: Memory) -> None:
    memory.add(["The flight leaves at 5.", "The flight leaves at 6.", "I eat meat.", "I do not eat meat."])
    before = texts(memory)
    memory.consolidate(policy=Policy(merge_at=0.5))
    assert texts(memory) == before


def test_what_has_faded_leaves_recall_and_what_matters_stays(memory: Memory, clock: Clock) -> None:
    [plain] = memory.add("It rained on Tuesday.")
    [vital] = memory.add("She is allergic to peanuts.", importance=0.9)
    [recalled] = memory.add("The boiler was serviced in spring.")
    for _ in range(6):
        clock.now += 60 * DAY
        memory.engine.store.reinforce([recalled.id], clock.now)
    clock.now += 3 * 365 * DAY
    report = memory.consolidate()
    assert report.archived == [plain.id]
    assert memory.search("rained on Tuesday", reinforce=False, k=1)[0].id != plain.id
    assert memory.search("rained on Tuesday", reinforce=False, k=1, archived=True)[0].id == plain.id
    assert {trace.id for trace in memory.list(filters={"status": "active"})} == {vital.id, recalled.id}


def test_what_is_often_met_moves_to_a_slower_layer(memory: Memory, clock: Clock) -> None:
    [added] = memory.add("The gate code is 4417.")
    for count, layer in ((2, "mid"), (5, "long")):
        for _ in range(count):
            clock.now += DAY
            memory.engine.store.reinforce([added.id], clock.now)
        memory.consolidate()
        assert memory.get(added.id).layer == layer


def test_a_dry_run_changes_nothing(memory: Memory, clock: Clock) -> None:
    memory.add(["The spare key is under the mat.", "The spare key is under a mat."])
    clock.now += 10 * 365 * DAY
    before = [memory.get(trace.id) for trace in memory.list()]
    report = memory.consolidate(policy=Policy(merge_at=0.8), dry_run=True)
    assert report.merged
    assert not report.operations
    assert [memory.get(trace.id) for trace in memory.list()] == before


def test_sleeping_twice_does_nothing_more(memory: Memory) -> None:
    memory.add(["Rosa is a nurse in Porto.", "Rosa works as a nurse in Porto.", "The tram stops at noon."])
    policy = Policy(link_at=0.3)
    first = memory.consolidate(policy=policy)
    second = memory.consolidate(policy=policy)
    assert first.linked > 0
    assert second.operations == []


def test_links_lend_relevance_to_what_shares_no_word_with_the_question(memory: Memory) -> None:
    [a] = memory.add("Rosa is a nurse.")
    [b] = memory.add("Night shifts begin at ten.")
    memory.link(a.id, b.id)
    hits = {hit.id: hit for hit in memory.search("Rosa nurse", reinforce=False)}
    assert hits[b.id].explain().parts["link"] > 0


def test_only_the_latest_recalls_stay_in_the_history_and_the_state_counts_all(memory: Memory, clock: Clock) -> None:
    [added] = memory.add("The gate code is 4417.")
    for _ in range(9):
        clock.now += DAY
        memory.search("gate code")
    memory.consolidate(policy=replace(Policy(), keep_recalls=4))
    recalls = [event for event in memory.history(added.id) if event.kind == "recall"]
    assert [event.at for event in recalls] == [START + day * DAY for day in (6, 7, 8, 9)]
    assert memory.get(added.id).state.uses == 10
