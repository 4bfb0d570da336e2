"""A debate between agents: each says what it would do and on what it rests, hears the others, and says it again.

Paper: TradingGPT, arXiv 2309.03736, section on inter-agent debate. There the agents are language models which show
their best memories, their action and their reason for the same asset, and revise. Here an agent is anything that takes
a position: a language model with memories of its own (`ChatDebater`), or a function that estimates (`Estimator`).

A debate averages out errors that the agents do not share. It does nothing against one that they do share: agents that
recall from one memory err together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from halflife.agent.derived import with_sources
from halflife.agent.hit import Hit
from halflife.agent.layered import NAME, TOP_K, LayeredMemory
from halflife.errors import InvalidInput
from halflife.llm.client import Chat
from halflife.store.draft import Draft, check_content
from halflife.store.protocol import Added
from halflife.store.trace import Space

ACTIONS = ("buy", "hold", "sell")
ROLE = "debate"  # of the traces that keep what was said in one


@dataclass(frozen=True)
class Position:
    """What an agent would do, and why.

    Parameters
    ----------
    agent: its name.
    action: what it would do.
    confidence: in [0, 1].
    evidence: ids of the memories that it rests on.
    reason: in words.
    estimate: the number behind the action, for an agent that has one.
    """

    agent: str
    action: str
    confidence: float
    evidence: tuple[str, ...] = ()
    reason: str = ""
    estimate: float | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.confidence <= 1.0:
            raise InvalidInput(f"The confidence of {self.agent} must lie in [0, 1], not {self.confidence!r}.")


@runtime_checkable
class Debater(Protocol):
    """An agent in a debate."""

    @property
    def name(self) -> str:
        """Its name, different from the others'."""
        ...

    def position(self, question: str, before: Sequence[Position]) -> Position:
        """What it says in a round; `before` is what all (itself too) said in the last one, empty in the first."""
        ...


@dataclass(frozen=True)
class Debate:
    """Agents that speak in rounds: all at once, so that the order of the agents decides nothing.

    Parameters
    ----------
    agents: who takes part.
    rounds: how often they hear each other and speak again, after the first positions.

    Raises
    ------
    InvalidInput: no agent, two of one name, or a negative number of rounds.

    >>> def agent(name, estimate):
    ...     return Estimator(name, lambda question: Estimate(estimate, confidence=0.5))
    >>> debate = Debate([agent("a", 1.0), agent("b", 0.4), agent("c", -0.8)], rounds=2)
    >>> [(p.agent, p.action, round(p.estimate, 2)) for p in debate.run("Acme?")]
    [('a', 'buy', 0.4), ('b', 'buy', 0.25), ('c', 'sell', -0.05)]
    >>> vote(debate.run("Acme?"))
    'buy'
    """

    agents: Sequence[Debater]
    rounds: int = 2

    def __post_init__(self) -> None:
        names = [agent.name for agent in self.agents]
        if not names or len(set(names)) < len(names):
            raise InvalidInput(f"A debate needs agents with different names, not {names}.")
        if self.rounds < 0:
            raise InvalidInput(f"rounds must not be negative: {self.rounds}.")

    def run(self, question: str) -> list[Position]:
        """The positions at the end, in the order of the agents."""
        return self.transcript(question)[-1]

    def transcript(self, question: str) -> list[list[Position]]:
        """The positions of every round, the first ones before anyone heard the others: `rounds + 1` lists."""
        check_content(question)
        said: list[list[Position]] = [[agent.position(question, ()) for agent in self.agents]]
        for _ in range(self.rounds):
            said.append([agent.position(question, tuple(said[-1])) for agent in self.agents])
        return said


def vote(positions: Sequence[Position], tie: str = "hold") -> str:
    """The action with the most confidence behind it, or `tie` where two have equally much.

    >>> vote([Position("a", "buy", 0.9), Position("b", "sell", 0.5), Position("c", "sell", 0.3)])
    'buy'
    """
    if not positions:
        raise InvalidInput("There is nobody to vote.")
    weight: dict[str, float] = {}
    for position in positions:
        weight[position.action] = weight.get(position.action, 0.0) + position.confidence
    best = max(weight.values())
    first, *others = [action for action, confidence in weight.items() if confidence == best]
    return tie if others else first


def consensus(positions: Sequence[Position]) -> float:
    """The mean of the estimates, weighted by confidence (equally if nobody has any).

    >>> consensus([Position("a", "buy", 0.75, estimate=1.0), Position("b", "sell", 0.25, estimate=-1.0)])
    0.5
    """
    known = [(p.estimate, p.confidence) for p in positions if p.estimate is not None]
    if not known:
        raise InvalidInput("No position has an estimate.")
    total = sum(confidence for _, confidence in known)
    if not total:
        return sum(estimate for estimate, _ in known) / len(known)
    return sum(estimate * confidence for estimate, confidence in known) / total


# -- agents without a language model --------------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """A number, how sure one is of it, and the ids of the memories that it rests on."""

    value: float
    confidence: float
    evidence: tuple[str, ...] = ()


def by_sign(estimate: float) -> str:
    """Buy what is expected to rise, sell what is expected to fall."""
    return "buy" if estimate > 0.0 else "sell" if estimate < 0.0 else "hold"


@dataclass(frozen=True)
class Estimator:
    """An agent that estimates a number, and moves towards the others' in each round.

    Parameters
    ----------
    name: of the agent.
    estimate: its first estimate for a question.
    act: the action that an estimate leads to; `Character.act` for one with an attitude to risk.
    pull: how far it moves, in each round, to the mean of all weighted by confidence: 0 not at all, 1 all the way.
    """

    name: str
    estimate: Callable[[str], Estimate]
    act: Callable[[float], str] = by_sign
    pull: float = 0.5

    def position(self, question: str, before: Sequence[Position]) -> Position:
        """Its first estimate, or its last one moved towards the others'."""
        own = next((p for p in before if p.agent == self.name), None)
        if own is None or own.estimate is None:
            first = self.estimate(question)
            return Position(
                self.name, self.act(first.value), first.confidence, first.evidence, estimate=float(first.value)
            )
        moved = own.estimate + self.pull * (consensus(before) - own.estimate)
        return replace(own, action=self.act(moved), estimate=moved)


def recalled(
    memory: LayeredMemory, space: Space, signal: str = "signal", k_per_layer: int = TOP_K, now: float | None = None
) -> Callable[[str], Estimate]:
    """An estimate from what a layered memory recalls: the mean of a number in its metadata, weighted by recency.

    The confidence is how far the memories agree. Without any, the estimate is 0 and has no confidence.

    Parameters
    ----------
    memory, space: what is asked.
    signal: the key of the metadata with the number, in [-1, 1]; memories without it are passed over.
    """

    def estimate(question: str) -> Estimate:
        hits = [hit for found in memory.query(space, question, k_per_layer, now).values() for hit in found]
        told = [(hit, float(hit.metadata[signal])) for hit in hits if isinstance(hit.metadata.get(signal), int | float)]
        total = sum(hit.retention for hit, _ in told)
        if not total:
            return Estimate(0.0, 0.0)
        value = sum(hit.retention * number for hit, number in told) / total
        return Estimate(value, min(abs(value), 1.0), tuple(hit.id for hit, _ in told))

    return estimate


# -- agents that are language models --------------------------------------------------------------------------


@dataclass
class Answer:
    """What a language model says in a round."""

    action: str
    confidence: float
    evidence: list[int]
    reason: str


class ChatDebater:
    """An agent that is a language model with a layered memory and a character.

    It sees the best memories of each of its layers, and of the others only what they say. The evidence that it may
    name is what it was shown.

    Parameters
    ----------
    name: of the agent.
    memory, space: its memory; the memory's language model speaks.
    character: who it is, in words (`Character.describe`).
    actions: what it may answer.
    k_per_layer: how many memories of each layer it sees.
    now: the moment of asking; the present by default.

    Raises
    ------
    InvalidInput: the memory was opened without a language model.
    """

    def __init__(
        self,
        name: str,
        memory: LayeredMemory,
        space: Space,
        character: str,
        *,
        actions: Sequence[str] = ACTIONS,
        k_per_layer: int = TOP_K,
        now: float | None = None,
    ) -> None:
        if memory.engine.chat is None:
            raise InvalidInput(f"{name} needs a language model.", "Open the memory with llm=..., or use an Estimator.")
        self.name, self.memory, self.space, self.character = name, memory, space, character
        self.actions, self.k_per_layer, self.now = tuple(actions), k_per_layer, now
        self._chat: Chat = memory.engine.chat

    def position(self, question: str, before: Sequence[Position]) -> Position:
        """What the model answers. Raises `UnusableAnswer` if that is of no use even after a repair."""
        hits = [hit for found in self._recall(question).values() for hit in found]

        def check(answer: Answer) -> None:
            if answer.action not in self.actions:
                raise ValueError(f"action is {answer.action!r}, but it must be one of {', '.join(self.actions)}.")
            if not 0.0 <= answer.confidence <= 1.0:
                raise ValueError(f"confidence is {answer.confidence:g}, but it must lie between 0 and 1.")
            if not set(answer.evidence) <= set(range(1, len(hits) + 1)):
                raise ValueError(f"evidence may only hold numbers from 1 to {len(hits)}: the memories shown.")

        own = next((p for p in before if p.agent == self.name), None)
        answer = self._chat.ask(
            "layered.debate",
            Answer,
            check=check,
            character=self.character,
            question=question,
            memories=[f"[{hit.trace.layer}, {hit.at.date()}] {hit.text}" for hit in hits],
            before=_said(own) if own else "",
            others=[_said(p) for p in before if p.agent != self.name],
            actions=list(self.actions),
        )
        evidence = tuple(hits[number - 1].id for number in dict.fromkeys(answer.evidence))
        return Position(self.name, answer.action, answer.confidence, evidence, answer.reason.strip())

    def _recall(self, question: str) -> dict[str, list[Hit]]:
        return self.memory.query(self.space, question, self.k_per_layer, self.now)


def _said(position: Position) -> str:
    return f"{position.agent}: {position.action}, confidence {position.confidence:.2f}. {position.reason}".strip()


# -- the record -----------------------------------------------------------------------------------------------


def record(
    memory: LayeredMemory, space: Space, question: str, positions: Sequence[Position], now: float | None = None
) -> list[Added]:
    """Keep what was said in a debate, in the deepest layer.

    Each record is derived from the evidence of all, for each agent heard the others: forget one of these memories, and
    every record goes with it. Evidence must be in the same space.

    Raises
    ------
    UnknownTrace: evidence of another space, or forgotten meanwhile; then nothing is kept.

    >>> from halflife import Memory
    >>> memory = Memory(embedder="hash", system="layered")
    >>> [news] = memory.add("Acme has a new mine.", metadata={"signal": 1.0})
    >>> debate = Debate([Estimator("ann", recalled(memory.system, Space.of()))])
    >>> _ = record(memory.system, Space.of(), "Acme?", debate.run("Acme?"))
    >>> [hit.text for hit in memory.search("Acme", filters={"role": "debate"})]
    ['On "Acme?", ann said: buy, confidence 1.00.']
    >>> _ = memory.forget(news.id)
    >>> memory.search("Acme")
    []
    """
    now = memory.engine.clock() if now is None else now
    evidence = tuple(dict.fromkeys(id for position in positions for id in position.evidence))
    drafts = [
        Draft(
            f'On "{question}", {position.agent} said: {_said(position).partition(": ")[2]}',
            now,
            role=ROLE,
            layer=memory.layers.names[-1],
            metadata=with_sources({"source": "reflection", "action": position.action}, evidence),
            sources=evidence,
            system=NAME,
        )
        for position in positions
    ]
    return memory.write(space, drafts, now)
