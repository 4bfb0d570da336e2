"""An agent that plans with examples from its own experience, and learns from each question.

Paper: "AgentFly: Fine-tuning LLM Agents without Fine-tuning LLMs" (Memento), arXiv 2508.16153.

Implemented: the loop of planner, executor and judge around a case bank. The executor is any callable: its tools, and
what it remembers while it works, are its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from halflife.agent.cases import CaseMemory
from halflife.agent.cases_case import Case, check_reward, plan_text
from halflife.errors import InvalidInput
from halflife.llm.client import Chat
from halflife.store.trace import Space

Executor: TypeAlias = Callable[[str, Sequence[str]], str]
"""Carries out a step, given what was found before, and says what came of it."""
Judge: TypeAlias = Callable[[str, str], float]
"""The reward in [0, 1] of an answer to a question."""

_STEPS = 20
_ANSWER = 300


@dataclass(frozen=True)
class PlanStep:
    """One step of a plan."""

    description: str


@dataclass(frozen=True)
class Decision:
    """What a planner decides: more steps, or an answer."""

    plan: list[PlanStep] = field(default_factory=list)
    answer: str = ""


@dataclass(frozen=True)
class Verdict:
    """What a judge says."""

    verdict: Literal["correct", "incorrect"]


@dataclass(frozen=True)
class Solved:
    """How a question was settled.

    Parameters
    ----------
    answer: what the agent says. plan: the steps that it took, one a line.
    reward: in [0, 1]; None if nobody judged. Then `CaseBank.record(id, reward, used)` can say so later.
    id: of the case that was kept. used: ids of the cases that were in view.
    """

    answer: str
    plan: str
    reward: float | None
    id: str
    used: tuple[str, ...]


class CaseAgent:
    """Plans, acts, answers, is judged, and keeps that as a case.

    Parameters
    ----------
    memory: where the cases are; its engine has the language model.
    space: whose.
    executor: carries out the steps.
    judge: says how good an answer is. Without one, the language model compares it with the answer expected.
    k: cases in view. rounds: how often it may plan.

    Raises
    ------
    InvalidInput: the memory has no language model, or `k` or `rounds` is below 1.

    Source: the planner and executor of section 4.
    """

    def __init__(
        self,
        memory: CaseMemory,
        space: Space,
        executor: Executor,
        *,
        judge: Judge | None = None,
        k: int = 4,
        rounds: int = 3,
    ) -> None:
        if memory.engine.chat is None:
            raise InvalidInput("An agent needs a language model to plan with.", "Open the memory with llm=...")
        if k < 1 or rounds < 1:
            raise InvalidInput(f"k is {k} and rounds {rounds}.", "Use 1 or more of each.")
        self.memory, self.space, self.executor, self.judge = memory, space, executor, judge
        self.chat: Chat = memory.engine.chat
        self.k, self.rounds = k, rounds

    def solve(self, question: str, expected: str | None = None, now: float | None = None) -> Solved:
        """Settle a question. `expected` is the right answer, where it is known; the planner does not see it.

        Raises
        ------
        UnusableAnswer: the model's plan or verdict cannot be used. Nothing was written.
        """
        follow, avoid = self.memory.retrieve(self.space, question, self.k)
        steps, done, answer = list[str](), list[str](), ""
        for _ in range(self.rounds):
            decision = self._decide(question, follow, avoid, done)
            if answer := decision.answer.strip():
                break
            for step in decision.plan:
                steps.append(step.description.strip())
                done.append(f"{steps[-1]} -> {self.executor(steps[-1], tuple(done))}")
        if not answer:
            answer = self.chat.text("cases.answer", max_tokens=_ANSWER, question=question, done=done)
        reward = self._judged(question, answer, expected)
        used = tuple(case.id for case in (*follow, *avoid))
        [added] = self.memory.bank(self.space).retain([Case(question, plan_text(steps), reward, used)], now)
        return Solved(answer, plan_text(steps), reward, added.id, used)

    def _decide(self, question: str, follow: Sequence[Case], avoid: Sequence[Case], done: Sequence[str]) -> Decision:
        return self.chat.ask(
            "cases.planner",
            Decision,
            check=_usable,
            question=question,
            follow=[_example(case) for case in follow],
            avoid=[_example(case) for case in avoid],
            done=done,
        )

    def _judged(self, question: str, answer: str, expected: str | None) -> float | None:
        if self.judge is not None:
            return check_reward(self.judge(question, answer))
        if expected is None:
            return None
        verdict = self.chat.ask("cases.judge", Verdict, question=question, expected=expected, answer=answer)
        return float(verdict.verdict == "correct")


def _example(case: Case) -> str:
    return f"Question: {case.state} Plan: {case.action or '(none)'}"


def _usable(decision: Decision) -> None:
    """Refuse a decision that says nothing, or too much."""
    if bool(decision.answer.strip()) == bool(decision.plan):
        raise ValueError("give either a plan or an answer, and not both.")
    if len(decision.plan) > _STEPS:
        raise ValueError(f"a plan has {_STEPS} steps at most.")
    if not all(step.description.strip() for step in decision.plan):
        raise ValueError("a step needs a description.")
