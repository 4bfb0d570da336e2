"""Memento (AgentFly) on the engine: a bank of cases, and a policy that chooses among them.

Paper: "AgentFly: Fine-tuning LLM Agents without Fine-tuning LLMs" (Memento), arXiv 2508.16153.

Implemented: the case bank (`cases_bank`); choice by similarity and by a learned value (`cases_policy`), trained from
experience when the memory sleeps, or online (`cases_mdp`); the multi-step form (`cases_kernel`); an agent that plans
with a language model, positive and negative examples in view (`cases_agent`). Not implemented: training of the
encoder with the head (the vectors are those of the store's embedder), and the tools of the released agent.

Where this differs from the released code: a case met again is one case with a mean reward, not two rows; similarity
is over states alone, and so is the learned value, which sees a plan by its rewards; the vectors of cases are kept
instead of being made anew for every query; what a policy learns from is kept as ids and rewards beside the case that
they belong to, and leaves with the cases that are erased.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from halflife.agent import cases_checkpoint as checkpoints
from halflife.agent.cases_bank import POOL, CaseBank
from halflife.agent.cases_case import NAME, Case
from halflife.agent.cases_checkpoint import CHECKPOINTS, Learning
from halflife.agent.cases_index import CaseIndex
from halflife.agent.cases_policy import CasePolicy, How, NeuralCasePolicy, SimilarityPolicy
from halflife.agent.cases_replay import pairs_of
from halflife.agent.derived import erase_stale
from halflife.agent.engine import Engine
from halflife.agent.hit import Hit
from halflife.decay.law import Array
from halflife.errors import InvalidInput
from halflife.store.draft import Draft
from halflife.store.erase import ErasureReport, erase
from halflife.store.filters import ALL, Filter, parse
from halflife.store.protocol import Added, Why
from halflife.store.trace import Space

Choice: TypeAlias = Literal["similarity", "learned"]
Keep: TypeAlias = Literal["age", "value"]

_STATES_WEIGHED = 256  # the utility of a case is its mean value in so many of the latest states


class CaseMemory:
    """A memory of what was tried and how it turned out.

    A case is written like any memory: the state is the text, `plan` and `reward` are in its metadata.

    Parameters
    ----------
    engine: what it is built on.
    policy: `similarity`, or `learned`: by the value that was learned in each space, and by similarity until there is
        one.
    learning: how that is trained.
    pool: how many of the nearest cases it weighs.
    capacity: active cases of a space; `consolidate` archives what is beyond. None: no bound.
    keep: by what they are kept: `age` (the latest), or `value` (the mean learned value, or the mean reward while
        there is none).

    Raises
    ------
    InvalidInput: an unknown policy or rule, or a capacity or pool below 1.

    >>> from halflife import Memory
    >>> memory = Memory(embedder="hash", system="cases")
    >>> for question, plan, reward in (
    ...     ("Who directed Alien?", ["Search for the film.", "Read who directed it."], 1),
    ...     ("Who wrote Alien?", ["Guess."], 0),
    ... ):
    ...     _ = memory.add(question, metadata={"plan": plan, "reward": reward})
    >>> follow, avoid = memory.system.retrieve(Space.of(), "Who directed Heat?")
    >>> print(follow[0].action)
    1. Search for the film.
    2. Read who directed it.
    >>> avoid[0].action
    '1. Guess.'
    """

    def __init__(
        self,
        engine: Engine,
        *,
        policy: Choice = "similarity",
        learning: Learning | None = None,
        pool: int = POOL,
        capacity: int | None = None,
        keep: Keep = "age",
    ) -> None:
        for what, value, known in (("policy", policy, get_args(Choice)), ("keep", keep, get_args(Keep))):
            if value not in known:
                raise InvalidInput(f"{what} is {value!r}.", f"Use one of {', '.join(known)}.")
        if capacity is not None and capacity < 1:
            raise InvalidInput(f"capacity is {capacity}.", "Keep one case or more, or give no bound.")
        self.engine, self.choice, self.learning = engine, policy, learning or Learning()
        self.learning.policy(engine.embedder.dim)  # refuses what is wrong
        self.pool, self.capacity, self.keep = pool, capacity, keep
        self._banks: dict[str, CaseBank] = {}
        self._policies: dict[str, tuple[str, NeuralCasePolicy]] = {}  # space -> id of the checkpoint, and what it holds
        self._lock = threading.RLock()
        self.bank(Space.of())  # refuses what is wrong

    def bank(self, space: Space) -> CaseBank:
        """The cases of a space."""
        with self._lock:
            return self._banks.setdefault(space.name, CaseBank(self.engine, space, pool=self.pool))

    # -- writing ----------------------------------------------------------------------------------------------

    def write(self, space: Space, drafts: Sequence[Draft], now: float) -> list[Added]:
        """Keep cases; see `CaseBank.write`."""
        return self.bank(space).write(drafts, now)

    # -- recall -----------------------------------------------------------------------------------------------

    def recall(
        self, space: Space, query: str, k: int, now: float, *, where: Filter = ALL, reinforce: bool = True
    ) -> list[Hit]:
        """The k cases that the policy prefers for a state, whatever came of them: see `hit.metadata["case_label"]`.

        The score is the cosine, or the chance of success that the learned policy sees.
        """
        policy = self.policy(space)
        found = self.bank(space).ranked(query, k, policy, where=where)
        traces = [trace for trace, _ in found]
        shown = policy.shown(np.array([score for _, score in found])).tolist()
        hits = [
            Hit(trace, score, left, {policy.name: score}, 1.0, 0.0)
            for trace, score, left in zip(traces, shown, self.engine.retention(traces, now), strict=True)
        ]
        if reinforce and hits:
            self.engine.store.reinforce([hit.id for hit in hits], now)
        return hits

    def retrieve(
        self,
        space: Space,
        state: str,
        k: int = 4,
        policy: CasePolicy | None = None,
        *,
        split_by_reward: bool = True,
        where: Filter = ALL,
        how: How = "greedy",
        seed: int | np.random.Generator = 0,
    ) -> tuple[list[Case], list[Case]]:
        """Examples to follow and examples to avoid, by the policy of the memory unless given.

        See `CaseBank.retrieve`.
        """
        return self.bank(space).retrieve(
            state, k, policy or self.policy(space), split_by_reward=split_by_reward, where=where, how=how, seed=seed
        )

    # -- the policy -------------------------------------------------------------------------------------------

    def policy(self, space: Space) -> CasePolicy:
        """What ranks the cases of a space now."""
        learned = self.learned(space) if self.choice == "learned" else None
        return learned or SimilarityPolicy()

    def learned(self, space: Space) -> NeuralCasePolicy | None:
        """The policy that was learned in a space; None if there is none, or it belongs to another embedder."""
        if self.engine.store.space_id(space) is None:
            return None
        bank = self.bank(space)
        with bank.lock:
            kept = bank.index().checkpoint
        if kept is None or kept.metadata.get("embedder") != self.engine.embedder.fingerprint:
            return None
        with self._lock:
            known = self._policies.get(space.name)
            if known is None or known[0] != kept.id:
                known = kept.id, checkpoints.read(kept, self.engine.store.payload(kept.id))
                self._policies[space.name] = known
            return known[1]

    def retrain(self, space: Space, now: float) -> Mapping[str, Any]:
        """Train the policy of a space from all experience that is left, from the start, and keep it.

        Returns a report: `trained` (the id, or None), `why` nothing was trained, else `rows`, `loss` and `auc` (on a
        tenth held out; None where all labels are the same).
        """
        learning, bank, store = self.learning, self.bank(space), self.engine.store
        with bank.lock:
            index = bank.index()
            rows, version, kept = index.transitions(), index.op, index.checkpoint
            table = index.table()
            about = {
                "embedder": self.engine.embedder.fingerprint,
                "bank": version,
                "experience": checkpoints.tag_of(rows, table.n.tolist(), learning),
            }
            sources = index.ids(table.n[np.unique(np.concatenate([rows.states, rows.cases]))])
            pairs = pairs_of(index, rows)
        if len(rows) < learning.after:
            return {"trained": None, "why": f"{len(rows)} rows of experience; it takes {learning.after}"}
        if kept is not None and all(kept.metadata.get(name) == about[name] for name in ("embedder", "experience")):
            return {"trained": None, "why": "no new experience"}
        policy = learning.policy(self.engine.embedder.dim)
        fitted = policy.fit(
            pairs, rows.rewards, epochs=learning.epochs, batch=learning.batch, rate=learning.rate,
            dropout=learning.dropout,
        )  # fmt: skip
        draft = checkpoints.draft_of(policy, fitted, sources, about, now)
        with store.transaction():
            [added] = store.add(space, [draft], Why("train", NAME), now)
            kept_ones = store.find(space, CHECKPOINTS & parse({"status": "active"}))
            if old := [trace.id for trace in kept_ones if trace.id != added.id]:
                store.set_status(old, "retired", Why("train", NAME, "trained anew"), now)
        auc = None if np.isnan(fitted.auc) else fitted.auc
        return {"trained": added.id, "rows": fitted.rows, "loss": fitted.loss, "auc": auc}

    # -- consolidation ----------------------------------------------------------------------------------------

    def consolidate(self, space: Space, now: float) -> Mapping[str, Any]:
        """Train the policy if there is new experience, enough of it; then archive what is beyond the capacity.

        The report is that of `retrain`, with `archived` (ids), `operations` and `failed`.
        """
        store = self.engine.store
        report: dict[str, Any] = {"trained": None, "why": "nothing was ever written here"}
        archived: list[str] = []
        before = store.last_op()
        if store.space_id(space) is not None:
            self._drop_old(space, now)
            before = store.last_op()
            report = dict(self.retrain(space, now))
            archived = self._archive(space, now)
        return {
            **report,
            "archived": archived,
            "operations": list(range(before + 1, store.last_op() + 1)),
            "failed": [],
        }

    def _drop_old(self, space: Space, now: float) -> None:
        """Of the policies that were replaced, only the last is kept, for an undo."""
        old = self.engine.store.find(space, CHECKPOINTS & parse({"status": "retired"}))
        if gone := sorted(trace.id for trace in old)[:-1]:
            erase(self.engine.store, gone, Why("forget", NAME, "replaced twice"), now)
            self.engine.drop(space)

    def _archive(self, space: Space, now: float) -> list[str]:
        bank = self.bank(space)
        with bank.lock:
            index = bank.index()
            ns = index.table().n
            if self.capacity is None or len(ns) <= self.capacity:
                return []
            order = np.lexsort((ns, self._utility(space, index)))
            ids = index.ids(ns[order[: len(ns) - self.capacity]])
        self.engine.store.set_status(ids, "archived", Why("archive", NAME, f"beyond capacity, by {self.keep}"), now)
        return ids

    def _utility(self, space: Space, index: CaseIndex) -> Array:
        """What each case is worth keeping for; equals are kept by age."""
        table = index.table()
        policy = self.learned(space)
        if self.keep == "age":
            return np.zeros(len(table))
        if policy is None:
            return np.nan_to_num(table.rewards, nan=0.5)
        latest = np.argsort(table.n)[-_STATES_WEIGHED:]
        total = np.zeros(len(table))
        for state in table.vectors[latest]:
            total += policy.shown(policy.score(state, table))
        return total / len(latest)

    def mend(self, space: Space, now: float) -> list[ErasureReport]:
        """After an erasure: the policies that learned from what is gone go too, and its rows of experience with it."""
        reports = erase_stale(self.engine, space, CHECKPOINTS, NAME, now)
        self.bank(space).drop_rows(now)
        return reports
