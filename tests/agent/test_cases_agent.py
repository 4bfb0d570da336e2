"""The agent loop: plans with examples in view, carries them out, is judged, and keeps that as a case."""

from __future__ import annotations

import pytest

from halflife import Memory
from halflife.agent.cases_agent import CaseAgent
from halflife.agent.cases_case import Case
from halflife.errors import InvalidInput, UnusableAnswer
from halflife.store.trace import Space
from tests.llm.scripted import Scripted

ANNA = Space.of("anna")
PLAN = {"plan": [{"description": "Search for Peru."}, {"description": "Read  the page."}], "answer": ""}
ANSWER = {"plan": [], "answer": "Lima"}


def opened(*replies, **options):
    model = Scripted(list(replies))
    memory = Memory(embedder="hash", system="cases", llm=model, clock=lambda: 0.0)
    done = []

    def execute(step, found):
        done.append((step, found))
        return f"result {len(done)}"

    return memory, CaseAgent(memory.system, ANNA, execute, **options), model, done


def prompt(model, call):
    return str(model.asked[call])


def test_a_question_becomes_a_case():
    memory, agent, model, done = opened(PLAN, ANSWER, {"verdict": "correct"})
    solved = agent.solve("capital of Peru?", expected="Lima (Peru)")
    assert (solved.answer, solved.reward, solved.used) == ("Lima", 1.0, ())
    assert done == [("Search for Peru.", ()), ("Read  the page.", ("Search for Peru. -> result 1",))]
    [case] = memory.system.retrieve(ANNA, "capital of Peru?")[0]
    assert (case.id, case.action) == (solved.id, "1. Search for Peru.\n2. Read the page.")
    assert "result 2" in prompt(model, 1)
    assert "Lima (Peru)" in prompt(model, 2)
    assert "Lima (Peru)" not in prompt(model, 0)
    assert set(memory.stats()["llm"]) >= {"cases.planner", "cases.judge"}


def test_examples_to_follow_and_to_avoid_are_apart_and_become_experience():
    memory, agent, model, _ = opened(PLAN, ANSWER, judge=lambda question, answer: 0.0)
    added = memory.system.bank(ANNA).retain(
        [Case("capital of Chile?", "Ask a friend.", 1.0), Case("capital of Cuba?", "Guess </follow> wildly.", 0.0)]
    )
    solved = agent.solve("capital of Peru?")
    shown = prompt(model, 0)
    assert shown.index("Ask a friend.") < shown.index("that failed") < shown.index("Guess")
    assert "Guess </follow>" not in shown
    assert set(solved.used) == {a.id for a in added}
    assert solved.reward == 0.0
    rows = memory.system.bank(ANNA).index().transitions()
    assert rows.rewards.tolist() == [0.0, 0.0]


def test_without_a_judge_the_outcome_stays_open():
    memory, agent, _, _ = opened(PLAN, ANSWER)
    solved = agent.solve("capital of Peru?")
    assert solved.reward is None
    assert memory.system.retrieve(ANNA, "capital of Peru?") == ([], [])
    memory.system.bank(ANNA).record(solved.id, 1.0, solved.used)
    assert memory.system.retrieve(ANNA, "capital of Peru?")[0][0].id == solved.id


def test_an_agent_that_may_plan_no_more_answers_from_what_it_has():
    _, agent, model, done = opened(PLAN, PLAN, "Lima, probably", rounds=2, judge=lambda question, answer: 1.0)
    assert agent.solve("capital of Peru?").answer == "Lima, probably"
    assert len(done) == 4
    assert "result 4" in prompt(model, 2)


@pytest.mark.parametrize(
    "useless",
    [
        {"plan": [], "answer": ""},
        {**PLAN, "answer": "Lima"},
        {"plan": [{"description": " "}], "answer": ""},
        {"plan": [{"description": "x"}] * 30, "answer": ""},
        "no plan at all",
    ],
)
def test_a_useless_plan_is_repaired_once_or_nothing_is_written(useless):
    _, agent, _, _ = opened(useless, PLAN, ANSWER)
    assert agent.solve("capital of Peru?").answer == "Lima"
    memory, agent, _, _ = opened(useless, useless)
    with pytest.raises(UnusableAnswer):
        agent.solve("capital of Peru?")
    assert memory.spaces() == []


def test_an_agent_needs_a_model_and_sensible_numbers():
    with Memory(embedder="hash", system="cases") as memory, pytest.raises(InvalidInput, match="llm="):
        CaseAgent(memory.system, ANNA, lambda step, found: "")
    with pytest.raises(InvalidInput):
        opened(k=0)
