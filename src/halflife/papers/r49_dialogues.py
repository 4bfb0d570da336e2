"""Generated dialogues about slots of two tasks: operations known, so that memory is tested and not language.

Each turn comes with the operation that it means and, at an error rate, the one that was heard instead. Every memory is
given the same heard operations. What is true is kept apart, as plain lists of values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from halflife.agent.task_baselines import FlatHistory, GraphTracker, ReActHistory, TaskTracker
from halflife.agent.task_ops import Op
from halflife.llm.hashing import word_count

TASKS = {
    "trip": ("hotel", "route", "guide", "boat", "lunch"),
    "party": ("hall", "band", "cake", "lunch", "guide"),
}
VALUES = "amber birch cedar dune ember fjord grove heron iris jade kelp lotus maple north olive pearl".split()
ACTS: Mapping[str, float] = {
    "change": 0.30, "everywhere": 0.05, "back": 0.15, "back two": 0.05, "remove": 0.15, "check": 0.25, "if": 0.05,
}  # fmt: skip
ARMS: Mapping[str, Callable[[], TaskTracker]] = {
    "task graph": GraphTracker,
    "last 10 turns": lambda: FlatHistory(10),
    "last 20 turns": lambda: FlatHistory(20),
    "all turns": FlatHistory,
    "all turns, one step back": lambda: FlatHistory(steps_back=True),
    "scratchpad": ReActHistory,
}


@dataclass(frozen=True)
class Turn:
    """One turn: its words, what it means, what was heard, and (of a check) what is true of the slot."""

    text: str
    meant: Op
    heard: Op
    about: tuple[str, ...]
    truth: Mapping[str, str | None]


@dataclass
class Truth:
    """What is so: for every slot its value now and those before it."""

    now: dict[str, str] = field(default_factory=dict)
    was: dict[str, list[str]] = field(default_factory=dict)

    def put(self, slot: str, value: str | None) -> None:
        """Another value, or none."""
        if slot in self.now and self.now[slot] != value:
            self.was.setdefault(slot, []).append(self.now.pop(slot))
        if value is not None:
            self.now[slot] = value

    def back(self, slot: str, steps: int) -> str | None:
        """The value `steps` ago, unless there is none or it is the one now."""
        was = self.was.get(slot, [])
        return was[-steps] if len(was) >= steps and was[-steps] != self.now.get(slot) else None


def turns(seed: tuple[int, int], count: int = 60, error: float = 0.0) -> Iterator[Turn]:
    """A dialogue of 6 to 10 slots of two tasks, some needing others, one object shared by both.

    Parameters
    ----------
    seed: of the run and of the dialogue; the turns are the same at every error rate.
    count: turns. error: chance that an operation is heard of another slot, or an "if" as a change.
    """
    rng, noise = np.random.default_rng([*seed, 0]), np.random.default_rng([*seed, 1])
    slots = [f"{task}/{name}" for task, names in TASKS.items() for name in _some(rng, names)]
    needs = {slot: [other for other in slots[:i] if rng.random() < 0.2] for i, slot in enumerate(slots)}
    shared = _shared(slots)
    truth, joined = Truth(), False
    for _ in range(count):
        if shared and not joined and all(slot in truth.now for slot in shared):
            joined = True
            meant = Op("share", shared[0], new_slot=shared[1])
            yield Turn(f"The {_said(shared[0])} and the {_said(shared[1])} are one and the same.", meant, meant, (), {})
            continue
        text, meant, about = _turn(rng, slots, needs, shared if joined else (), truth)
        heard = _misheard(noise, meant, slots) if noise.random() < error else meant
        yield Turn(text, meant, heard, about, {slot: truth.now.get(slot) for slot in about})


def _some(rng: np.random.Generator, names: tuple[str, ...]) -> list[str]:
    """Three to five slots, in a fixed order, with the last two (which both tasks may have) likely among them."""
    return [names[i] for i in sorted(rng.choice(len(names), size=int(rng.integers(3, 6)), replace=False))]


def _shared(slots: list[str]) -> tuple[str, ...]:
    names = [slot.partition("/")[2] for slot in slots]
    twice = next((name for name in names if names.count(name) > 1), None)
    return tuple(slot for slot in slots if twice and slot.endswith(f"/{twice}"))


def _turn(
    rng: np.random.Generator,
    slots: list[str],
    needs: Mapping[str, list[str]],
    shared: tuple[str, ...],
    truth: Truth,
) -> tuple[str, Op, tuple[str, ...]]:
    slot = slots[rng.integers(len(slots))]
    act = str(rng.choice(list(ACTS), p=list(ACTS.values())))
    value = str(rng.choice([value for value in VALUES if value != truth.now.get(slot)]))
    known, said = slot in truth.now, _said(slot)
    if act == "check" and (known or slot in truth.was):
        claim = _claim(rng, slot, value, truth)
        return f"Is the {said} {claim}?", Op("check", slot, claim), (slot,)
    if act == "if" and known:
        return f"What would it cost if the {said} were {value}?", Op("ask", slot, value), (slot,)
    if act == "remove" and known:
        truth.put(slot, None)
        return f"Drop the {said}, please.", Op("remove", slot), (slot,)
    steps = {"back": 1, "back two": 2}.get(act, 0)
    if steps and (before := truth.back(slot, steps)):
        truth.put(slot, before)
        if steps == 1 and rng.random() < 0.5:
            return f"Go back to {before} for the {said}.", Op("revert", slot, before), (slot,)
        how = "back to what it was" if steps == 1 else "back two steps"
        return f"Put the {said} {how}.", Op("revert", slot, steps=steps), (slot,)
    if act == "everywhere" and slot in shared and known:
        both = tuple(one for one in shared if one in truth.now)
        for one in both:
            truth.put(one, value)
        return f"Make the {said} {value}, everywhere.", Op("set", slot, value, everywhere=True), both
    there = [other for other in needs[slot] if other in truth.now or other in truth.was]
    truth.put(slot, value)
    if known:
        return f"Actually, change the {said} to {value}.", Op("set", slot, value), (slot,)
    task, _, name = slot.partition("/")
    return f"Let us have {value} for the {said}.", Op("new", name, value, task, needs=tuple(there)), (slot,)


def _claim(rng: np.random.Generator, slot: str, other: str, truth: Truth) -> str:
    """What is so, or what was, or what never was."""
    if slot in truth.now and rng.random() < 0.5:
        return truth.now[slot]
    was = [value for value in truth.was.get(slot, []) if value != truth.now.get(slot)]
    return str(rng.choice(was)) if was else other


def _misheard(rng: np.random.Generator, op: Op, slots: list[str]) -> Op:
    if op.kind in ("check", "share"):
        return op
    if op.kind == "ask":
        return replace(op, kind="set")
    wrong = str(rng.choice([slot for slot in slots if slot != op.path]))
    task, _, name = wrong.partition("/")
    return replace(op, slot=name, parent=task, needs=()) if op.kind == "new" else replace(op, slot=wrong)


def _said(slot: str) -> str:
    task, _, name = slot.partition("/")
    return f"{name} of the {task}"


@dataclass
class Tally:
    """Counts of one memory up to a number of turns."""

    checks: int = 0
    wrong: int = 0
    changes: int = 0
    missed: int = 0
    tokens: int = 0

    @property
    def error(self) -> float:
        """Share of the checks at which the slot asked about had another value than in truth."""
        return self.wrong / max(self.checks, 1)

    @property
    def misread(self) -> float:
        """Share of the changes after which a slot that was meant had another value than in truth."""
        return self.missed / max(self.changes, 1)

    @property
    def context(self) -> float:
        """Mean tokens that a model would be shown at a check."""
        return self.tokens / max(self.checks, 1)

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, name) + getattr(other, name) for name in vars(self)))


def play(
    seed: tuple[int, int], error: float, marks: tuple[int, ...], tokens: bool = True
) -> dict[str, dict[int, Tally]]:
    """One dialogue through every memory: the counts of each after so many turns."""
    arms = {name: make() for name, make in ARMS.items()}
    counts = {name: Tally() for name in arms}
    found: dict[str, dict[int, Tally]] = {name: {} for name in arms}
    for number, turn in enumerate(turns(seed, max(marks), error), start=1):
        for name, arm in arms.items():
            arm.note(turn.text, turn.heard)
            _score(counts[name], arm, turn, tokens)
            if number in marks:
                found[name][number] = replace(counts[name])
    return found


def _score(count: Tally, arm: TaskTracker, turn: Turn, tokens: bool) -> None:
    wrong = any(arm.value(slot) != turn.truth[slot] for slot in turn.about)
    if turn.meant.kind == "check":
        count.checks += 1
        count.wrong += wrong
        count.tokens += word_count(arm.context(turn.about[0])) if tokens else 0
    elif turn.meant.kind not in ("ask", "share"):
        count.changes += 1
        count.missed += wrong
