"""TradingGPT's generated worlds: signals of three speeds (A), and events that stay relevant (B).

Prices are generated nowhere and earned nowhere: A asks whether an agent that reads nine memories a day knows the sign
of a drift that the world keeps hidden. Scores, decay and moves are those of `halflife.agent.layered_event`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from halflife.agent.layered_event import FULL, PAPER, Event, Layers, Move
from halflife.decay import DAY

Routing: TypeAlias = Literal["exact", "80 % right", "random"]
ROUTINGS: tuple[Routing, ...] = ("exact", "80 % right", "random")
METHODS = ("layered", "one layer 14", "one layer 90", "one layer 365", "relevance only", "random")
SINGLE = METHODS[1:4]

HALF_LIFE = np.array([3.0, 60.0, 300.0])  # days, of fast, quarterly and structural signals
RATE = np.array([1.0, 0.06, 0.012])  # signals a day
NOISE = 0.7  # of all events
PER_LAYER = 3
BUDGET = 9  # events that an agent reads a day

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class World:
    """Events of one asset, oldest first; each array has the shape [n].

    Parameters
    ----------
    day: when each came. kind: 0 fast, 1 quarterly, 2 structural. signal: whether it moves the drift.
    sign: the direction that it speaks for. relevance: to the asset, in [0, 1].
    layer: where it was put. importance: points, drawn by the odds of that layer.
    """

    day: Ints
    kind: Ints
    signal: NDArray[np.bool_]
    sign: Floats
    relevance: Floats
    layer: Ints
    importance: Floats

    def strength(self, now: int) -> Floats:
        """What each event contributes to the drift of a day: 0 for noise and for what is still to come."""
        age = now - self.day
        return np.where(self.signal & (age >= 0), 0.5 ** (np.maximum(age, 0) / HALF_LIFE[self.kind]), 0.0)


def world(seed: int, routing: Routing = "exact", days: int = 400) -> World:
    """Generate a world: signals at their rates, and noise that makes 70 % of the events of each kind.

    `exact` puts each kind into its layer, `80 % right` one in five into another one, `random` any into any. The
    events themselves do not depend on the routing.

    >>> w = world(seed=0)
    >>> bool(0.65 < 1 - w.signal.mean() < 0.75), bool((w.layer == w.kind).all())
    (True, True)
    """
    rng = np.random.default_rng(seed)
    count = rng.poisson(np.repeat(RATE[None, :] / (1 - NOISE), days, axis=0))
    day, kind = (np.repeat(axis.ravel(), count.ravel()) for axis in np.indices(count.shape))
    n = len(day)
    signal = rng.random(n) >= NOISE
    sign = rng.choice([-1.0, 1.0], n)
    relevance = np.clip(np.where(signal, 0.70, 0.45) + 0.15 * rng.normal(size=n), 0.0, 1.0)
    layer = _routed(kind, routing, rng)
    layers = Layers(PAPER)
    importance = np.array([layers.configs[i].draw(rng) for i in layer])
    return World(day, kind, signal, sign, relevance, layer, importance)


def _routed(kind: Ints, routing: Routing, rng: np.random.Generator) -> Ints:
    if routing == "random":
        return rng.integers(0, 3, len(kind))
    wrong = rng.random(len(kind)) >= (0.8 if routing == "80 % right" else 1.0)
    return np.where(wrong, (kind + rng.integers(1, 3, len(kind))) % 3, kind)


def read(w: World, method: str, now: int, rng: np.random.Generator) -> tuple[Ints, Floats]:
    """The events that an agent reads on a day, and the weight of each in its decision.

    The layered agent reads three of each layer by recency + relevance + importance. Each of the others reads nine from
    one pool: with the decay of one layer for all, by relevance alone, or at random.
    """
    live = np.flatnonzero(w.day <= now)
    if method == "random":
        return rng.choice(live, min(BUDGET, len(live)), replace=False), np.ones(min(BUDGET, len(live)))
    if method == "relevance only":
        best = live[np.argsort(-w.relevance[live], kind="stable")[:BUDGET]]
        return best, np.ones(len(best))
    layer = w.layer[live] if method == "layered" else np.full(len(live), SINGLE.index(method))
    since: Floats = w.day[live] * np.float64(DAY)
    recency, points = Layers(PAPER).decayed(layer, since, w.importance[live], since, now * DAY)
    order = np.argsort(-(recency + w.relevance[live] + np.minimum(points / FULL, 1.0)), kind="stable")
    if method == "layered":
        order = np.concatenate([order[layer[order] == number][:PER_LAYER] for number in range(3)])
    chosen = order[:BUDGET]
    return live[chosen], recency[chosen]


@dataclass(frozen=True)
class Score:
    """How an agent did: share of days with the sign of the drift right, and of the live signal that it read."""

    hit: float
    recall: float


def follow(w: World, methods: tuple[str, ...], seed: int, start: int = 200, end: int = 400) -> dict[str, Score]:
    """Let an agent of each method read and decide on every day from `start` to `end`.

    Recall is the strength of the signals read over that of the nine strongest.
    """
    rng = np.random.default_rng([seed, 8])
    hits: dict[str, list[bool]] = {method: [] for method in methods}
    recall: dict[str, list[float]] = {method: [] for method in methods}
    for now in range(start, end):
        strength = w.strength(now)
        drift = np.sign(np.sum(strength * w.sign))
        best = float(np.sort(strength)[-BUDGET:].sum())
        for method in methods:
            rows, weight = read(w, method, now, rng)
            hits[method].append(bool(np.sign(np.sum(weight * w.sign[rows])) == drift))
            recall[method].append(float(strength[rows].sum()) / best if best else 1.0)
    return {method: Score(float(np.mean(hits[method])), float(np.mean(recall[method]))) for method in methods}


# -- B: what promotion keeps ----------------------------------------------------------------------------------

Rule: TypeAlias = Literal["no promotion", "promotion of what was used", "promotion by importance alone"]
RULES: tuple[Rule, ...] = ("no promotion", "promotion of what was used", "promotion by importance alone")


def rule(name: Rule) -> Layers:
    """The paper's layers under a rule of promotion."""
    if name == "no promotion":
        return Layers({layer: replace(config, promote_at=None) for layer, config in PAPER.items()})
    return Layers(PAPER, promote_unused=name == "promotion by importance alone")


@dataclass(frozen=True)
class Kept:
    """What is left at the end of simulation B.

    Parameters
    ----------
    relevant: share, of the events that stay relevant and are at least `settled` days old, that is alive.
    size: how many events are alive.
    by_importance: share of the dropped ones that fell below the floor of importance, not of recency.
    """

    relevant: float
    size: int
    by_importance: float


def keep(
    name: Rule,
    seed: int,
    *,
    use: float = 0.5,
    days: int = 150,
    per_day: int = 10,
    stays: float = 0.05,
    settled: int = 50,
) -> Kept:
    """Simulation B: short-layer events, one in twenty of which stays relevant and is of use on a day with odds `use`.

    A day begins with its check; then events are written, and the relevant ones that are alive may be used (also on the
    day on which they come). The draws do not depend on the rule.
    """
    layers, rng = rule(name), np.random.default_rng([seed, 80])
    events: list[Event | None] = []
    upcoming: list[Move | None] = []
    relevant: list[bool] = []
    fell = {"importance": 0, "recency": 0}
    for day in range(days + 1):
        now = day * DAY
        for i, move in enumerate(upcoming):
            if move is not None and move.at <= now:
                gone = move.kind == "deleted"
                events[i], upcoming[i] = (None, None) if gone else (move.event, layers.next_move(move.event))
                if gone:
                    low = layers.recency(move.event, now) < layers.configs[move.event.layer].recency_floor
                    fell["recency" if low else "importance"] += 1
        for _ in range(per_day):
            event = Event(0, now, layers.configs[0].draw(rng), now)
            events.append(event)
            upcoming.append(layers.next_move(event))
            relevant.append(bool(rng.random() < stays))
        used = rng.random(len(events)) < use
        for i in np.flatnonzero(used & np.array(relevant)).tolist():
            if (met := events[i]) is not None:
                events[i] = met = layers.accessed(met, 1, now)
                upcoming[i] = layers.next_move(met)
    old = [i for i in range((days - settled) * per_day) if relevant[i]]
    alive = [event is not None for event in events]
    dropped = sum(fell.values())
    return Kept(
        float(np.mean([alive[i] for i in old])) if old else float("nan"),
        sum(alive),
        fell["importance"] / dropped if dropped else float("nan"),
    )


def lives(days: int = 120, uses: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, tuple[Floats, list[int]]]:
    """Recency + importance of one event of 90 points by day, NaN once it is dropped; and the days on which it moved up.

    `uses` are the days of use of each event drawn; those named after a layer are written there.
    """
    layers = Layers(PAPER)
    drawn: dict[str, tuple[Floats, list[int]]] = {}
    for name, on in (uses or {"short": (), "mid": (), "long": ()}).items():
        event: Event | None = Event(layers.names.index(name) if name in layers.names else 0, 0.0, 90.0, 0.0)
        score, moved = np.full(days + 1, np.nan), []
        for day in range(days + 1):
            for move in layers.advance(event, day * DAY) if event else []:
                event = None if move.kind == "deleted" else move.event
                moved += [day] if move.kind == "promoted" else []
            if event and day in on:
                event = layers.accessed(event, 1, day * DAY)
            if event:
                now = day * DAY
                score[day] = layers.recency(event, now) + min(layers.importance(event, now) / FULL, 1.0)
        drawn[name] = score, moved
    return drawn
