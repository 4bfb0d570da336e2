"""The decision process with a simulated model: experience helps, training happens when due, erased rows leave."""

from __future__ import annotations

import numpy as np
import pytest

from halflife import Memory
from halflife.agent.cases_bank import CaseBank
from halflife.agent.cases_mdp import MemoryAugmentedMDP, Online
from halflife.agent.cases_policy import NeuralCasePolicy
from halflife.errors import InvalidInput
from halflife.store.trace import Space

COLOURS = ("red", "green", "blue")


@pytest.fixture
def memory():
    with Memory(embedder="hash", clock=lambda: 0.0) as memory:
        yield memory


def process(memory, policy=None, **options):
    """The right action is the colour that a state names; without an example the model always says red."""
    bank = CaseBank(memory.engine, Space.of())

    def act(state, cases):
        return next((case.action for case in cases if case.label == "positive"), "red")

    return MemoryAugmentedMDP(lambda state, action: float(action in state), act, bank, policy, **options)


def states(n, seed=0):
    rng = np.random.default_rng(seed)
    return [f"paint it {COLOURS[rng.integers(3)]} number {i}" for i in range(n)]


def test_the_first_step_has_no_case_and_the_next_has_one(memory):
    mdp = process(memory)
    first = mdp.step("paint it red")
    assert (first.action, first.reward, first.case_ids) == ("red", 1.0, ())
    second = mdp.step("paint it red again")
    assert len(second.case_ids) == 1
    assert len(mdp.bank) == 2
    assert mdp.bank.used_by(second.case_ids)[0].state == "paint it red again"


def test_no_memory_is_the_base_policy(memory):
    mdp = process(memory, k=0)
    assert all(mdp.step(state).case_ids == () for state in states(5))
    assert len(mdp.replay) == 0


def test_a_policy_is_trained_when_there_is_enough(memory):
    policy = NeuralCasePolicy(memory.engine.embedder.dim, 8)
    mdp = process(memory, policy, online=Online(every=5, updates=2, batch=8, after=10), how="sample")
    before = policy.weights["w1"].copy()
    for state in states(10):
        mdp.step(state)
    assert np.array_equal(policy.weights["w1"], before)
    for state in states(20, seed=1):
        mdp.step(state)
    assert not np.array_equal(policy.weights["w1"], before)
    assert np.isfinite(mdp.learn())


def test_experience_of_an_erased_case_is_not_learned_from(memory):
    policy = NeuralCasePolicy(memory.engine.embedder.dim, 8)
    mdp = process(memory, policy, online=Online(every=1000, updates=3, batch=64, after=5))
    outcomes = [mdp.step(state) for state in states(30)]
    used = outcomes[-1].case_ids[0]
    rows = len(mdp.replay)
    memory.forget(used)
    assert np.isfinite(mdp.learn())
    assert len(mdp.replay) < rows


def test_a_negative_number_of_cases_is_refused(memory):
    with pytest.raises(InvalidInput):
        process(memory, k=-1)
