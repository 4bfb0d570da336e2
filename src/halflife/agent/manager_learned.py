"""A memory manager learned by reinforcement, in numpy: a small network over relations of fact and entry.

Paper: Memory-R1, arXiv 2508.19828, whose manager is a language model of 7 or 8 billion parameters. Here it is a
network of a few thousand, trained on the same reward (the answers of a frozen reader from the updated bank) by
`halflife.papers.r65_train`, which writes the file of weights that ships with the package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from halflife.agent.facts import Fact
from halflife.agent.manager import ACTS, Candidate, Choice, plans
from halflife.agent.manager_features import FACT_FEATURES, PAIR_FEATURES, features, touchable
from halflife.errors import ModelCorrupt

Floats = NDArray[np.float32]
SHIPPED = "memory-r1-manager.safetensors"


class Network:
    """Logits of all actions: one hidden layer over each pair, and the pooled pairs beside the fact for ADD and NOOP.

    h_j = relu(W_in [pair_j; fact] + b_in), or 0 for an entry that is about others alone;
    acts_j = W_act h_j + b_act; free = W_pool max_j h_j + W_fact fact + b_free

    Parameters
    ----------
    weights: `in.weight` [H, P + F], `in.bias` [H], `act.weight` [3, H], `act.bias` [3], `pool.weight` [2, H],
        `fact.weight` [2, F], `fact.bias` [2], for P features of a pair and F of a fact.

    Raises
    ------
    ModelCorrupt: a weight is missing, not finite, or has another shape.
    """

    def __init__(self, weights: Mapping[str, Floats]) -> None:
        p, f, a = len(PAIR_FEATURES), len(FACT_FEATURES), len(ACTS)
        hidden = len(weights.get("in.bias", ()))
        shapes = {
            "in.weight": (hidden, p + f), "in.bias": (hidden,), "act.weight": (a, hidden), "act.bias": (a,),
            "pool.weight": (2, hidden), "fact.weight": (2, f), "fact.bias": (2,),
        }  # fmt: skip
        for name, shape in shapes.items():
            if name not in weights or weights[name].shape != shape or not np.isfinite(weights[name]).all():
                raise ModelCorrupt(
                    f"The weights of the memory manager have no {name} of the shape {shape}.",
                    "Train them anew with this version: python -m halflife.papers.r65_train",
                )
        self._w = {name: np.asarray(weights[name], np.float32) for name in shapes}

    def logits(self, of_fact: Floats, of_pairs: Floats) -> Floats:
        """Of ADD, NOOP, and the three acts on each candidate: [2 + 3 n], minus infinity where it may not be touched."""
        w, there = self._w, touchable(of_pairs)
        both = np.concatenate([of_pairs, np.broadcast_to(of_fact, (len(of_pairs), len(of_fact)))], axis=1)
        hidden = np.maximum(both @ w["in.weight"].T + w["in.bias"], 0.0) * there[:, None]
        pooled = hidden.max(axis=0) if len(hidden) else np.zeros(len(w["in.bias"]), np.float32)
        free = w["pool.weight"] @ pooled + w["fact.weight"] @ of_fact + w["fact.bias"]
        acts = np.where(there[:, None], hidden @ w["act.weight"].T + w["act.bias"], -np.inf)
        out: Floats = np.concatenate([free, acts.ravel()]).astype(np.float32)
        return out


class LearnedManager:
    """A `ManagerPolicy` with learned weights.

    Parameters
    ----------
    weights: a safetensors file, or the network itself; None takes the weights that ship with the package.

    Raises
    ------
    ModelCorrupt: the file is no file of weights for this version.

    >>> manager = LearnedManager()
    >>> known = [Candidate("e1", "Anna lives in Oslo.", 0.8)]
    >>> choices = manager.act(Fact("Anna lives in Bergen.", "I moved to Bergen."), known, size=1)
    >>> choices[0].ops[0].kind, choices[0].ops[0].text
    ('UPDATE', 'Anna lives in Bergen.')
    """

    def __init__(self, weights: str | Path | Network | None = None) -> None:
        if weights is None:
            weights = _shipped()
        self._network = weights if isinstance(weights, Network) else _read(Path(weights).read_bytes())

    def act(self, fact: Fact, candidates: Sequence[Candidate], size: int) -> list[Choice]:
        """All legal actions by their probability; the first is what the greedy manager does.

        Without an entry there are only ADD and NOOP, and an entry that is about others alone is left as it is.
        """
        logits = self._network.logits(*features(fact, candidates, size))
        odds = np.exp(logits - logits.max())
        odds /= odds.sum()
        made = plans(fact, candidates)
        return [Choice((made[i],), float(odds[i])) for i in np.argsort(-odds, kind="stable") if np.isfinite(logits[i])]


def _read(data: bytes) -> Network:
    try:
        return Network(load(data))
    except SafetensorError as error:
        raise ModelCorrupt(
            f"The weights of the memory manager cannot be read ({error}).", "Install the package anew."
        ) from None


@cache
def _shipped() -> Network:
    return _read(files("halflife.agent").joinpath("weights", SHIPPED).read_bytes())
