"""The memory-augmented decision process: retrieve a case, act on it, see what comes of it, retain that.

Paper: "AgentFly: Fine-tuning LLM Agents without Fine-tuning LLMs" (Memento), arXiv 2508.16153.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from halflife.agent.cases_bank import CaseBank
from halflife.agent.cases_case import Case, case_of
from halflife.agent.cases_index import CaseIndex, Transitions
from halflife.agent.cases_policy import CasePolicy, How, NeuralCasePolicy, SimilarityPolicy
from halflife.agent.cases_replay import ReplayBuffer, pairs_of
from halflife.errors import InvalidInput
from halflife.store.trace import Trace

Env: TypeAlias = Callable[[str, str], float]
"""The reward in [0, 1] of an action in a state."""
Actor: TypeAlias = Callable[[str, Sequence[Case]], str]
"""The action that a model, or a simulation of one, takes in a state with these cases in view."""


@dataclass(frozen=True)
class Online:
    """How a learned policy is trained while it is used.

    Parameters
    ----------
    every: steps of the process between trainings. updates, batch, rate: gradient steps each time, rows a step, and
        their learning rate. after: rows of experience before the first.
    """

    every: int = 10
    updates: int = 20
    batch: int = 128
    rate: float = 2e-3
    after: int = 200


@dataclass(frozen=True)
class Outcome:
    """One step of the process."""

    action: str
    reward: float
    case_ids: tuple[str, ...]


class MemoryAugmentedMDP:
    """pi(a | s, M) = sum_c mu(c | s, M) p(a | s, c), one step at a time.

    Parameters
    ----------
    env: gives the reward.
    actor: acts; with no case in view where the bank is empty, which is the base policy.
    bank: the memory M.
    policy: mu; the bank's own by default. A `NeuralCasePolicy` is trained as it goes, and similarity stands in for it
        until there is enough experience.
    k: cases in view. how: the best ones, or drawn from the soft policy.
    online: when and how it is trained.
    seed: of the draws.

    Source: the memory-augmented decision process, and online soft Q-learning with one-step returns.

    >>> from halflife import Memory
    >>> from halflife.store.trace import Space
    >>> bank = CaseBank(Memory(embedder="hash").engine, Space.of())
    >>> process = MemoryAugmentedMDP(
    ...     env=lambda state, action: float(action in state),
    ...     actor=lambda state, cases: cases[0].action if cases else "left",
    ...     bank=bank, k=1,
    ... )
    >>> process.step("turn left at the mill").reward, process.step("turn left at the church").case_ids != ()
    (1.0, True)
    """

    def __init__(
        self,
        env: Env,
        actor: Actor,
        bank: CaseBank,
        policy: CasePolicy | None = None,
        *,
        k: int = 1,
        how: How = "greedy",
        online: Online | None = None,
        seed: int = 0,
    ) -> None:
        if k < 0:
            raise InvalidInput(f"k is {k}.", "Use 0 for no memory, or more.")
        self.env, self.actor, self.bank = env, actor, bank
        self.policy = policy or bank.policy
        self.k, self.how, self.online = k, how, online or Online()
        self.replay = ReplayBuffer()
        self.steps = 0
        self._rng = np.random.default_rng(seed)

    def step(self, state: str, now: float | None = None) -> Outcome:
        """Retrieve, act, retain; and train, when it is time."""
        found = self._found(state) if self.k else []
        cases = [case_of(trace) for trace, _ in found]
        action = self.actor(state, cases)
        reward = self.env(state, action)
        used = tuple(case.id for case in cases)
        [added] = self.bank.retain([Case(state, action, reward, used)], now)
        for n in self.bank.numbers(used):
            self.replay.add(added.n, n, reward)
        self.steps += 1
        if self.steps % self.online.every == 0:
            self.learn()
        return Outcome(action, reward, used)

    def _found(self, state: str) -> list[tuple[Trace, float]]:
        """The cases in view; by similarity while a learned policy has not seen enough to know anything."""
        if isinstance(self.policy, NeuralCasePolicy) and len(self.replay) < self.online.after:
            return self.bank.ranked(state, self.k, SimilarityPolicy(), judged=True)
        return self.bank.ranked(state, self.k, self.policy, judged=True, how=self.how, seed=self._rng)

    def learn(self) -> float:
        """Train on replayed experience. Returns the mean loss; NaN where there is nothing to train, or too little."""
        plan, policy = self.online, self.policy
        if not isinstance(policy, NeuralCasePolicy) or len(self.replay) < max(1, plan.after):
            return float("nan")
        with self.bank.lock:
            index = self.bank.index()
            batches = [self._draw(index) for _ in range(plan.updates)]
            losses = [policy.update(pairs_of(index, rows), rows.rewards, plan.rate) for rows in batches if len(rows)]
        return float(np.mean(losses)) if losses else float("nan")

    def _draw(self, index: CaseIndex) -> Transitions:
        """A batch, without the rows of cases that are gone since; those leave the buffer too."""
        states, cases, rewards = self.replay.sample(self.online.batch, self._rng)
        rows, of = index.rows(states), index.rows(cases)
        there = (rows >= 0) & (of >= 0)
        if not there.all():
            self.replay.drop([*states[rows < 0].tolist(), *cases[of < 0].tolist()])
        return Transitions(rows[there], of[there], rewards[there])
