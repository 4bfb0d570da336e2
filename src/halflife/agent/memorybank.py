"""MemoryBank on the engine.

Paper: "MemoryBank: Enhancing Large Language Models with Long-Term Memory", arXiv 2305.10250.

Implemented: turns by day; recall by dense similarity, which strengthens what it returns; forgetting by the
Ebbinghaus curve (`forgetting`); daily summaries and portraits, and one of each over all days
(`memorybank_notes`); the released JSON schema (`memorybank_json`). Not implemented: the chat application, its
tuning, and the splitting of turns into sentences with widening of hits (a turn is embedded whole, in windows).

Where this differs from the released code: the curve is the code's evident intent, not the code as written; a
memory that is checked daily does not die faster for it; what is forgotten leaves recall but not the store, as
an operation that can be undone (erasing for good is `Memory.forget`); a turn that repeats another word for
word is met again, and made stronger, instead of being stored twice. Days are days of UTC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from halflife.agent.engine import Engine
from halflife.agent.forgetting import CurveKind, ForgetMode, ForgettingCurve, forgotten
from halflife.agent.hit import Hit
from halflife.agent.memorybank_json import Document, document, read_documents, turn
from halflife.agent.memorybank_notes import ACTIVE, DAILY, NOTES, TURNS, UNSEARCHED, Notes
from halflife.decay import DAY
from halflife.errors import InvalidInput
from halflife.store.draft import Draft, check_content
from halflife.store.erase import ErasureReport
from halflife.store.filters import ALL, Filter
from halflife.store.protocol import Added, Ints, Why
from halflife.store.recall import Weights
from halflife.store.timeparse import parse_time
from halflife.store.trace import Space, Trace

Reinforce: TypeAlias = Literal["all", "cited"]

NAME = "memorybank"
TOP_K = 6
SIMILARITY_ALONE = Weights.only(semantic=1.0)


class MemoryBank:
    """A memory of turns that fades by days, and lasts longer with every recall.

    It sets the law of its store, so that a strength S is a stability of S units there; and recall ranks by
    similarity alone, as in the paper.

    Parameters
    ----------
    engine: what it is built on. Its language model writes summaries and portraits; without one they are sentences
        picked from the turns.
    curve: a `ForgettingCurve`, or the kind of one. `code_as_written` is refused: a recall would harm.
    unit_days: days after which a memory of strength 1 is down to 1/e, for a kind; None: 5, or 1 for `paper`.
    mode, threshold: how `forget` decides unless told otherwise; see `forgotten`.
    seed: of the draws in modes `draw` and `hazard`.
    reinforce: `all` strengthens every hit, as in the paper; `cited` leaves that to calls of `reinforce` with the
        ids that an answer used, so that what is merely near does not become immortal.

    Raises
    ------
    InvalidInput: an unknown kind, mode or way to reinforce, or a threshold outside [0, 1].

    Source: sections 2.1 to 2.3.

    >>> from halflife import Memory
    >>> memory = Memory(embedder="hash", system="memorybank", clock=lambda: 0.0)
    >>> anna, bank = Space.of("anna"), memory.system
    >>> _ = bank.append(anna, "I play the cello.", "How lovely!", "2023-05-01")
    >>> [hit] = bank.search(anna, "cello", now=parse_time("2023-05-02"))
    >>> bank.strength(memory.get(hit.id))                   # after the recall; hit.trace is as it was before
    2.0
    >>> len(bank.forget(anna, now=parse_time("2023-05-20"))), len(bank.forget(anna, now=parse_time("2023-05-30")))
    (0, 1)
    >>> memory.search("cello", user_id="anna")
    []
    """

    def __init__(
        self,
        engine: Engine,
        *,
        curve: ForgettingCurve | CurveKind = "ebbinghaus",
        unit_days: float | None = None,
        mode: ForgetMode = "threshold",
        threshold: float = 0.1,
        seed: int = 0,
        reinforce: Reinforce = "all",
    ) -> None:
        if reinforce not in get_args(Reinforce):
            raise InvalidInput(f"reinforce is {reinforce!r}.", f"Use one of {', '.join(get_args(Reinforce))}.")
        forgotten(np.ones(0), mode, threshold=threshold, rng=np.random.default_rng(seed))  # refuses what is wrong
        self.engine = engine
        self.curve = curve if isinstance(curve, ForgettingCurve) else ForgettingCurve(curve, unit_days)
        self.mode, self.threshold, self.seed = mode, threshold, seed
        self.strengthens: Reinforce = reinforce
        self.notes = Notes(engine)
        engine.weights = SIMILARITY_ALONE
        engine.set_law(self.curve.law)

    # -- writing ----------------------------------------------------------------------------------------------

    def append(
        self,
        space: Space,
        query: str,
        response: str = "",
        date: str | float | None = None,
        now: float | None = None,
    ) -> Added:
        """Add one turn: what was said, and what was answered. No model is called but the embedder.

        `date` is when (ISO 8601, or seconds since the epoch; now by default).
        """
        now = self.engine.clock() if now is None else now
        return self.write(space, [turn(query, response, now if date is None else parse_time(date))], now)[0]

    def write(self, space: Space, drafts: Sequence[Draft], now: float) -> list[Added]:
        """Add messages, a turn each."""
        for draft in drafts:
            draft.system = draft.system or NAME
        return self.engine.write(space, drafts, Why("add"), now)

    # -- recall -----------------------------------------------------------------------------------------------

    def recall(
        self, space: Space, query: str, k: int, now: float, *, where: Filter = ALL, reinforce: bool = True
    ) -> list[Hit]:
        """The k turns and daily summaries nearest in meaning, and each of them stronger by one from now on.

        Reading and strengthening are one transaction. `reinforce=False` only looks.
        """
        check_content(query)
        vector = self.engine.embedder.embed([query])[0]
        if not reinforce or self.strengthens == "cited":
            return self._nearest(space, vector, k, now, where)
        # The engine's lock before the store's, in which order a search takes them too.
        with self.engine._lock, self.engine.store.transaction(durable=False):
            hits = self._nearest(space, vector, k, now, where)
            self.engine.store.reinforce([hit.id for hit in hits], now)
        return hits

    def search(
        self, space: Space, query: str, k: int = TOP_K, now: float | None = None, *, reinforce: bool = True
    ) -> list[Hit]:
        """`recall` with the paper's k, and now by default."""
        return self.recall(space, query, k, self.engine.clock() if now is None else now, reinforce=reinforce)

    def _nearest(self, space: Space, vector: Any, k: int, now: float, where: Filter) -> list[Hit]:
        hits = self.engine.search(space, None, k, vector=vector, where=where, now=now, collapse=False)
        return [hit for hit in hits if hit.role not in UNSEARCHED]

    def reinforce(self, ids: Sequence[str], now: float) -> None:
        """Make these memories stronger by one, and let their time start anew."""
        self.engine.store.reinforce(ids, now)

    def strength(self, trace: Trace) -> float:
        """The strength S of a memory: 1 when written, and one more with each recall."""
        return float(trace.state.stability) / (self.curve.unit * DAY)

    # -- forgetting -------------------------------------------------------------------------------------------

    def forget(self, space: Space, now: float, mode: ForgetMode | None = None) -> list[str]:
        """Take out of recall the turns that the curve says are forgotten; the notes of a day left empty go along.

        They are archived, as one operation that `Memory.undo` takes back. Time is whole days since the last
        recall; a clock that went backwards counts as none. Returns the ids of the turns.
        """
        mode = mode or self.mode
        store, number = self.engine.store, self.engine.store.space_id(space)
        if number is None:
            return []
        today = int(now // DAY)
        with self.engine._lock:
            work = self.engine.working_set(space)
            is_note = np.isin(work.n, store.match(space, NOTES))
            slots = np.flatnonzero(work.alive & ~is_note)
            last = work.column("last_used")[slots] // DAY
            strength = work.column("stability")[slots] / (self.curve.unit * DAY)
            days, ns = work.column("at")[slots] // DAY, work.n[slots]
        marker = f"{NAME}:checked:{number}"
        checked = int(store.meta(marker) or 0)
        gone = forgotten(
            self.curve.retention(today - last, strength),
            mode,
            threshold=self.threshold,
            before=self.curve.retention(checked - last, strength) if checked else 1.0,
            rng=np.random.default_rng([self.seed, number, today]),  # a day's draws are its own, whoever draws
        )
        with store.transaction():
            ids = self._archive(space, ns[gone], set(days[~gone].tolist()), f"{mode}, day {today}", now)
            if mode == "hazard":
                store.set_meta(marker, str(max(checked, today)))
        return ids

    def _archive(self, space: Space, ns: Ints, days_left: set[float], reason: str, now: float) -> list[str]:
        ids = [trace.id for trace in self.engine.store.by_number(ns.tolist()).values()]
        empty = [n.id for n in self.notes.all(space) if n.role in DAILY and n.at // DAY not in days_left]
        if ids or empty:
            self.engine.store.set_status([*ids, *empty], "archived", Why("archive", NAME, reason), now)
        return ids

    # -- summaries and portraits ------------------------------------------------------------------------------

    def consolidate(self, space: Space, now: float) -> Mapping[str, Any]:
        """The end of a day: write the notes that are missing or out of date, then forget.

        The report names the days with new notes, those for which the model gave none, and what was forgotten.
        """
        if self.engine.store.space_id(space) is None:
            return {"noted": [], "failed": [], "forgotten": []}
        noted, failed = self.notes.refresh(space, now)
        return {"noted": noted, "failed": failed, "forgotten": self.forget(space, now)}

    def mend(self, space: Space, now: float) -> list[ErasureReport]:
        """After something was erased: erase the notes that may still tell of it. `consolidate` writes them anew."""
        return self.notes.mend(space, now)

    def summaries(self, space: Space) -> dict[str, str]:
        """The summary of each day, by date."""
        return self.notes.daily(space, "summary")

    def portraits(self, space: Space) -> dict[str, str]:
        """What each day showed of the user, by date."""
        return self.notes.daily(space, "portrait")

    def overall(self, space: Space) -> tuple[str, str]:
        """The summary and the portrait over all days, empty until `consolidate` has written them."""
        return self.notes.overall(space, "summary"), self.notes.overall(space, "portrait")

    # -- the released schema ----------------------------------------------------------------------------------

    def export_json(self, space: Space) -> dict[str, Document]:
        """The memory of a space in the released schema, `{user: document}`; what is forgotten is left out."""
        name = space.user_id or str(space)
        turns = self.engine.store.find(space, TURNS & ACTIVE)[::-1]
        return {name: document(name, turns, self.notes.all(space), self.strength)}

    def import_json(self, data: Mapping[str, Any], now: float | None = None) -> dict[str, int]:
        """Take in documents of the released schema, a user each; all of them or none.

        Strengths, dates of last recall, and the notes that are there come along; blanks around names do not.
        Returns how many turns each user has.

        Raises
        ------
        InvalidInput: what is not of the schema, named by user and date.
        """
        now = self.engine.clock() if now is None else now
        users = read_documents(data, self.curve.unit)
        drafts = [t.draft for user in users for t in user.turns]
        for draft, vectors in zip(drafts, self.engine.embed([d.text for d in drafts]), strict=True):
            draft.vectors, draft.system = vectors, NAME
        with self.engine.store.transaction():
            for user in users:
                if not user.turns:
                    continue
                added = self.engine.write(user.space, [t.draft for t in user.turns], Why("import", NAME), now)
                recalled = [
                    (a.id, {"last_used": t.last_used})
                    for a, t in zip(added, user.turns, strict=True)
                    if a.event == "add" and t.last_used > t.draft.at
                ]
                if recalled:
                    self.engine.store.revise(recalled, Why("import", NAME), now)
                self.notes.take_in(user.space, user.notes, now)
        return {user.name: len(user.turns) for user in users}
