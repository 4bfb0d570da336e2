"""The four dialogues of the Task Memory Engine with gold states written by hand, and four that the rules had not seen.

The turns themselves are read from the data (`tme_cases`); here is what should be true after each of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from halflife.agent.task_baselines import FlatHistory, ReActHistory
from halflife.agent.task_engine import feasible
from halflife.agent.task_forest import Forest
from halflife.agent.task_intents import RuleIntents
from halflife.agent.task_ops import Op, apply, judge
from halflife.agent.task_parts import RuleDecomposer
from halflife.llm.embedder import Embedder
from halflife.papers.data import data_file, read_json

State: TypeAlias = dict[str, str]
FOLDER = "tme_cases"
CASES = ("cart_editing", "meeting_scheduling", "trip_planning", "cooking")


@dataclass(frozen=True)
class Gold:
    """What should be so after one turn.

    Parameters
    ----------
    state: the value of every slot.
    answer: of a check, whether it holds; of a question, the values asked for; None if nothing was asked.
    conflicts: slots whose value the turn takes for another.
    """

    state: State
    answer: bool | State | None = None
    conflicts: frozenset[str] = frozenset()


_CART = {f"cart/{thing}": "1" for thing in ("black iPhone case", "clear iPhone case", "charger", "MacBook stand")}
_KEPT = {f"cart/{thing}": "1" for thing in ("charger", "MacBook stand")}
_MEETING = {"team meeting/day": "Thursday", "team meeting/with": "Alice, Bob, and Carol"}
_TRIP = {"trip/destination": "Seattle", "trip/start": "Chicago", "trip/date": "June 10th"}
_LATER = {**_TRIP, "trip/date": "June 15th"}
_FOUND = {**_LATER, "trip/hotel": "near downtown"}
_SOUP = {"soup/celery": "wash and chop"}
_BOTH = {**_SOUP, "dumplings/tomatoes": "chop", "dumplings/shrimp": "peel & chop"}
_SHARED = {**_BOTH, "dumplings/celery": "use"}
_INSTEAD = {slot.replace("celery", "mushrooms"): value for slot, value in _SHARED.items()}

GOLD: Mapping[str, tuple[Gold, ...]] = {
    "cart_editing": (
        Gold(_CART),
        Gold(dict.fromkeys(("cart/black iPhone case", "cart/MacBook stand"), "1")),
        Gold(_KEPT),
        Gold(_KEPT, _KEPT),
        Gold(_KEPT),
    ),
    "meeting_scheduling": (
        Gold({**_MEETING, "team meeting/time": "2 PM"}),
        Gold({**_MEETING, "team meeting/time": "4 PM"}),
        Gold({**_MEETING, "team meeting/part 1": "Bob from 2 to 2:45", "team meeting/part 2": "the rest at 4"}),
        Gold({**_MEETING, "team meeting/time": "3 PM"}),
        Gold({**_MEETING, "team meeting/time": "3 PM"}, {**_MEETING, "team meeting/time": "3 PM"}),
    ),
    "trip_planning": (
        Gold({}),
        Gold({"trip/destination": "Seattle"}),
        Gold({"trip/destination": "Seattle", "trip/start": "Chicago"}),
        Gold(_TRIP),
        Gold({**_TRIP, "trip/destination": "San Francisco"}),
        Gold({**_LATER, "trip/destination": "San Francisco"}),
        Gold(_LATER),
        Gold(_FOUND),
        Gold(_FOUND, False),
        Gold(_FOUND, conflicts=frozenset(("trip/start", "trip/destination", "trip/date"))),
        Gold(_FOUND, _FOUND),
    ),
    "cooking": (
        Gold(_SOUP),
        Gold(_BOTH),
        Gold(_SHARED),
        Gold(_INSTEAD),
        Gold(_INSTEAD, {"soup/mushrooms": "wash and chop"}),
        Gold(_INSTEAD, False),
        Gold(_INSTEAD, False),
    ),
}

# Written after the rules were, and run as it is: what they understand of dialogues that they were not made for. Each
# turn with the values that change; None: the slot is gone.
UNSEEN: Mapping[str, tuple[tuple[str, Mapping[str, str | None]], ...]] = {
    "moving": (
        ("Plan a move on Saturday at 8 AM.", {"move/day": "Saturday", "move/time": "8 AM"}),
        ("van: We need the large one.", {"move/van": "large one"}),
        ("Actually, could you push it to Sunday?", {"move/day": "Sunday"}),
        ("Is the van the small one?", {}),
        ("We no longer need the van.", {"move/van": None}),
        ("Hmm, Saturday was better after all.", {"move/day": "Saturday"}),
    ),
    "playlist": (
        ("Put three waltzes and a tango on the playlist.", {"playlist/waltz": "3", "playlist/tango": "1"}),
        ("Swap the tango for a samba.", {"playlist/tango": None, "playlist/samba": "1"}),
        ("Make it five waltzes.", {"playlist/waltz": "5"}),
        ("What have we got so far?", {}),
        ("Undo the last change.", {"playlist/waltz": "3"}),
        ("Drop the samba.", {"playlist/samba": None}),
    ),
    "interview": (
        (
            "Arrange an interview with Dana on May 3 at 10 AM.",
            {"interview/with": "Dana", "interview/day": "May 3", "interview/time": "10 AM"},
        ),
        ("room: It should be the blue room.", {"interview/room": "blue room"}),
        ("Dana asked for the afternoon, so 3 PM.", {"interview/time": "3 PM"}),
        ("room: Make that the red room.", {"interview/room": "red room"}),
        ("Set the room back to what it was.", {"interview/room": "blue room"}),
        ("Change the time to 2 PM, and move the day to May 4.", {"interview/time": "2 PM", "interview/day": "May 4"}),
    ),
    "garden": (
        ("For the shed, sand the door and paint the roof.", {"shed/door": "sand", "shed/roof": "paint"}),
        ("For the fence, scrub and paint the posts.", {"fence/posts": "scrub and paint"}),
        ("The colour is green.", {"fence/colour": "green"}),
        ("Leave out the roof.", {"shed/roof": None}),
        ("Use rails instead of posts.", {"fence/posts": None, "fence/rails": "scrub and paint"}),
        ("Bring the roof back.", {"shed/roof": "paint"}),
    ),
}


@dataclass
class Outcome:
    """How one memory did on one dialogue: turns with the right state, right answers, and conflicts reported."""

    turns: int = 0
    states: int = 0
    asked: int = 0
    answers: int = 0
    conflicts: int = 0
    wrong: list[int] = field(default_factory=list)


def dialogue(name: str) -> list[str] | None:
    """The turns of a case, or None if the data are not there."""
    path = data_file(FOLDER, f"{name}_case.json")
    return None if path is None else [str(turn) for turn in read_json(path)]


def unseen(name: str) -> tuple[list[str], list[Gold]]:
    """The turns of a dialogue that the rules were not made for, and what should be true after each."""
    turns, gold, state = list[str](), list[Gold](), State()
    for turn, changes in UNSEEN[name]:
        merged = {**state, **changes}
        state = {slot: value for slot, value in merged.items() if value is not None}
        turns.append(turn)
        gold.append(Gold(state))
    return turns, gold


def graphs(turns: Sequence[str], embedder: Embedder | None = None) -> list[tuple[Forest, list[Op]]]:
    """The task graph after each turn, read by rule, and what the turn asked."""
    forest, found = Forest(), []
    for number, turn in enumerate(turns, start=1):
        ops = RuleIntents(embedder).read(RuleDecomposer().split(turn), forest)
        for op in feasible(ops, forest)[0]:
            apply(forest, op, str(number))
        found.append((forest.copy(), ops))
    return found


def score_graph(turns: Sequence[str], gold: Sequence[Gold], embedder: Embedder | None = None) -> Outcome:
    """The task graph on a case: states, answers and conflicts."""
    done = Outcome(len(turns))
    for number, ((forest, ops), right) in enumerate(zip(graphs(turns, embedder), gold, strict=True), start=1):
        _count(done, number, forest.state() == right.state)
        if right.answer is not None:
            done.asked += 1
            done.answers += _answer(forest, ops) == right.answer
        if right.conflicts:
            done.conflicts += {op.slot for op in ops if op.kind == "conflict"} == right.conflicts
    return done


def score_linear(memory: FlatHistory | ReActHistory, turns: Sequence[str], states: Sequence[State]) -> Outcome:
    """A linear memory on a case: states alone, and without the tasks, which it does not keep."""
    done = Outcome(len(turns))
    for number, (turn, right) in enumerate(zip(turns, states, strict=True), start=1):
        memory.turn(turn)
        _count(done, number, _untasked(memory.state()) == _untasked(right))
    return done


def _untasked(state: State) -> list[tuple[str, str]]:
    return sorted((slot.rpartition("/")[2], value) for slot, value in state.items())


def _count(done: Outcome, number: int, right: bool) -> None:
    done.states += right
    done.wrong += [] if right else [number]


def _answer(forest: Forest, ops: Sequence[Op]) -> bool | State | None:
    """What the graph answers: to a check whether it holds, to questions the values of what is asked for."""
    checks = [op for op in ops if op.kind == "check"]
    if checks:
        return judge(forest, checks[0]).holds
    nodes = [node for op in ops if op.kind == "ask" for node in forest.subtree(op.path)]
    return {forest.address(node): node.value for node in nodes if node.value is not None} or None
