"""The case bank of one space: retain and retrieve.

Paper: "AgentFly: Fine-tuning LLM Agents without Fine-tuning LLMs" (Memento), arXiv 2508.16153.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from halflife.agent.cases_case import (
    NAME,
    Case,
    Run,
    case_of,
    check_reward,
    draft_of,
    read_draft,
    split_text,
    with_runs,
    without,
)
from halflife.agent.cases_index import CaseIndex, CaseTable
from halflife.agent.cases_policy import CasePolicy, How, SimilarityPolicy, choose
from halflife.agent.engine import Engine
from halflife.decay.law import Array
from halflife.errors import InvalidInput
from halflife.store.draft import Draft, check_content
from halflife.store.filters import ALL, Filter, parse
from halflife.store.protocol import Added, Why
from halflife.store.trace import Space, Trace

POOL = 4096  # nearest cases that a learned policy weighs; all of them in a bank that has no more
K = 4
_OUT_OF_USE = parse({"runs": "*", "status": {"ne": "active"}})


class CaseBank:
    """Cases of one space: durable, and a case met again is one case whose outcomes are counted.

    Parameters
    ----------
    engine, space: where they are kept.
    policy: what ranks them unless told otherwise; similarity by default.
    pool: a learned policy weighs so many of the nearest cases.

    Source: the memory M of the memory-augmented decision process.

    >>> from halflife import Memory
    >>> bank = CaseBank(Memory(embedder="hash").engine, Space.of())
    >>> _ = bank.retain([Case("capital of Peru?", "Look it up.", 1.0), Case("capital of Chile?", "Guess.", 0.0)])
    >>> follow, avoid = bank.retrieve("capital of Cuba?")
    >>> [case.action for case in follow], [case.action for case in avoid]
    (['Look it up.'], ['Guess.'])
    """

    def __init__(self, engine: Engine, space: Space, *, policy: CasePolicy | None = None, pool: int = POOL) -> None:
        if pool < 1:
            raise InvalidInput(f"pool is {pool}.", "Weigh one case or more.")
        self.engine, self.space, self.pool = engine, space, pool
        self.policy: CasePolicy = policy or SimilarityPolicy()
        self._index = CaseIndex(engine, space)
        self.lock = threading.RLock()

    # -- writing ----------------------------------------------------------------------------------------------

    def retain(self, cases: Sequence[Case], now: float | None = None) -> list[Added]:
        """Keep cases with their outcomes; one that is there already counts as tried again."""
        now = self.engine.clock() if now is None else now
        return self.write([draft_of(case, now) for case in cases], now)

    def write(self, drafts: Sequence[Draft], now: float) -> list[Added]:
        """Keep what was said as cases; see `cases_case.read_draft` for what is read from the metadata.

        All in one transaction. Ids in view that are not in the bank are left out: there is nothing to learn from them.
        """
        cleaned, labels = self.engine.redacted(drafts)
        read = [read_draft(draft) for draft in cleaned]
        runs = self._known([run for _, run in read])
        made = [
            replace(d, metadata=with_runs(d.metadata, [run])) if run else d
            for (d, _), run in zip(read, runs, strict=True)
        ]
        todo = [draft for draft in made if draft.vectors is None and draft.text.strip()]
        states = self.engine.embed([split_text(draft.text)[0] or draft.text for draft in todo])
        for draft, vectors in zip(todo, states, strict=True):
            draft.vectors = vectors
        with self.engine.store.transaction():
            added = self.engine.write(self.space, made, Why("add"), now)
            again = [(a.id, run) for a, run in zip(added, runs, strict=True) if a.event == "met" and run]
            self._count(again, now)
        return [replace(a, redacted=found) for a, found in zip(added, labels, strict=True)] if any(labels) else added

    def record(self, id: str, reward: float, used: Sequence[str] = (), now: float | None = None) -> None:
        """The outcome of a case that was kept before it was known, or was tried again. Raises `UnknownTrace`."""
        now = self.engine.clock() if now is None else now
        self.engine.store.get([id], self.space)
        [run] = self._known([(check_reward(reward), tuple(dict.fromkeys(used)))])
        with self.engine.store.transaction():
            self._count([(id, run)] if run else [], now)

    def _known(self, runs: Sequence[Run | None]) -> list[Run | None]:
        """Outcomes with those of the ids in view that are memories of this space."""
        used = sorted({id for run in runs if run for id in run[1]})
        there = {t.id for t in self.engine.store.find(self.space, parse({"id": {"in": used}}))} if used else set()
        return [run and (run[0], tuple(id for id in run[1] if id in there)) for run in runs]

    def _count(self, outcomes: Sequence[tuple[str, Run]], now: float) -> None:
        """Add outcomes to cases that are there, in order, as one operation."""
        if not outcomes:
            return
        runs: dict[str, list[Run]] = {}
        for id, run in outcomes:
            runs.setdefault(id, []).append(run)
        traces = self.engine.store.get(list(runs))
        self.engine.store.revise(
            [(t.id, {"metadata": with_runs(t.metadata, runs[t.id])}) for t in traces], Why("outcome", NAME), now
        )

    # -- reading ----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        with self.lock:
            return len(self.index().table())

    def index(self) -> CaseIndex:
        """The cases as arrays, up to date. Its tables are views: use them before the bank is asked again."""
        return self._index.follow()

    def numbers(self, ids: Sequence[str]) -> list[int]:
        """The numbers of active cases by id; others are left out."""
        with self.lock:
            return self.index().numbers(ids)

    def ranked(
        self,
        state: str,
        k: int = K,
        policy: CasePolicy | None = None,
        *,
        where: Filter = ALL,
        judged: bool = False,
        how: How = "greedy",
        seed: int | np.random.Generator = 0,
    ) -> list[tuple[Trace, float]]:
        """The k cases that a policy prefers in a state, best first, with their scores. Nothing is reinforced.

        Parameters
        ----------
        where: only these. judged: only cases whose outcome is known.
        how, seed: the best ones, or drawn from the soft policy; see `choose`.
        """
        check_content(state)
        if k < 1:
            raise InvalidInput(f"k is {k}.", "Ask for one case or more.")
        policy = policy or self.policy
        store = self.engine.store
        if store.space_id(self.space) is None:
            return []
        vector = self.engine.embedder.embed([state])[0]
        with self.lock:
            index = self.index()
            cases = self._candidates(index, vector, policy, where, judged)
            scores = policy.score(vector, cases)
            rows = choose(scores, k, how, policy.alpha, seed)
            ns, best = cases.n[rows].tolist(), scores[rows].tolist()
        traces = store.by_number(ns)
        return [(traces[n], score) for n, score in zip(ns, best, strict=True) if n in traces]

    def _candidates(
        self, index: CaseIndex, vector: Array, policy: CasePolicy, where: Filter, judged: bool
    ) -> CaseTable:
        """The cases that a policy has to weigh."""
        cases = index.table()
        if not where.empty:
            rows = index.rows(self.engine.store.match(self.space, where))
            cases = cases.take(rows[rows >= 0])
        if judged and np.isnan(cases.rewards).any():
            cases = cases.take(np.flatnonzero(~np.isnan(cases.rewards)))
        if len(cases) > self.pool and not isinstance(policy, SimilarityPolicy):
            cases = cases.take(np.sort(np.argpartition(-(cases.vectors @ vector), self.pool)[: self.pool]))
        return cases

    def retrieve(
        self,
        state: str,
        k: int = K,
        policy: CasePolicy | None = None,
        *,
        split_by_reward: bool = True,
        where: Filter = ALL,
        how: How = "greedy",
        seed: int | np.random.Generator = 0,
    ) -> tuple[list[Case], list[Case]]:
        """The k preferred cases as examples to follow and examples to avoid, best first in each.

        Only cases whose outcome is known. With `split_by_reward=False` the first list has all of them, whatever came
        of them, also of those of which that is not known; the second is empty.
        """
        found = self.ranked(state, k, policy, where=where, judged=split_by_reward, how=how, seed=seed)
        cases = [case_of(trace) for trace, _ in found]
        if not split_by_reward:
            return cases, []
        return [c for c in cases if c.label == "positive"], [c for c in cases if c.label == "negative"]

    def used_by(self, ids: str | Sequence[str]) -> list[Case]:
        """The cases whose action was chosen with one of these in view: they may resemble it.

        They tell of their own experience, and stay when it is forgotten; who wants them gone as well, forgets them too.
        """
        wanted = {ids} if isinstance(ids, str) else set(ids)
        with self.lock:
            users = self.index().users(wanted)
        return [case_of(trace) for trace in self.engine.store.get(users)]

    # -- after an erasure -------------------------------------------------------------------------------------

    def drop_rows(self, now: float) -> int:
        """Take erased cases out of the rows of experience of the others. Returns how many cases were changed."""
        store = self.engine.store
        with self.lock:
            index = self.index()
            missing = index.dangling()
            users = index.users(missing)
        others = store.find(self.space, _OUT_OF_USE)
        missing |= {id for trace in others for id in case_of(trace).used}
        if not missing:
            return 0
        gone = missing - {t.id for t in store.find(self.space, parse({"id": {"in": sorted(missing)}}))}
        traces = [t for t in (*store.get(users), *others) if gone.intersection(case_of(t).used)]
        changes = [(t.id, {"metadata": without(t.metadata, gone)}) for t in traces]
        if changes:
            store.revise(changes, Why("mend", NAME, "a case in view was erased"), now)
        return len(changes)
