"""The case memory: cases as traces, counted when met again, ranked, learned from, and forgotten without a rest."""

from __future__ import annotations

import json

import numpy as np
import pytest

from halflife import Memory
from halflife.agent.cases import CaseMemory
from halflife.agent.cases_bank import CaseBank
from halflife.agent.cases_case import RUNS_KEPT, Case
from halflife.agent.cases_checkpoint import Learning
from halflife.agent.cases_policy import NeuralCasePolicy, SimilarityPolicy
from halflife.agent.system import MemorySystem
from halflife.errors import CorruptStore, InvalidInput, UnknownTrace
from halflife.store.filters import parse
from halflife.store.protocol import Why
from halflife.store.trace import Space

ANNA, BEN = Space.of("anna"), Space.of("ben")
FEW = Learning(after=20, epochs=5, hidden=8)


@pytest.fixture
def memory(tmp_path):
    with opened(tmp_path / "m.db") as memory:
        yield memory


@pytest.fixture
def system(memory):
    return memory.system


def opened(path=None, **options):
    return Memory(path, embedder="hash", system="cases", clock=lambda: 1000.0, options={"learning": FEW, **options})


def add(memory, question, reward=None, plan="Look it up.", user="anna", **metadata):
    given = {"plan": plan, **metadata} | ({} if reward is None else {"reward": reward})
    [added] = memory.add(question, user_id=user, metadata=given)
    return added


def experience(memory, count=40, user="anna"):
    """Cases that were each planned with the one before in view; the even ones succeed."""
    ids = []
    for i in range(count):
        ids.append(add(memory, f"question {i} about thing {i % 7}", i % 2 == 0, used=ids[-1:], user=user).id)
    return ids


def everything(memory):
    """All that the store still says, as one text."""
    db = memory.engine.store.db
    said = [json.dumps([t.text, dict(t.metadata)]) for t in memory.engine.store.iterate()]
    said += [str(row) for row in db.all("SELECT before FROM change")]
    return "\n".join([*said, *(str(row) for row in db.all("SELECT value FROM meta"))])


def test_it_is_a_memory_system(system):
    assert isinstance(system, MemorySystem)
    assert isinstance(system, CaseMemory)


def test_a_case_is_found_and_says_what_came_of_it(memory):
    add(memory, "capital of Peru?", 1, ["Search.", "Check."], channel="chat")
    [hit] = memory.search("capital of Peru", user_id="anna")
    assert hit.text == "capital of Peru?\n[PLAN] 1. Search.\n2. Check."
    assert hit.metadata["case_label"] == "positive"
    assert hit.metadata["channel"] == "chat"
    assert hit.explain().parts.keys() == {"semantic"}
    assert 0 < hit.score <= 1


def test_similarity_is_of_the_states_alone(memory, system):
    add(memory, "capital of Peru", 1, "zebra zebra zebra")
    [hit] = memory.search("capital of Peru", user_id="anna")
    assert hit.score == pytest.approx(1, abs=1e-3)


def test_the_same_state_and_action_are_one_case_with_a_mean_reward(memory, system):
    first, again = (add(memory, "capital of Peru?", reward) for reward in (1, 0))
    other = add(memory, "capital of Peru?", 1, "Ask a friend.")
    assert (again.id, again.event) == (first.id, "met")
    assert other.event == "add"
    metadata = memory.get(first.id).metadata
    assert (metadata["reward"], metadata["count"], metadata["case_label"]) == (0.5, 2, "positive")
    assert len(system.bank(ANNA)) == 2


def test_a_case_twice_in_one_batch_is_counted_twice(system):
    bank = system.bank(ANNA)
    added = bank.retain([Case("s", "a", r) for r in (1.0, 0.0, 0.0)])
    assert [a.event for a in added] == ["add", "met", "met"]
    [case] = bank.retrieve("s", split_by_reward=False)[0]
    assert (case.count, round(case.reward, 3)) == (3, 0.333)


def test_only_the_last_runs_are_kept_but_all_are_counted(system):
    bank = system.bank(ANNA)
    bank.retain([Case("s", "a", 1.0)] + [Case("s", "a", 0.0)] * 30)
    [trace] = bank.engine.store.find(ANNA, parse({"reward": "*"}))
    assert len(trace.metadata["runs"]) == RUNS_KEPT
    assert trace.metadata["count"] == 31
    assert trace.metadata["reward"] == pytest.approx(1 / 31)


def test_meeting_again_can_be_undone(memory):
    first = add(memory, "capital of Peru?", 1)
    add(memory, "capital of Peru?", 0)
    outcome = next(e for e in memory.operations(user_id="anna") if e.kind == "outcome")
    memory.undo(outcome.op)
    assert memory.get(first.id).metadata["count"] == 1


def test_examples_are_split_by_what_came_of_them(system):
    bank = system.bank(ANNA)
    bank.retain([Case("capital of Peru?", "good", 1.0), Case("capital of Chile?", "bad", 0.0)])
    bank.retain([Case("capital of Cuba?", "untried")])
    follow, avoid = bank.retrieve("capital of Spain?")
    assert ([c.action for c in follow], [c.action for c in avoid]) == (["good"], ["bad"])
    everything, none = bank.retrieve("capital of Spain?", split_by_reward=False)
    assert {c.action for c in everything} == {"good", "bad", "untried"}
    assert none == []


def test_an_empty_bank_has_no_examples(memory, system):
    assert system.retrieve(ANNA, "anything") == ([], [])
    assert memory.search("anything", user_id="anna") == []
    assert system.learned(ANNA) is None
    assert system.consolidate(ANNA, 0.0)["trained"] is None


def test_fewer_cases_than_asked_for(system):
    system.bank(ANNA).retain([Case("s", "a", 1.0)])
    assert len(system.retrieve(ANNA, "s", 50)[0]) == 1


def test_an_outcome_may_come_later(system):
    bank = system.bank(ANNA)
    [added] = bank.retain([Case("s", "a")])
    assert bank.retrieve("s") == ([], [])
    bank.record(added.id, 0.9)
    assert bank.retrieve("s")[0][0].reward == 0.9
    with pytest.raises(UnknownTrace):
        bank.record("nobody", 1.0)
    with pytest.raises(UnknownTrace):
        system.bank(BEN).record(added.id, 1.0)


def test_a_label_stands_for_a_reward(memory):
    added = add(memory, "s", case_label="negative")
    assert memory.get(added.id).metadata["reward"] == 0.0


@pytest.mark.parametrize(
    "metadata",
    [{"reward": 1.5}, {"reward": "yes"}, {"reward": float("nan")}, {"case_label": "good"}, {"plan": 3}, {"used": "id"}],
)
def test_what_is_no_case_is_refused_and_nothing_is_written(memory, metadata):
    with pytest.raises(InvalidInput):
        memory.add(["fine", {"content": "s", "metadata": metadata}], user_id="anna")
    assert memory.spaces() == []


def test_spaces_are_apart(memory, system):
    mine = add(memory, "capital of Peru?", 1).id
    add(memory, "capital of Peru?", 0, user="ben", used=[mine])
    assert [c.label for c in system.retrieve(ANNA, "capital")[0]] == ["positive"]
    assert system.retrieve(BEN, "capital")[0] == []
    assert system.bank(BEN).retrieve("capital")[1][0].used == ()  # what is not in the space was not in view


def test_filters_choose_among_cases(memory):
    add(memory, "capital of Peru?", 1, topic="a")
    add(memory, "capital of Chile?", 1, topic="b")
    [hit] = memory.search("capital", user_id="anna", filters={"topic": "b"})
    assert "Chile" in hit.text


def test_recall_strengthens_and_looking_does_not(memory, system):
    id = add(memory, "capital of Peru?", 1).id
    before = memory.get(id).state
    system.retrieve(ANNA, "capital")
    memory.search("capital", user_id="anna", reinforce=False)
    assert memory.get(id).state == before
    memory.search("capital", user_id="anna")
    assert memory.get(id).state.uses > before.uses


def test_the_arrays_follow_every_change(memory, system):
    ids = experience(memory, 12)
    bank = system.bank(ANNA)
    bank.ranked("question")
    memory.archive([ids[0], ids[5]])
    memory.forget(ids[11])
    memory.update(ids[3], text="a new question entirely")
    add(memory, "question 2 about thing 2", 0)
    fresh = CaseBank(memory.engine, ANNA)
    mine, theirs = bank.ranked("new question", 20), fresh.ranked("new question", 20)
    assert sorted((t.id, round(s, 5)) for t, s in mine) == sorted((t.id, round(s, 5)) for t, s in theirs)
    assert {t.id for t, _ in mine} == set(ids) - {ids[0], ids[5], ids[11]}
    rewards, theirs = (
        dict(zip(t.n.tolist(), t.rewards.tolist(), strict=True)) for t in (bank.index().table(), fresh.index().table())
    )
    assert rewards == theirs


def test_cases_outlive_the_process(tmp_path):
    with opened(tmp_path / "m.db", policy="learned") as memory:
        experience(memory)
        trained = memory.consolidate(user_id="anna").system["user:anna"]["trained"]
        scores = [hit.score for hit in memory.search("question 3", user_id="anna", reinforce=False)]
    with opened(tmp_path / "m.db", policy="learned") as memory:
        hits = memory.search("question 3", user_id="anna", reinforce=False)
        assert [hit.score for hit in hits] == pytest.approx(scores)
        assert hits[0].explain().parts.keys() == {"chance of success"}
        assert memory.get(trained).kind == "parameter"


def test_sleep_trains_only_on_new_experience_and_enough_of_it(memory, system):
    ids = experience(memory, 10)
    report = system.consolidate(ANNA, 0.0)
    assert report["trained"] is None
    assert "9 rows" in report["why"]
    ids += experience(memory, 40)[10:]
    report = system.consolidate(ANNA, 0.0)
    assert report["trained"]
    assert report["failed"] == []
    kept = memory.get(report["trained"]).metadata
    assert kept["bank"] < memory.engine.store.last_op()
    assert system.consolidate(ANNA, 0.0)["why"] == "no new experience"
    add(memory, "one more", 1, used=ids[:1])
    assert system.consolidate(ANNA, 0.0)["trained"]
    add(memory, "and one more", 1, used=ids[:1])
    system.consolidate(ANNA, 0.0)
    add(memory, "and yet one more", 1, used=ids[:1])
    system.consolidate(ANNA, 0.0)
    status = [t.status for t in memory.engine.store.find(ANNA, parse({"kind": "parameter"}))]
    assert sorted(status) == ["active", "retired", "retired"]


def test_training_can_be_undone(memory, system):
    ids = experience(memory)
    system.consolidate(ANNA, 0.0)
    first = system.learned(ANNA).weights["w1"].copy()
    add(memory, "one more", 1, used=ids[:1])
    report = system.consolidate(ANNA, 0.0)
    assert not np.array_equal(system.learned(ANNA).weights["w1"], first)
    for op in reversed(report["operations"]):
        memory.undo(op)
    assert np.array_equal(system.learned(ANNA).weights["w1"], first)


def test_the_same_experience_gives_the_same_policy(memory, system):
    experience(memory)
    experience(memory, user="ben")
    for space in (ANNA, BEN):
        system.consolidate(space, 0.0)
    assert np.array_equal(system.learned(ANNA).weights["w1"], system.learned(BEN).weights["w1"])


def test_all_labels_the_same_still_trains_and_has_no_auc(memory, system):
    ids = []
    for i in range(30):
        ids.append(add(memory, f"question {i}", 1, used=ids[-1:]).id)
    report = system.consolidate(ANNA, 0.0)
    assert report["trained"]
    assert report["auc"] is None


def test_forgetting_a_case_forgets_the_policy_that_learned_from_it(memory, system):
    ids = experience(memory)
    bystander = add(memory, "nothing to do with it", 1).id
    old = system.consolidate(ANNA, 0.0)["trained"]
    memory.forget(bystander)
    assert system.learned(ANNA) is not None
    memory.forget(ids[4])
    assert system.learned(ANNA) is None
    with pytest.raises(UnknownTrace):
        memory.get(old)
    new = system.consolidate(ANNA, 0.0)["trained"]
    assert ids[4] not in memory.get(new).sources


def test_nothing_tells_of_a_case_that_was_forgotten(memory, system):
    ids = experience(memory)
    secret = add(memory, "Where does Zaphod hide?", 1, "Ask Trillian.", used=ids[:2]).id
    add(memory, "Where does Zaphod hide?", 0, "Ask Trillian.")
    user = add(memory, "another question", 1, used=[secret, ids[0]]).id
    gone_user = add(memory, "a third question", 1, used=[secret]).id
    memory.archive(gone_user)
    system.consolidate(ANNA, 0.0)
    assert [case.id for case in system.bank(ANNA).used_by(secret)] == [user]
    memory.forget(secret)
    said = everything(memory)
    assert "Zaphod" not in said
    assert "Trillian" not in said
    assert memory.get(user).metadata["runs"][0]["used"] == [ids[0]]
    assert memory.get(gone_user).metadata["runs"][0]["used"] == []
    assert memory.search("Zaphod", user_id="anna", filters={"text": {"contains": "Zaphod"}}) == []


def test_what_a_case_says_in_its_plan_can_be_forgotten_by_its_words(memory):
    add(memory, "capital of Peru?", 1, "Ask Trillian.")
    assert memory.forget(user_id="anna", about="Trillian", threshold=0.99).count == 1


def test_a_full_bank_archives_the_oldest(tmp_path):
    with opened(tmp_path / "m.db", capacity=5) as memory:
        ids = experience(memory, 8)
        report = memory.system.consolidate(ANNA, 0.0)
        assert report["archived"] == ids[:3]
        assert len(memory.system.bank(ANNA)) == 5
        memory.undo(report["operations"][-1])
        assert len(memory.system.bank(ANNA)) == 8


def test_a_full_bank_may_keep_what_is_worth_most(tmp_path):
    with opened(tmp_path / "m.db", capacity=4, keep="value") as memory:
        ids = experience(memory, 8)
        assert memory.system.consolidate(ANNA, 0.0)["archived"] == ids[1::2]
        experience(memory, 40)
        report = memory.system.consolidate(ANNA, 0.0)  # by what was learned
        assert report["trained"]
        assert len(memory.system.bank(ANNA)) == 4


def test_secrets_are_kept_out_of_state_and_plan():
    redact = lambda text: text.replace("hunter2", "[password]")  # noqa: E731
    with Memory(embedder="hash", system="cases", redact=redact) as memory:
        [added] = memory.add("log in with hunter2", metadata={"plan": ["type hunter2"], "reward": 1})
        assert added.redacted
        assert "hunter2" not in everything(memory)
        [hit] = memory.search("log in with [password]")
        assert hit.score == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        {"policy": "best"}, {"keep": "all"}, {"capacity": 0}, {"pool": 0}, {"learning": Learning(hidden=0)},
        {"learning": Learning(alpha=0)}, {"learning": Learning(features="all")},
    ],
)  # fmt: skip
def test_wrong_options_are_refused(options):
    with pytest.raises(InvalidInput):
        opened(**options)


def test_a_policy_weighs_the_nearest_of_a_large_bank(tmp_path):
    bank = CaseBank(opened().engine, ANNA, pool=3)
    bank.retain([Case(f"thing {i}", "a", 1.0) for i in range(10)])
    nearest = {t.id for t, _ in bank.ranked("thing 4", 3)}
    learned = NeuralCasePolicy(bank.engine.embedder.dim, 4)
    assert {t.id for t, _ in bank.ranked("thing 4", 10, learned)} == nearest
    assert len(bank.ranked("thing 4", 10, SimilarityPolicy())) == 10


def test_drawing_from_the_soft_policy_is_seeded_and_varied(system):
    bank = system.bank(ANNA)
    bank.retain([Case(f"thing {i}", "a", 1.0) for i in range(10)])
    draws = [bank.ranked("thing 1", 1, how="sample", seed=seed)[0][0].id for seed in range(20)]
    assert draws == [bank.ranked("thing 1", 1, how="sample", seed=seed)[0][0].id for seed in range(20)]
    assert len(set(draws)) > 1


def test_a_damaged_policy_is_reported(memory, system, monkeypatch):
    experience(memory)
    system.consolidate(ANNA, 0.0)
    monkeypatch.setattr(memory.engine.store, "payload", lambda id: b"not tensors")
    with pytest.raises(CorruptStore, match="policy"):
        system.learned(ANNA)


def test_a_policy_of_another_embedder_is_not_used(memory, system):
    experience(memory)
    trained = system.consolidate(ANNA, 0.0)["trained"]
    metadata = {**memory.get(trained).metadata, "embedder": "another"}
    memory.engine.store.revise([(trained, {"metadata": metadata})], Why("test"), 0.0)
    assert system.learned(ANNA) is None
    assert system.consolidate(ANNA, 0.0)["trained"] != trained
