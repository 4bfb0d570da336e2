"""A learned policy as a trace: its weights, what it was trained on, and the version of the bank that it belongs to.

Paper: "AgentFly: Fine-tuning LLM Agents without Fine-tuning LLMs" (Memento), arXiv 2508.16153.

Its sources are the cases that it was trained on, so that a policy which learned from a case that is erased can be
told from one that did not: it is erased too, and trained anew from what is left.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load, save

from halflife.agent.cases_case import NAME
from halflife.agent.cases_head import Features
from halflife.agent.cases_index import Transitions
from halflife.agent.cases_policy import Fitted, NeuralCasePolicy
from halflife.agent.derived import with_sources
from halflife.errors import CorruptStore, InvalidInput
from halflife.store.draft import Draft
from halflife.store.filters import parse
from halflife.store.trace import Trace

CHECKPOINTS = parse({"system": NAME, "kind": "parameter"})


@dataclass(frozen=True)
class Learning:
    """How a policy is trained from a bank.

    Parameters
    ----------
    features, hidden, alpha: see `NeuralCasePolicy`.
    epochs, batch, rate, decay, dropout: see `NeuralCasePolicy.fit`.
    after: rows of experience from which it is worth training.
    seed: of the first weights and the order of training: the same experience gives the same policy.
    """

    features: Features = "compare"
    hidden: int = 64
    alpha: float = 0.5
    epochs: int = 30
    batch: int = 32
    rate: float = 2e-3
    decay: float = 0.01
    dropout: float = 0.2
    after: int = 200
    seed: int = 0

    def policy(self, dim: int) -> NeuralCasePolicy:
        """A policy that has learned nothing yet, for vectors of this length."""
        return NeuralCasePolicy(
            dim, self.hidden, features=self.features, alpha=self.alpha, decay=self.decay, seed=self.seed
        )


def tag_of(rows: Transitions, ns: Sequence[int], learning: Learning) -> str:
    """A short name of the experience and of the way to learn from it: the same name, the same policy.

    `ns` are the numbers of the table's rows.
    """
    lines = sorted(zip(rows.states.tolist(), rows.cases.tolist(), rows.rewards.tolist(), strict=True))
    named = [(ns[state], ns[case], reward) for state, case, reward in lines]
    return hashlib.blake2b(f"{sorted(named)}{asdict(learning)}".encode(), digest_size=8).hexdigest()


def draft_of(
    policy: NeuralCasePolicy, fitted: Fitted, sources: Sequence[str], about: dict[str, Any], now: float
) -> Draft:
    """A policy as it is kept.

    Parameters
    ----------
    sources: ids of the cases that it was trained on.
    about: the vector space, the version of the bank, and the tag of the experience; it is in the weights' file too.
    """
    settings = {"features": policy.features, "hidden": policy.hidden, "alpha": policy.alpha, "dim": policy.dim}
    measured = {"rows": fitted.rows, "auc": None if fitted.auc != fitted.auc else fitted.auc}
    return Draft(
        "",
        now,
        kind="parameter",
        metadata=with_sources({**settings, **measured, **about}, sources),
        sources=tuple(dict.fromkeys(sources)),
        system=NAME,
        payload=save(policy.weights, {name: str(value) for name, value in about.items()}),
    )


def read(trace: Trace, payload: bytes) -> NeuralCasePolicy:
    """The policy in a trace. Raises `CorruptStore` if it is none."""
    m = trace.metadata
    try:
        return NeuralCasePolicy(
            m["dim"], m["hidden"], features=m["features"], alpha=m["alpha"], weights=dict(load(payload))
        )
    except (SafetensorError, InvalidInput, KeyError) as error:
        raise CorruptStore(f"The policy {trace.id} cannot be read: {error}.", "Forget it, and consolidate.") from None
