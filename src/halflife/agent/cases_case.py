"""A case: a state, what was done in it, and how that turned out; and the trace that it is kept as.

Paper: "AgentFly: Fine-tuning LLM Agents without Fine-tuning LLMs" (Memento), arXiv 2508.16153.

A case is an ordinary trace, so that filters, history and erasure work on it as on any other. Its text is the
state, then the action behind a mark, so that the same state with another action is another memory, and all that it
says can be searched and forgotten by its words. Its outcome is in the metadata: `reward` (the mean), `count`,
`case_label`, and `runs`, the last outcomes with the ids of the cases that were in view: the rows that a policy
learns from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias, cast

from halflife.errors import InvalidInput
from halflife.store.draft import Draft
from halflife.store.trace import Trace

Label: TypeAlias = Literal["positive", "negative"]
Run: TypeAlias = tuple[float, tuple[str, ...]]

NAME = "cases"
MARK = "\n[PLAN] "
RUNS_KEPT = 16  # of one case; older ones stay in its mean and count
POSITIVE_FROM = 0.5  # mean reward
OUTCOME = ("reward", "count", "case_label", "runs")
LABELS: dict[Any, float] = {"positive": 1.0, "negative": 0.0}


@dataclass(frozen=True)
class Case:
    """One experience.

    Parameters
    ----------
    state: what the agent faced, such as a question.
    action: what it did, such as a plan, one step a line.
    reward: how that turned out, in [0, 1]; the mean where it was tried several times, None while it is not known.
    used: ids of the cases that were in view when the action was chosen.
    meta: the caller's own fields.
    count: how often its outcome was seen.
    id: of its trace; empty before it is kept.

    Raises
    ------
    InvalidInput: a reward that is no number in [0, 1].

    >>> Case("What is the capital of Peru?", plan_text(["Look it up", "Check it"]), 1.0).label
    'positive'
    """

    state: str
    action: str = ""
    reward: float | None = None
    used: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    count: int = 0
    id: str = ""

    def __post_init__(self) -> None:
        if self.reward is not None:
            check_reward(self.reward)

    @property
    def label(self) -> Label | None:
        """Whether it is one to follow or one to avoid; None while that is not known."""
        return label_of(self.reward)


def label_of(reward: float | None) -> Label | None:
    """The label of a mean reward: positive from 0.5."""
    if reward is None:
        return None
    return "positive" if reward >= POSITIVE_FROM else "negative"


def check_reward(reward: object) -> float:
    """A reward as a float. Raises `InvalidInput` for what is no number in [0, 1]."""
    if not isinstance(reward, (bool, int, float)) or not math.isfinite(reward) or not 0 <= reward <= 1:
        raise InvalidInput(f"The reward of a case is {reward!r}.", "Use a number in [0, 1]: 1 for success.")
    return float(reward)


def plan_text(plan: object) -> str:
    """A plan as text, one numbered step a line: from a text, a list of steps, or `{"plan": [{"description": ...}]}`.

    >>> print(plan_text({"plan": [{"id": 1, "description": "Find the film."}, {"id": 2, "description": "Look."}]}))
    1. Find the film.
    2. Look.
    """
    if isinstance(plan, Mapping) and "plan" in plan:
        plan = plan["plan"]
    if isinstance(plan, str):
        return plan.strip()
    if isinstance(plan, Sequence):
        given = [step.get("description") if isinstance(step, Mapping) else step for step in plan]
        steps = [step for step in given if isinstance(step, str)]
        if len(steps) == len(given):
            return "\n".join(f"{number}. {' '.join(step.split())}" for number, step in enumerate(steps, 1))
    raise InvalidInput(
        f"A plan is a text or a list of steps, not {plan!r}.", 'A step is a text or {"description": ...}.'
    )


def case_text(state: str, action: str) -> str:
    """The text of a case. A mark within the state is moved out of the way by a blank.

    >>> split_text(case_text("Why?\\n[PLAN] no", "Ask."))
    ('Why?\\n [PLAN] no', 'Ask.')
    """
    state = state.strip().replace(MARK, "\n [PLAN] ")
    return f"{state}{MARK}{action.strip()}" if action.strip() else state


def split_text(text: str) -> tuple[str, str]:
    """State and action of the text of a case."""
    state, _, action = text.partition(MARK)
    return state, action


def case_of(trace: Trace) -> Case:
    """A stored case."""
    state, action = split_text(trace.text)
    outcome = trace.metadata
    meta = {key: value for key, value in outcome.items() if key not in OUTCOME}
    used = tuple(dict.fromkeys(id for _, ids in runs_of(outcome) for id in ids))
    return Case(state, action, outcome.get("reward"), used, meta, int(outcome.get("count", 0)), trace.id)


def draft_of(case: Case, at: float) -> Draft:
    """A case as what is handed to `CaseBank.write`."""
    outcome = {} if case.reward is None else {"reward": case.reward, "used": list(case.used)}
    return Draft(case_text(case.state, case.action), at, metadata={**case.meta, **outcome})


def runs_of(metadata: Mapping[str, Any]) -> list[Run]:
    """The last outcomes of a case, oldest first, each with the ids of the cases that were in view."""
    return [(float(run["reward"]), tuple(run["used"])) for run in metadata.get("runs", ())]


def read_draft(draft: Draft) -> tuple[Draft, Run | None]:
    """What a user wrote, as the draft of a case that has no outcome yet, and the outcome that came with it.

    A plan is taken from the metadata (`plan` or `action`), an outcome from `reward` or `case_label`, and the cases
    that were in view from `used`; what else is there stays.

    Raises
    ------
    InvalidInput: a plan, reward, label or list of ids that is none.
    """
    given = dict(draft.metadata)
    plan, action = given.pop("plan", ""), given.pop("action", "")
    label, reward = given.pop("case_label", None), given.pop("reward", None)
    used = given.pop("used", ())
    given.pop("count", None)
    given.pop("runs", None)
    if label is not None and label not in LABELS:
        raise InvalidInput(f"case_label is {label!r}.", "Use positive or negative, or give a reward.")
    if not isinstance(used, (list, tuple)) or not all(isinstance(id, str) for id in used):
        raise InvalidInput(f"used is {used!r}.", "Give the ids of the cases that were in view.")
    state, inside = split_text(draft.text)
    text = case_text(state, "\n".join(part for part in (inside, plan_text(plan or action)) if part))
    bare = replace(draft, text=text, metadata=given, system=draft.system or NAME)
    if reward is None and label is None:
        return bare, None
    return bare, (check_reward(LABELS[label] if reward is None else reward), tuple(dict.fromkeys(used)))


def with_runs(metadata: Mapping[str, Any], runs: Sequence[Run]) -> dict[str, Any]:
    """The metadata of a case after some more outcomes, oldest first.

    >>> with_runs({}, [(1.0, ()), (0.0, ("a",))])["reward"]
    0.5
    """
    count = int(metadata.get("count", 0))
    mean = cast(float, metadata.get("reward", 0.0)) if count else 0.0
    for reward, _ in runs:
        count += 1
        mean += (reward - mean) / count
    kept = [*runs_of(metadata), *runs][-RUNS_KEPT:]
    return {
        **metadata,
        "reward": mean,
        "count": count,
        "case_label": label_of(mean),
        "runs": [{"reward": reward, "used": list(used)} for reward, used in kept],
    }


def without(metadata: Mapping[str, Any], gone: set[str]) -> dict[str, Any]:
    """The metadata of a case without the ids of cases that are gone."""
    kept = [(reward, [id for id in used if id not in gone]) for reward, used in runs_of(metadata)]
    return {**metadata, "runs": [{"reward": reward, "used": used} for reward, used in kept]}
