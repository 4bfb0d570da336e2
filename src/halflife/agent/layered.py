"""Memory in layers, each with a decay of its own.

Paper: "TradingGPT: Multi-Agent System with Layered Memory and Distinct Characters for Enhanced Financial Trading
Performance", arXiv 2309.03736.

Implemented: layers with their recency, importance, promotion and dropping (`layered_event`), routing of what is
written (`layered_routing`), recall of the best of each layer by recency + relevance + importance, feedback from use,
the debate (`debate`), characters and back-tests (`trading`). Nothing in the memory knows of trading. Not implemented:
the market's data, and reflections written by a model (write yours with the source `reflection`).

Where this differs from the released code of the successor, FinMem: the best by score are taken, not the worst; hits
stay in the order of their scores; an access adds five points, not five times the running count; only what was of use
is promoted (`promote_unused` is the other way); the first importance is the likeliest one, or drawn with a seed;
decay is computed from dates, not counted down; what is dropped is archived, which an undo takes back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from halflife.agent.derived import erase_stale
from halflife.agent.engine import Engine
from halflife.agent.hit import Hit
from halflife.agent.layered_event import FINMEM, FULL, LAW, PAPER, Days, Event, LayerConfig, Layers, Move
from halflife.agent.layered_routing import BySource, Router, known_layer, route_unrouted, unrouted
from halflife.agent.layered_table import EventTable, event_of, revision, strength
from halflife.errors import InvalidInput
from halflife.store.draft import Draft, check_content
from halflife.store.erase import ErasureReport
from halflife.store.filters import ALL, Filter, parse
from halflife.store.protocol import Added, Why
from halflife.store.timeparse import parse_time
from halflife.store.trace import Space, Trace
from halflife.store.working_set import allowed_slots

Access: TypeAlias = Literal["all", "feedback"]

NAME = "layered"
TOP_K = 3  # of each layer, in the paper
PRESETS: Mapping[str, Mapping[str, LayerConfig]] = {"paper": PAPER, "finmem": FINMEM}
MOVES = ("deleted", "promoted", "demoted")
UNSAID_LAYER, UNSAID_IMPORTANCE = "short", 0.5  # what a draft has when its writer says nothing
DERIVED = parse({"system": NAME, "of": "*"})


@dataclass(frozen=True)
class Step:
    """What some days did to a space: ids in the order of the days, and the operation that undoes it."""

    deleted: tuple[str, ...] = ()
    promoted: tuple[str, ...] = ()
    demoted: tuple[str, ...] = ()
    operations: tuple[int, ...] = ()


class LayeredMemory:
    """A memory whose layers forget at different speeds, so that what is frequent does not bury what lasts.

    It sets the law of its store: the retention of a memory is its recency.

    Parameters
    ----------
    engine: what it is built on.
    layers: `paper`, `finmem`, or layers of your own, shallowest first (`LayerConfig`, or its fields).
    days: `calendar`, or `trading` for Mondays to Fridays only.
    promote_unused: whether importance alone moves a memory deeper; otherwise it must have been of use.
    router: says where a memory goes whose writer names no layer; by `metadata["source"]` unless given. Of what it
        does not know, a language model decides in `consolidate` if there is one; without one it stays shallow.
    access: `all` counts every hit of a recall as an access, `feedback` leaves that to calls of `feedback`.
    seed: draws the first importance by the layer's odds; None takes the likeliest.

    Raises
    ------
    InvalidInput: an unknown preset or choice, or layers that cannot be.

    Source: sections on layered memory and on retrieval. A writer who names the layer `short` counts as one who names
    none, since that is what a memory has by default; `append` can tell the two apart.

    >>> from halflife import Memory
    >>> memory = Memory(embedder="hash", system="layered", clock=lambda: 0.0)
    >>> _ = memory.add("Acme fell by 2 % today.", metadata={"source": "news"})
    >>> _ = memory.add("Acme owns its mines.", metadata={"source": "annual report"})
    >>> hits = memory.search("What about Acme?", now=30 * 86_400.0)
    >>> [(hit.trace.layer, round(hit.score, 2)) for hit in hits]
    [('long', 1.73), ('short', 0.41)]
    >>> memory.system.step(Space.of(), days=60).deleted == (hits[1].id,)
    True
    """

    def __init__(
        self,
        engine: Engine,
        *,
        layers: str | Mapping[str, LayerConfig | Mapping[str, Any]] = "paper",
        days: Days = "calendar",
        promote_unused: bool = False,
        router: Router | None = None,
        access: Access = "all",
        seed: int | None = None,
    ) -> None:
        if access not in get_args(Access):
            raise InvalidInput(f"access is {access!r}.", f"Use one of {', '.join(get_args(Access))}.")
        self.engine = engine
        self.layers = Layers(_configs(layers), days, promote_unused)
        self.router: Router = router or BySource()
        self.access, self.seed = access, seed
        self._tables: dict[str, EventTable] = {}
        engine.set_law(LAW)

    # -- writing ----------------------------------------------------------------------------------------------

    def append(
        self,
        space: Space,
        text: str,
        layer: str | None = None,
        importance: float | None = None,
        at: str | float | None = None,
        *,
        source: str | None = None,
        now: float | None = None,
    ) -> Added:
        """Add one event. No model is called but the embedder.

        Parameters
        ----------
        layer: where it goes; None lets the router say.
        importance: in points from 0 to 100; None for the layer's own.
        at: when it happened (ISO 8601, or seconds since the epoch; now by default).
        source: what it comes from, for the router.
        """
        now = self.engine.clock() if now is None else now
        if importance is not None and not 0.0 <= importance <= FULL:
            raise InvalidInput(f"importance must be a number of points from 0 to 100, not {importance!r}.")
        said = UNSAID_IMPORTANCE if importance is None else importance / FULL
        metadata = {} if source is None else {"source": source}
        draft = Draft(text, now if at is None else parse_time(at), metadata=metadata, importance=said)
        return self._write(space, [self._placed(draft, layer, given=importance is not None)], now)[0]

    def write(self, space: Space, drafts: Sequence[Draft], now: float) -> list[Added]:
        """Add events, each to the layer that it names or that the router knows; an unknown one stores nothing at all.

        An importance of 0.5 counts as not said. A text that is there already has happened again: its recency starts
        anew.
        """
        placed = [
            self._placed(d, d.layer if d.layer != UNSAID_LAYER else None, given=bool(d.importance != UNSAID_IMPORTANCE))
            for d in drafts
        ]
        return self._write(space, placed, now)

    def _placed(self, draft: Draft, said: str | None, given: bool) -> Draft:
        """A draft in its layer, with its first importance."""
        routed = self.router.route(draft) if said is None else said
        layer = self.layers.names.index(known_layer(routed or self.layers.names[0], self.layers))
        config = self.layers.configs[layer]
        importance = draft.importance
        if not given and self.seed is None:
            importance = config.likeliest() / FULL
        elif not given:
            rng = np.random.default_rng([self.seed or 0, int.from_bytes(draft.digest())])
            importance = config.draw(rng) / FULL
        metadata = draft.metadata if routed else unrouted(draft.metadata, given)
        return replace(
            draft,
            layer=self.layers.names[layer],
            importance=importance,
            metadata=metadata,
            state=strength(layer, self.layers),
            system=draft.system or NAME,
        )

    def _write(self, space: Space, drafts: list[Draft], now: float) -> list[Added]:
        added = self.engine.write(space, drafts, Why("add"), now)
        again = {a.id: draft for a, draft in zip(added, drafts, strict=True) if a.event == "met"}
        if again:
            with self.engine.store.transaction():
                changes = []
                for trace in self.engine.store.get(list(again)):
                    event = event_of(trace, self.layers)
                    fresh = self._happened_again(event, again[trace.id])
                    if fresh != event:
                        changes.append(revision(trace, fresh, self.layers))
                self.engine.store.revise(changes, Why("add", NAME, "happened again"), now)
        return added

    def _happened_again(self, event: Event, draft: Draft) -> Event:
        at = max(draft.at, event.since)
        value = max(self.layers.importance(event, at), FULL * draft.importance)
        return replace(event, since=at, value=value, valued=max(at, event.valued))

    # -- recall -----------------------------------------------------------------------------------------------

    def query(
        self, space: Space, text: str, k_per_layer: int = TOP_K, now: float | None = None, *, where: Filter = ALL
    ) -> dict[str, list[Hit]]:
        """The best of each layer by recency + relevance + importance, each in [0, 1]; `hit.explain()` has the three.

        Nothing counts as an access. An empty layer has an empty list.
        """
        now = self.engine.clock() if now is None else now
        check_content(text)
        found: dict[str, list[Hit]] = {name: [] for name in self.layers.names}
        if self.engine.store.space_id(space) is None:
            return found
        vector = self.engine.embedder.embed([text])[0]
        with self.engine._lock:
            work = self.engine.working_set(space)
            allowed = work.alive
            if not where.empty:
                allowed = allowed & allowed_slots(work, self.engine.store.match(space, where))
            slots = np.flatnonzero(allowed)
            table = self._table(space)
            rows, there = table.rows(work.n[slots])
            slots, rows = slots[there], rows[there]
            relevance = work.similarity(vector)[slots].astype(np.float64) if work.dim else np.zeros(len(slots))
            recency, points = table.decayed(rows, now)
            layer, ns = table.layer(rows), work.n[slots]
        parts = np.stack([recency, relevance, np.minimum(points / FULL, 1.0)])
        total = parts.sum(axis=0)
        for number, name in enumerate(self.layers.names):
            mine = np.flatnonzero(layer == number)
            best = mine[np.lexsort((-ns[mine], -total[mine]))[:k_per_layer]]
            traces = self.engine.store.by_number(ns[best].tolist())
            found[name] = [_hit(traces[n], parts[:, i]) for i in best.tolist() if (n := int(ns[i])) in traces]
        return found

    def recall(
        self, space: Space, query: str, k: int, now: float, *, where: Filter = ALL, reinforce: bool = True
    ) -> list[Hit]:
        """The k best of all layers: an equal share of each, then whatever scores highest; best first.

        What is returned counts as accessed, unless `reinforce=False` or the memory takes feedback only.
        """
        layers = list(self.query(space, query, k, now, where=where).values())
        share = k // len(layers)
        chosen = [hit for hits in layers for hit in hits[:share]]
        rest = sorted((hit for hits in layers for hit in hits[share:]), key=_rank)
        hits = sorted(chosen + rest[: k - len(chosen)], key=_rank)
        if reinforce and self.access == "all":
            self.feedback([hit.id for hit in hits], now=now)
        return hits

    def _table(self, space: Space) -> EventTable:
        table = self._tables.setdefault(space.name, EventTable(self.layers))
        table.refresh(self.engine.store, space)
        return table

    def event(self, trace: Trace) -> Event:
        """What decays of a memory: its layer, dates, importance and accesses."""
        return event_of(trace, self.layers)

    # -- feedback, and the passing of days --------------------------------------------------------------------

    def feedback(self, ids: Sequence[str], values: int | Sequence[int] = 1, now: float | None = None) -> int | None:
        """Say of memories that they were of use (1) or misled (-1): five points of importance each.

        Returns the operation, which `Memory.undo` takes back; None if there was nothing to do.

        Raises
        ------
        InvalidInput: not one value for each id, or a value that is not 1, 0 or -1.
        UnknownTrace: an id that is not there; then nothing is changed.
        """
        now = self.engine.clock() if now is None else now
        given = [values] * len(ids) if isinstance(values, int) else list(values)
        if len(given) != len(ids) or not set(given) <= {-1, 0, 1}:
            raise InvalidInput("Feedback is one value, 1, 0 or -1, for each memory.")
        sums: dict[str, int] = {}
        for id, value in zip(ids, given, strict=True):
            sums[id] = sums.get(id, 0) + value
        if not any(sums.values()):
            return None
        store = self.engine.store
        with store.transaction():
            changes = [
                revision(trace, self.layers.accessed(event_of(trace, self.layers), sums[trace.id], now), self.layers)
                for trace in store.get(list(sums))
            ]
            return store.revise(changes, Why("access", NAME), now)

    def step(self, space: Space, days: float = 1, now: float | None = None) -> Step:
        """Let days pass: drop what is below a floor, promote and demote. `step(30)` is thirty times `step(1)`.

        Decay itself needs no step. Days pass from `now`, by default from where the last step ended, or the present if
        that is later. What is dropped is archived: out of recall, and back with `Memory.undo`.
        """
        if not 0.0 <= days < float("inf"):
            raise InvalidInput(f"days must be a number >= 0, not {days!r}.")
        start = max(self.engine.clock(), self._settled(space)) if now is None else now
        return self._settle(space, self.layers.later(start, days))

    def _settled(self, space: Space) -> float:
        return float(self.engine.store.meta(self._key(space)) or "-inf")

    def _key(self, space: Space) -> str:
        return f"{NAME}:{self.engine.store.space_id(space)}:settled"

    def _settle(self, space: Space, until: float) -> Step:
        """Do to each event what the checks up to a time do."""
        store = self.engine.store
        if store.space_id(space) is None:
            return Step()
        with self.engine._lock, store.transaction():
            work, table = self.engine.working_set(space), self._table(space)
            ns = work.n[work.alive]
            rows, there = table.rows(ns)
            due = ns[there][table.due(rows[there], until)]
            traces = store.by_number(due.tolist())
            moved = [(t, self.layers.advance(event_of(t, self.layers), until)) for _, t in sorted(traces.items())]
            store.set_meta(self._key(space), repr(max(until, self._settled(space))))
            if not moved:
                return Step()
            op = store.revise([self._outcome(trace, moves) for trace, moves in moved], Why("step", NAME), until)
        done = sorted((move.at, trace.id, move.kind) for trace, moves in moved for move in moves)
        deleted, promoted, demoted = (tuple(id for _, id, kind in done if kind == wanted) for wanted in MOVES)
        return Step(deleted, promoted, demoted, (op,))

    def _outcome(self, trace: Trace, moves: Sequence[Move]) -> tuple[str, dict[str, Any]]:
        """The change that some moves make; dropping alone leaves the event as it is."""
        *moved, last = moves
        if last.kind != "deleted":
            return revision(trace, last.event, self.layers)
        changes = revision(trace, moved[-1].event, self.layers)[1] if moved else {}
        return trace.id, {**changes, "status": "archived"}

    # -- consolidation, forgetting ----------------------------------------------------------------------------

    def consolidate(self, space: Space, now: float) -> Mapping[str, Any]:
        """Route what is unrouted, if there is a language model, and let the days up to now pass.

        A memory for which the model gave no usable answer stays where it is, is named under `failed`, and is tried
        again the next time.
        """
        routing: Mapping[str, Any] = {"routed": {}, "failed": [], "operations": []}
        if self.engine.chat is not None:
            routing = route_unrouted(self.engine, self.engine.chat, space, self.layers, now)
        step = self._settle(space, now)
        operations = [*routing["operations"], *step.operations]
        return {**routing, **{name: list(getattr(step, name)) for name in MOVES}, "operations": operations}

    def mend(self, space: Space, now: float) -> list[ErasureReport]:
        """After an erasure: erase what was derived (records of debates) and lost one of its sources."""
        return erase_stale(self.engine, space, DERIVED, NAME, now)


def _configs(layers: str | Mapping[str, LayerConfig | Mapping[str, Any]]) -> Mapping[str, LayerConfig]:
    if isinstance(layers, str):
        if layers not in PRESETS:
            raise InvalidInput(f"There are no layers {layers!r}.", f"Use one of {', '.join(PRESETS)}, or your own.")
        return PRESETS[layers]
    try:
        return {name: c if isinstance(c, LayerConfig) else LayerConfig(**c) for name, c in layers.items()}
    except TypeError as error:
        raise InvalidInput(f"A layer cannot be read: {error}.") from None


def _hit(trace: Trace, parts: np.ndarray[Any, np.dtype[np.float64]]) -> Hit:
    recency, relevance, importance = parts.tolist()
    named = {"recency": recency, "relevance": relevance, "importance": importance}
    return Hit(trace, sum(named.values()), recency, named, 1.0, 0.0)


def _rank(hit: Hit) -> tuple[float, str]:
    return -hit.score, hit.id
