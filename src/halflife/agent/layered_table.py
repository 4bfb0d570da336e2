"""Between traces and events in layers: how a trace keeps its event, and all events of a space as arrays.

Paper: TradingGPT, arXiv 2309.03736.

A new event is its trace: the layer, the importance (points / 100), the time it speaks of. What becomes of it since,
a promotion, an access, stands in the metadata under `layered`. A trace that was written by other means is an event too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from halflife.agent.layered_event import FULL, Event, Layers
from halflife.decay import DAY, State
from halflife.decay.law import Array
from halflife.store.ascending import find
from halflife.store.protocol import Ints, Store
from halflife.store.trace import Space, Trace
from halflife.store.vectors import Growing

KEY = "layered"  # in metadata
_COLUMNS = ("since", "value", "valued", "accesses")


def event_of(trace: Trace, layers: Layers) -> Event:
    """The event that a trace keeps; a layer that is none of these counts as the shallowest."""
    kept = trace.metadata.get(KEY)
    kept = kept if isinstance(kept, Mapping) else {}
    value = _number(kept.get("importance"), FULL * trace.importance)
    if abs(min(value / FULL, 1.0) - trace.importance) > 1e-9:  # changed since by `Memory.update`
        value = FULL * trace.importance
    since = _number(kept.get("since"), trace.at)
    return Event(
        layer=layers.names.index(trace.layer) if trace.layer in layers.names else 0,
        since=since,
        value=max(value, 0.0),
        valued=_number(kept.get("valued"), since),
        accesses=int(_number(kept.get("accesses"), 0.0)),
    )


def revision(trace: Trace, event: Event, layers: Layers) -> tuple[str, dict[str, Any]]:
    """The change of a trace by which it keeps another event; the store's law then gives the event's recency."""
    kept = trace.metadata.get(KEY)
    state = {
        **(kept if isinstance(kept, Mapping) else {}),
        "since": event.since, "importance": event.value, "valued": event.valued, "accesses": event.accesses,
    }  # fmt: skip
    return trace.id, {
        "layer": layers.names[event.layer],
        "importance": min(event.value / FULL, 1.0),
        "metadata": {**trace.metadata, KEY: state},
        "stability": strength(event.layer, layers).stability,
        "last_used": event.since,
    }


def strength(layer: int, layers: Layers) -> State:
    """The state of a trace in a layer: its stability is the layer's."""
    return State(layers.configs[layer].recency_tau * DAY)


class EventTable:
    """The events of a space as arrays, following the store.

    Parameters
    ----------
    layers: what the names of layers mean.
    """

    def __init__(self, layers: Layers) -> None:
        self.layers = layers
        self._clear()

    def _clear(self) -> None:
        self._op = 0
        self._n, self._layer = Growing(np.int64), Growing(np.int64)
        self._columns = {name: Growing(np.float64) for name in _COLUMNS}

    def refresh(self, store: Store, space: Space) -> None:
        """Take in what was written since the last time."""
        op = store.last_op()
        if op == self._op:
            return
        ns = np.sort(store.new_since(space, self._op))
        new = ns[~find(self._n.array, ns)[1]]
        if len(new) and self._n.size and new[0] < self._n.array[-1]:  # one that was out of recall came back
            self._clear()
            ns = new = np.sort(store.new_since(space, 0))
        self._take(store, ns, new)
        self._op = op

    def _take(self, store: Store, ns: Ints, new: Ints) -> None:
        traces = store.by_number(ns.tolist())
        self._n.extend(new[np.array([n in traces for n in new.tolist()], dtype=np.bool_)])
        added = self._n.size - self._layer.size
        self._layer.extend(np.zeros(added, dtype=np.int64))
        for column in self._columns.values():
            column.extend(np.zeros(added))
        read = sorted(traces)
        rows, _ = find(self._n.array, np.array(read, dtype=np.int64))
        for row, n in zip(rows.tolist(), read, strict=True):
            event = event_of(traces[n], self.layers)
            self._layer.array[row] = event.layer
            for name in _COLUMNS:
                self._columns[name].array[row] = getattr(event, name)

    def rows(self, ns: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """The rows of traces by number, and which of them are here."""
        return find(self._n.array, ns)

    def layer(self, rows: Ints) -> Ints:
        """The layer of each row."""
        return cast(Ints, self._layer.array[rows])

    def decayed(self, rows: Ints, now: float) -> tuple[Array, Array]:
        """Recency and points of importance of each row."""
        of = {name: self._columns[name].array[rows] for name in _COLUMNS}
        return self.layers.decayed(self.layer(rows), of["since"], of["value"], of["valued"], now)

    def due(self, rows: Ints, now: float) -> NDArray[np.bool_]:
        """Which rows a check up to now would move or drop.

        What falls is lowest at the last check, and nothing but an access lets importance rise: two checks tell.
        """
        layers, layer = self.layers, self.layer(rows)
        of = {name: self._columns[name].array[rows] for name in _COLUMNS}
        first = layers.first_check(np.maximum(of["since"], of["valued"]))
        last = float(layers.last_check(now))
        recency, points = layers.decayed(layer, of["since"], of["value"], of["valued"], layers.start(last))
        at_first = of["value"] * layers.factor[layer] ** np.maximum(first - layers.count(of["valued"]), 0.0)
        up = (at_first >= layers.promote_at[layer]) & ((of["accesses"] > 0) | layers.promote_unused)
        low = (recency < layers.recency_floor[layer]) | (points < layers.importance_floor[layer])
        return np.asarray((first <= last) & (up | low | (points < layers.demote_below[layer])))


def _number(value: Any, default: float) -> float:
    """A number from metadata, which anyone can write."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else default
