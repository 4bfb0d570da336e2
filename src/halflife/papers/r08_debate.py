"""TradingGPT's debate, simulated: what it gains where errors are shared a little, much, or altogether (C)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from halflife import Memory
from halflife.agent.debate import Debate, Estimate, Estimator, consensus, recalled
from halflife.agent.layered import LayeredMemory
from halflife.agent.trading import Character, Risk
from halflife.decay import DAY
from halflife.store.trace import Space

RISKS: tuple[Risk, ...] = ("seeking", "neutral", "averse")
PULL, ROUNDS = 0.5, 2
Misled: TypeAlias = Literal["nobody", "one agent", "all agents"]
MISLED: tuple[Misled, ...] = ("nobody", "one agent", "all agents")


@dataclass(frozen=True)
class Errors:
    """Mean absolute errors: of the agents before the debate, of the agents after it, and of what it comes to."""

    alone: float
    after: float
    debate: float


def errors(correlation: float, seed: int, questions: int = 300) -> Errors:
    """Three characters estimate a number, each with noise of unit variance, correlated between them, and debate it.

    Confidence is drawn between 0.3 and 1 and says nothing about the noise.

    >>> few = errors(0.0, seed=0, questions=50)
    >>> few.debate < few.alone
    True
    """
    rng = np.random.default_rng([seed, 81])
    truth = rng.normal(size=questions)
    shared, own = rng.normal(size=(questions, 1)), rng.normal(size=(questions, 3))
    noisy = truth[:, None] + np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own
    confidence = rng.uniform(0.3, 1.0, size=noisy.shape)

    def estimator(agent: int) -> Estimator:
        def estimate(question: str) -> Estimate:
            return Estimate(float(noisy[int(question), agent]), float(confidence[int(question), agent]))

        return Estimator(RISKS[agent], estimate, Character(RISKS[agent]).act, PULL)

    debate = Debate([estimator(agent) for agent in range(3)], ROUNDS)
    alone, after, joint = [], [], []
    for i, true in enumerate(truth):
        said = debate.transcript(str(i))
        alone.append(np.mean([abs((p.estimate or 0.0) - true) for p in said[0]]))
        after.append(np.mean([abs((p.estimate or 0.0) - true) for p in said[-1]]))
        joint.append(abs(consensus(said[-1]) - true))
    return Errors(float(np.mean(alone)), float(np.mean(after)), float(np.mean(joint)))


@dataclass(frozen=True)
class Misleading:
    """Share of assets with the right sign in the end: with a wrong memory planted, and after it was forgotten."""

    planted: float
    forgotten: float


def misleading(misled: Misled, seed: int, assets: int = 20) -> Misleading:
    """Each agent has a layered memory with five events of its own about each asset; some get a wrong one besides.

    An event tells the truth, weakly, in three cases of four (`signal` 0.3 or -0.3); the planted one tells the opposite
    of the truth, strongly, and is written into the long layer.
    """
    rng = np.random.default_rng([seed, 82])
    truth = rng.choice([-1.0, 1.0], assets)
    right = rng.random((3, assets, 5)) < 0.75
    with Memory(embedder="hash", system="layered", clock=lambda: 0.0) as memory:
        assert isinstance(memory.system, LayeredMemory)
        spaces = [Space.of(risk) for risk in RISKS]
        planted: list[str] = []
        for agent, space in enumerate(spaces):
            memory.add_many(
                [
                    _item(asset, f"report {i}", 0.3 * (1 if right[agent, asset, i] else -1) * truth[asset])
                    for asset in range(assets)
                    for i in range(5)
                ],
                user_id=space.user_id,
            )
            if misled == "all agents" or (misled == "one agent" and agent == 0):
                wrong = [{**_item(asset, "a rumour", -truth[asset]), "layer": "long"} for asset in range(assets)]
                planted += [added.id for added in memory.add_many(wrong, user_id=space.user_id)]
        agents = [
            Estimator(risk, recalled(memory.system, space, k_per_layer=5, now=DAY), Character(risk).act, PULL)
            for risk, space in zip(RISKS, spaces, strict=True)
        ]
        before = _right(agents, truth)
        if planted:
            memory.forget(planted)
        return Misleading(before, _right(agents, truth))


def _item(asset: int, what: str, signal: float) -> dict[str, object]:
    return {"text": f"{_name(asset)}: {what}.", "metadata": {"signal": float(signal)}}


def _name(asset: int) -> str:
    """A name that shares no word with another, so that an asset is found by it."""
    return f"asset{asset}x{asset * 7919 % 1000}"


def _right(agents: Sequence[Estimator], truth: np.ndarray) -> float:
    debate = Debate(agents, ROUNDS)
    reached = [consensus(debate.run(f"{_name(asset)}?")) for asset in range(len(truth))]
    return float(np.mean(np.sign(reached) == truth))
