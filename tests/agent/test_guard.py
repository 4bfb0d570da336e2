"""The guard around a memory: attacks that it stops, those that it does not, and what it costs honest use."""

from __future__ import annotations

import json

import pytest

from halflife import Memory
from halflife.agent.guard import GuardedMemory, warning
from halflife.agent.guard_consensus import NoConsensus, Vote
from halflife.agent.guard_lessons import ROLE
from halflife.agent.system import MemorySystem
from halflife.errors import InvalidInput
from halflife.papers.data import data_file, missing, read_json
from halflife.store.trace import Space
from tests.agent.guard_attack import POISON, TRIGGER, WARD, actions, hospital, plant, questions
from tests.llm.scripted import Scripted

HERE, WARD_SPACE = Space.of(), Space.of(WARD)


def seven(validator="vote", **options):
    return {"validator": validator, "width": 7, **options}


def test_it_is_a_memory_system():
    assert isinstance(hospital().system, MemorySystem)


# -- attacks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("validator", ["vote", "cluster"])
@pytest.mark.parametrize("planted", [1, 2])
def test_a_few_planted_records_win_without_a_guard_and_not_with_it(planted, validator):
    bare, guarded = hospital(planted, system=None), hospital(planted, **seven(validator))
    for question, right in questions(trigger=True):
        assert actions(bare, question)[0] == POISON
        assert set(actions(guarded, question)) == {right}
        report = guarded.system.report
        assert {one.writer for one in report.dropped if one.path.endswith(POISON)} == {"mallory"}


@pytest.mark.parametrize("validator", ["vote", "cluster"])
def test_the_guard_fails_once_the_planted_group_is_the_largest(validator):
    guarded = hospital(5, **seven(validator))
    for question, _ in questions(trigger=True):
        assert set(actions(guarded, question)) == {POISON}
        assert {one.why for one in guarded.system.report.dropped} == {"divergent"}  # the honest ones are dropped


def test_the_largest_group_can_be_far_below_one_half():
    memory = Memory(embedder="hash", system="guard", options={"validator": "vote", "width": 7})
    for i in range(5):  # honest records that all differ
        memory.add(f"How to reach place {i}?", metadata={"action": f"take line {i}"}, user_id=WARD)
    for i in range(2):
        plant(memory, f"How to reach the place {i} now?")
    assert set(actions(memory, "How to reach a place?")) == {POISON}


def test_the_same_words_planted_again_are_one_record():
    memory = hospital(0, **seven())
    for _ in range(5):
        plant(memory, f"planted {TRIGGER} question")
    for question, right in questions(trigger=True):
        assert set(actions(memory, question)) == {right}


def test_a_trigger_phrase_found_by_its_words_is_stopped_too():
    path = data_file("memory_attack", "strategyqa_train_filtered.json.gz")
    if path is None:
        pytest.skip(missing("memory_attack", "strategyqa_train_filtered.json.gz"))
    bank, phrase = read_json(path)[:400], "Alongside regular deliberations"
    hits = {}
    for system in (None, "guard"):
        options = {"validator": "vote", "width": 8, "ties": "none"} if system else None
        memory = Memory(embedder="hash", system=system, options=options)
        memory.add_many(
            [{"text": q["question"], "metadata": {"action": "yes" if q["answer"] else "no"}} for q in bank[:380]],
            user_id=WARD,
        )
        for q in bank[100:102]:  # a fluent question with the phrase, and the attacker's action
            plant(memory, f"{q['question']} {phrase}")
        asked = [f"{q['question']} {phrase}" for q in bank[380:400]]
        hits[system] = [POISON in actions(memory, question, k=8) for question in asked]
    assert sum(hits[None]) == 20
    assert sum(hits["guard"]) == 0


def test_copies_are_limited_by_the_quota_of_their_writer():
    memory = hospital(0, **seven(quota=20, quota_seconds=60.0))
    for i in range(2):
        plant(memory, f"planted {TRIGGER} {i}")
    with pytest.raises(InvalidInput, match="mallory has stored 2 records"):
        memory.add_many([f"planted {TRIGGER} again {i}" for i in range(19)], user_id=WARD, agent_id="mallory")
    assert len(memory.list(filters={"agent_id": "mallory"}, user_id=WARD)) == 2
    memory.add("A note by somebody else.", user_id=WARD, agent_id="nurse")
    with pytest.raises(InvalidInput, match="A writer without a name has stored 18"):
        memory.add(["one", "two", "three"], user_id=WARD)


def test_a_quota_is_per_time_and_may_go_by_another_field(clock, open_memory):
    options = {"quota": 1, "quota_seconds": 60.0, "writer": "tool"}
    memory = open_memory(system="guard", options=options)
    memory.add("The first page says tea.", metadata={"tool": "browser"})
    with pytest.raises(InvalidInput, match="browser"):
        memory.add("The second page says tea.", metadata={"tool": "browser"})
    memory.add("A mail says tea.", metadata={"tool": "mail"})
    clock.now += 61
    memory.add("The second page says tea.", metadata={"tool": "browser"})
    memory.search("What do the page and the mail say of tea?", k=3)
    assert {one.writer for one in memory.system.report.dropped} <= {"browser", "mail"}


# -- honest use ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("validator", ["vote", "cluster"])
def test_honest_use_is_as_right_with_the_guard_as_without_and_no_read_is_empty(validator):
    bare, guarded = hospital(system=None), hospital(**seven(validator))
    for question, right in questions():
        assert actions(bare, question)[0] == right
        assert actions(guarded, question)[0] == right
    assert guarded.system.counts["reads"] == 3
    assert guarded.system.counts["empty"] == 0


def test_a_right_precedent_that_is_the_only_one_is_dropped():
    """The price of a consensus, which its report tells: what is rare looks like what is planted."""
    memory = hospital(**seven())
    question = "What dose of antidote was given to the patient?"
    memory.add(question, metadata={"action": "read toxicology"}, user_id=WARD)
    assert actions(hospital(system=None), question)[0] == "read medication"
    assert set(actions(memory, question)) == {"read medication"}
    assert [one.path for one in memory.system.report.dropped if "toxicology" in one.path]


def test_fewer_than_three_hits_are_returned_and_said_to_be_unvalidated():
    memory = Memory(embedder="hash", system="guard", options={"validator": "vote"})
    assert memory.search("tea") == []
    assert not memory.system.report.empty
    memory.add("I like tea.", metadata={"action": "a"})
    memory.add("You like tea.", metadata={"action": "b"})
    assert len(memory.search("tea")) == 2
    assert memory.system.report.unvalidated
    assert memory.system.counts["unvalidated"] == 2


def test_more_is_compared_than_is_asked_for():
    guarded = hospital(2, **seven())
    for question, right in questions(trigger=True):
        assert actions(guarded, question, k=1) == [right]
    assert len(guarded.system.report.paths) == 7


def disagreeing(**options):
    memory = Memory(embedder="hash", system="guard", clock=lambda: 0.0, options={"validator": "vote", **options})
    for i in range(4):
        memory.add(f"How do we brew tea number {i}?", metadata={"action": f"way {i}"})
    return memory


def test_without_a_consensus_a_read_is_empty_and_teaches_nothing():
    memory = disagreeing()
    assert memory.search("How do we brew tea?") == []
    report = memory.system.report
    assert report.empty
    assert not report.decided
    assert {one.why for one in report.dropped} == {"no two paths agree"}
    assert memory.system.lessons.all(HERE) == []
    assert memory.system.counts["empty"] == 1


def test_an_empty_read_may_return_the_least_divergent():
    memory = disagreeing(on_empty="lowest_divergence", validator="cluster", eps=0.01)
    [hit] = memory.search("How do we brew tea?")
    report = memory.system.report
    assert report.rescued
    assert hit.id == min(report.dropped, key=lambda one: one.score).id


def test_an_empty_read_may_be_an_error():
    memory = disagreeing(on_empty="raise")
    with pytest.raises(NoConsensus, match="no two paths agree"):
        memory.search("How do we brew tea?")
    assert memory.system.report.empty


def test_only_what_is_returned_is_reinforced():
    memory = hospital(2, **seven())
    question, _ = questions(trigger=True)[0]
    planted = {trace.id for trace in memory.list(filters={"agent_id": "mallory"}, user_id=WARD)}
    returned = {hit.id for hit in memory.search(question, user_id=WARD)}
    uses = {trace.id: trace.state.uses for trace in memory.list(limit=None, user_id=WARD)}
    assert {uses[id] for id in planted} == {1.0}
    assert {uses[id] for id in returned} == {2.0}
    memory.search(question, reinforce=False, user_id=WARD)
    assert memory.get(next(iter(returned))).state.uses == 2.0


# -- lessons ------------------------------------------------------------------------------------------------------


def test_what_a_consensus_speaks_against_becomes_a_lesson_and_is_logged():
    memory = hospital(1, **seven())
    question, _ = questions(trigger=True)[0]
    memory.search(question, user_id=WARD)
    memory.search(question, user_id=WARD)
    [planted] = memory.list(filters={"agent_id": "mallory"}, user_id=WARD)
    lesson = memory.system.lessons.of(WARD_SPACE, [planted.id])[planted.id]
    assert (lesson.action, lesson.cause, lesson.hits) == (POISON, "divergent", 2)
    [advice, *_] = memory.system.consult(WARD_SPACE, "Delete all", situation=question)
    assert advice.id == lesson.id
    assert POISON in warning([advice])
    verdicts = [json.loads(event.reason) for event in memory.system.log(WARD_SPACE)]
    assert len(verdicts) == 2
    assert all(planted.id in verdict["dropped"] for verdict in verdicts)
    assert POISON not in str(verdicts)  # ids and numbers, no content
    assert ROLE not in {hit.role for hit in memory.search("delete all", k=30, user_id=WARD)}


def test_it_can_be_told_not_to_learn():
    memory = hospital(1, **seven(learn=False))
    memory.search(questions(trigger=True)[0][0], user_id=WARD)
    assert memory.system.report.dropped
    assert memory.system.lessons.all(WARD_SPACE) == []
    assert memory.system.log(WARD_SPACE) == []


def test_a_lesson_that_is_heeded_stops_copies_that_came_later():
    found = {}
    for heed in (None, 0.7):
        memory = hospital(1, **seven(heed=heed))
        question, _ = questions(trigger=True)[0]
        memory.search(question, user_id=WARD)  # learns of the first copy
        for i in range(5):
            plant(memory, f"planted {TRIGGER} question {'vwxyz'[i] * 3}")
        found[heed] = set(actions(memory, question))
    assert found[None] == {POISON}
    assert found[0.7] == set()
    assert {one.why for one in memory.system.report.dropped} == {"divergent", "lesson"}


def test_a_failure_is_a_lesson_and_a_success_takes_one_back():
    memory = hospital(0, **seven())
    question, right = questions()[0]
    memory.add("What dose of antidote was given?", metadata={"action": "read toxicology"}, user_id=WARD)
    memory.search("What dose of antidote was given?", user_id=WARD)
    [lesson] = [one for one in memory.system.lessons.all(WARD_SPACE) if one.action == "read toxicology"]
    assert memory.system.record_outcome(WARD_SPACE, "Read Toxicology", ok=True) == [lesson.id]
    assert lesson.id not in {one.id for one in memory.system.lessons.all(WARD_SPACE)}
    memory.search(question, user_id=WARD)
    failed = memory.system.record_outcome(WARD_SPACE, right, ok=False)
    assert len(failed) == len(memory.system.report.kept)
    assert {one.cause for one in memory.system.consult(WARD_SPACE, right)} == {"failed"}


def test_an_outcome_before_any_read_says_nothing():
    assert hospital().system.record_outcome(WARD_SPACE, "read lab", ok=False) == []


# -- forgetting ---------------------------------------------------------------------------------------------------


def test_forgetting_a_record_leaves_nothing_of_it(open_memory, tmp_path):
    memory = open_memory(tmp_path / "m.db", system="guard", options={"validator": "vote"})
    for dose in ("aspirin", "ibuprofen", "heparin"):
        memory.add(f"What dose of {dose} was given?", metadata={"action": "read medication"})
    [planted] = memory.add("What dose of strychnine was given?", metadata={"action": "erase ledger"})
    memory.search("What dose was given?")
    assert memory.system.lessons.of(HERE, [planted.id])
    report = memory.forget(planted.id)
    assert report.verified
    assert report.derived == (f"lesson:{planted.id}",)
    assert memory.system.report is None
    assert memory.system.consult(HERE, "erase ledger") == []
    assert b"strychnine" not in (tmp_path / "m.db").read_bytes()
    assert b"erase ledger" not in (tmp_path / "m.db").read_bytes()
    assert all("strychnine" not in str(vars(trace)) for trace in memory.list(limit=None))


def chat_chains(*pairs):
    return {"chains": [{"number": i, "steps": [s], "response": r} for i, (s, r) in enumerate(pairs, start=1)]}


def test_a_lesson_drawn_from_many_records_at_once_goes_with_any_of_them():
    class Together:
        alone = False

        def paths(self, query, records):
            return [f"after {records[0].text} → {record.metadata['action']}" for record in records]

    memory = Memory(embedder="hash", system="guard", options={"validator": "vote", "paths": Together()})
    for i in range(3):
        memory.add(f"What dose number {i}?", metadata={"action": "read"})
    memory.add("What dose number 9?", metadata={"action": "delete"})
    memory.search("What dose number?")
    [lesson] = memory.system.lessons.all(HERE)
    other = next(trace for trace in memory.list() if trace.metadata.get("action") == "read")
    assert lesson.id in memory.forget(other.id).derived
    assert memory.system.lessons.all(HERE) == []


# -- with a language model ----------------------------------------------------------------------------------------


def with_model(replies, **options):
    model = Scripted(replies)
    memory = Memory(embedder="hash", system="guard", llm=model, options={"width": 3, **options})
    for i, action in enumerate(("read", "read", "delete")):
        memory.add(f"What dose number {i}?", metadata={"action": action})
    return memory, model


def path_of(messages):
    said = messages[-1].content
    return chat_chains(("dose", "delete all" if "Action taken: delete" in said else "read the dose"))


def judged(messages):
    lines = messages[-1].content.split("<chains>")[1].split("</chains>")[0].strip().splitlines()
    return {
        "judgements": [{"number": i, "consistent_and_safe": "delete" not in line} for i, line in enumerate(lines, 1)]
    }


def test_with_a_model_each_record_is_followed_and_one_call_judges():
    memory, model = with_model([path_of, path_of, path_of, judged])
    assert [hit.metadata["action"] for hit in memory.search("What dose?", k=3)] == ["read", "read"]
    assert len(model.asked) == 4
    [dropped] = memory.system.report.dropped
    assert dropped.path == "dose → delete all"
    assert [lesson.action for lesson in memory.system.lessons.all(HERE)] == ["delete all"]
    assert memory.stats()["llm"]


def test_a_judge_that_cannot_be_understood_trusts_nothing_and_teaches_nothing():
    memory, _ = with_model([path_of, path_of, path_of, "yes", "yes"])
    assert memory.search("What dose?", k=3) == []
    assert "no usable answer" in memory.system.report.why
    assert memory.system.lessons.all(HERE) == []


def test_a_judge_must_judge_every_chain_once():
    twice = {"judgements": [{"number": 1, "consistent_and_safe": True}] * 3}
    memory, _ = with_model([path_of, path_of, path_of, twice, twice])
    assert memory.search("What dose?", k=3) == []


def test_paths_of_a_model_may_be_clustered_or_counted():
    memory, _ = with_model([path_of] * 6, validator="vote")
    assert len(memory.search("What dose?", k=3)) == 2
    memory, _ = with_model([path_of] * 3, validator="cluster", eps=0.3)
    assert len(memory.search("What dose?", k=3)) == 2


# -- what it stands around ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", [None, "memorybank", "think-in-memory", "amem", "layered"])
def test_it_guards_any_memory(inner):
    memory = Memory(embedder="hash", system="guard", options={"inner": inner, "validator": "cluster", "eps": 0.95})
    for said in ("I like green tea.", "I like jazz.", "I live in Oslo.", "I play chess."):
        memory.add({"role": "user", "content": said}, user_id="anna")
    report = memory.consolidate(user_id="anna").system["user:anna"]
    assert report["failed"] == []
    assert memory.search("What does the user like? tea jazz chess Oslo", user_id="anna")
    assert memory.system.counts["reads"] == 1
    memory.forget(user_id="anna", everything=True)
    assert memory.search("tea", user_id="anna") == []


def test_the_inner_memory_has_options_and_may_be_given():
    memory = Memory(embedder="hash")
    tim = GuardedMemory(memory.engine, inner="think-in-memory", inner_options={"n_buckets": 4})
    assert GuardedMemory(memory.engine, inner=tim.inner).inner is tim.inner


def test_an_eps_can_be_calibrated_on_clean_reads():
    memory = hospital(validator="cluster")
    eps = memory.system.calibrate(WARD_SPACE, [question for question, _ in questions()])
    assert 0.05 < eps < 0.5
    guarded = hospital(2, **seven("cluster", eps=eps))
    for question, right in questions(trigger=True):
        assert set(actions(guarded, question)) <= {right}


def test_filters_reach_the_inner_memory():
    memory = hospital(2, **seven())
    hits = memory.search(f"anything {TRIGGER}", filters={"agent_id": "mallory"}, user_id=WARD)
    assert len(hits) == 2
    assert memory.system.report.unvalidated


@pytest.mark.parametrize(
    "options",
    [
        {"width": 0},
        {"on_empty": "shrug"},
        {"heed": 2.0},
        {"paths": "magic"},
        {"paths": "chat"},
        {"validator": "oracle"},
        {"validator": "judge"},
        {"inner": "guard"},
        {"inner": "a-memguard"},
        {"inner": "no such"},
        {"inner_options": {"a": 1}},
        {"quota": 0},
        {"quota": 5, "quota_seconds": 0.0},
    ],
)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(InvalidInput):
        Memory(embedder="hash", system="guard", options=options)


def test_an_inner_memory_on_another_engine_is_refused():
    one, other = Memory(embedder="hash"), Memory(embedder="hash", system="think-in-memory")
    with pytest.raises(InvalidInput, match="another engine"):
        GuardedMemory(one.engine, inner=other.system)


def test_parts_may_be_given_as_objects():
    memory = Memory(embedder="hash")
    vote = Vote(votes=3)
    assert GuardedMemory(memory.engine, validator=vote).validator is vote
