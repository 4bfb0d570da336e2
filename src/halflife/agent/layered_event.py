"""The life of one memory in layers: how it decays, when it moves to another layer, and when it is dropped.

Paper: "TradingGPT: Multi-Agent System with Layered Memory and Distinct Characters for Enhanced Financial Trading
Performance", arXiv 2309.03736.

Nothing here is counted down day by day. Recency and importance follow from dates in closed form, and so does the day
on which an event is dropped or moves; `Layers.advance` gives the same as checking it every day. A check falls on the
start of each day (UTC), and in it dropping goes before promotion, and promotion before demotion.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from halflife.decay import DAY, LayeredExponential, State
from halflife.decay.law import Array, ArrayLike
from halflife.errors import InvalidInput

Days: TypeAlias = Literal["calendar", "trading"]
MoveKind: TypeAlias = Literal["deleted", "promoted", "demoted"]

LAW = LayeredExponential()  # exp(-t / stability), whatever the layer: the stability of a trace is its layer's
PER_ACCESS = 5.0  # points of importance that an access adds
FULL = 100.0  # points of importance that count as 1 in a score; more are kept, but count no more
_MONDAY = 4.0  # the first Monday after the epoch, in days


@dataclass(frozen=True)
class LayerConfig:
    """How one layer keeps what is in it.

    Parameters
    ----------
    recency_tau: days after which recency is down to 1/e (Q).
    importance_factor: what a day leaves of importance (alpha), in (0, 1].
    initial: importance of a new event and the odds of it, `((points, probability), ...)`.
    promote_at: importance from which an event moves to the next deeper layer; None: never.
    demote_below: importance under which it moves to the next shallower one; None: never.
    recency_floor, importance_floor: under either of which it is dropped.
    holds: what belongs here, in words, for a language model that sorts events into layers.

    Raises
    ------
    InvalidInput: a number outside its range, or odds that do not add up to 1.

    >>> layer = LayerConfig(recency_tau=14.0, importance_factor=0.9)
    >>> round(layer.recency(14.0), 4), round(layer.importance(60.0, 2.0), 4)
    (0.3679, 48.6)
    """

    recency_tau: float
    importance_factor: float
    initial: tuple[tuple[float, float], ...] = ((50.0, 1.0),)
    promote_at: float | None = None
    demote_below: float | None = None
    recency_floor: float = 0.05
    importance_floor: float = 5.0
    holds: str = ""

    def __post_init__(self) -> None:
        if not 0.0 < self.recency_tau < math.inf:
            raise InvalidInput(f"recency_tau must be a positive number of days, not {self.recency_tau!r}.")
        if not 0.0 < self.importance_factor <= 1.0:
            raise InvalidInput(f"importance_factor must lie in (0, 1], not {self.importance_factor!r}.")
        if not 0.0 <= self.recency_floor < 1.0 or not 0.0 <= self.importance_floor < math.inf:
            raise InvalidInput("A floor must not be negative, and that of recency must be less than 1.")
        odds = [probability for _, probability in self.initial]
        if not odds or min(odds) < 0.0 or abs(sum(odds) - 1.0) > 1e-9:
            raise InvalidInput(f"The odds of a first importance must add up to 1, not to {sum(odds):g}.")

    def recency(self, days: float) -> float:
        """S_recency `days` days after the event, or after its promotion: exp(-days / Q)."""
        return math.exp(-days / self.recency_tau)

    def importance(self, value: float, days: float) -> float:
        """Points that are left, after `days` days, of an importance of `value` points: value * alpha ** days."""
        return value * math.pow(self.importance_factor, days)

    def likeliest(self) -> float:
        """The first importance with the best odds."""
        return max(self.initial, key=lambda one: one[1])[0]

    def draw(self, rng: np.random.Generator) -> float:
        """A first importance by its odds."""
        values, odds = zip(*self.initial, strict=True)
        return float(rng.choice(values, p=odds))


PAPER: Mapping[str, LayerConfig] = {
    "short": LayerConfig(
        14.0, 0.9, ((50.0, 0.5), (70.0, 0.45), (90.0, 0.05)), promote_at=60.0, holds="daily news, prices, moods, chores"
    ),
    "mid": LayerConfig(
        90.0, 0.967, ((40.0, 0.05), (60.0, 0.8), (80.0, 0.15)), promote_at=80.0, holds="quarterly reports, projects"
    ),
    "long": LayerConfig(
        365.0, 0.988, ((40.0, 0.05), (60.0, 0.15), (80.0, 0.8)), holds="annual reports, lasting facts, reflections"
    ),
}
"""The paper's three layers; odds and thresholds, which it does not give, are those of its successor FinMem."""

FINMEM: Mapping[str, LayerConfig] = {
    "short": replace(PAPER["short"], recency_tau=3.0, importance_factor=0.92),
    "mid": replace(PAPER["mid"], demote_below=60.0),
    "long": replace(PAPER["long"], demote_below=80.0),
}
"""The layers as FinMem's released configuration has them. They demote a typical report on its second day."""


@dataclass(frozen=True)
class Event:
    """What decays of one memory; times are seconds since the epoch.

    Parameters
    ----------
    layer: its number, from 0, the shallowest.
    since: when it happened, or was last promoted; recency counts from here.
    value: points of importance at the time `valued`.
    accesses: how often it was of use, less how often it misled.
    """

    layer: int
    since: float
    value: float
    valued: float
    accesses: int = 0


@dataclass(frozen=True)
class Move:
    """What a check did: the kind, when, and the event after it."""

    kind: MoveKind
    at: float
    event: Event


class Layers:
    """Layers from the shallowest to the deepest, and the days in which they count.

    Parameters
    ----------
    configs: name of each layer and how it keeps things, shallowest first.
    days: `calendar` counts every day, `trading` Mondays to Fridays (holidays are not known).
    promote_unused: whether importance alone promotes, as in FinMem; otherwise only what was of use moves up.

    Raises
    ------
    InvalidInput: no layer, an unknown kind of days, or thresholds between which an event would go to and fro.

    >>> layers = Layers(PAPER)
    >>> event = Event(layer=0, since=0.0, value=50.0, valued=0.0)
    >>> round(layers.importance(event, 2 * DAY), 6), [(move.kind, move.at / DAY) for move in layers.advance(event, 1e9)]
    (40.5, [('deleted', 22.0)])
    >>> event = layers.accessed(event, 4, now=0.0)
    >>> [(move.kind, move.at / DAY) for move in layers.advance(event, 1e9)]
    [('promoted', 1.0), ('deleted', 77.0)]
    """

    def __init__(
        self, configs: Mapping[str, LayerConfig], days: Days = "calendar", promote_unused: bool = False
    ) -> None:
        if not configs:
            raise InvalidInput("There must be one layer at least.")
        if days not in get_args(Days):
            raise InvalidInput(f"days is {days!r}.", f"Use one of {', '.join(get_args(Days))}.")
        self.names, self.configs = tuple(configs), tuple(configs.values())
        self.days: Days = days
        self.promote_unused = promote_unused
        self.tau = np.array([c.recency_tau for c in self.configs])
        self.factor = np.array([c.importance_factor for c in self.configs])
        self.recency_floor = np.array([c.recency_floor for c in self.configs])
        self.importance_floor = np.array([c.importance_floor for c in self.configs])
        above = [math.inf if c.promote_at is None else c.promote_at for c in self.configs[:-1]]
        below = [-math.inf if c.demote_below is None else c.demote_below for c in self.configs[1:]]
        self.promote_at, self.demote_below = np.array([*above, math.inf]), np.array([-math.inf, *below])
        for name, up, down in zip(self.names, above, below, strict=False):
            if up < down:
                raise InvalidInput(
                    f"What {name!r} promotes at {up:g} the next layer demotes below {down:g}: it would go to and fro.",
                    "Give demote_below a value of at most the promote_at of the layer above.",
                )

    # -- time -------------------------------------------------------------------------------------------------

    def count(self, time: ArrayLike) -> Array:
        """Days from a fixed start to a time in seconds; a weekend has none when trading days are counted."""
        days = np.asarray(time, dtype=np.float64) / DAY
        if self.days == "calendar":
            return days
        weeks, rest = np.divmod(days - _MONDAY, 7.0)
        return np.asarray(5.0 * weeks + np.minimum(rest, 5.0))

    def start(self, day: float) -> float:
        """When a day, counted by `count`, begins, in seconds."""
        if self.days == "calendar":
            return day * DAY
        weeks, rest = divmod(day, 5.0)
        return (7.0 * weeks + rest + _MONDAY) * DAY

    def later(self, time: float, days: float) -> float:
        """The time some days after another."""
        return time + days * DAY if self.days == "calendar" else self.start(float(self.count(time)) + days)

    def last_check(self, now: float) -> int:
        """The day of the last check at a time."""
        return math.floor(self.count(now))

    # -- decay ------------------------------------------------------------------------------------------------

    def recency(self, event: Event, now: float) -> float:
        """S_recency in (0, 1]."""
        return self._recency_on(event, float(self.count(now)))

    def importance(self, event: Event, now: float) -> float:
        """Points of importance left; more than 100 are possible."""
        return self._importance_on(event, float(self.count(now)))

    def _recency_on(self, event: Event, day: float) -> float:
        return self.configs[event.layer].recency(max(day - float(self.count(event.since)), 0.0))

    def _importance_on(self, event: Event, day: float) -> float:
        return self.configs[event.layer].importance(event.value, max(day - float(self.count(event.valued)), 0.0))

    def decayed(
        self, layer: NDArray[np.int64], since: Array, value: Array, valued: Array, now: float
    ) -> tuple[Array, Array]:
        """Recency, and points of importance, of many events at once; each argument has the shape [n]."""
        today = self.count(now)
        days = np.maximum(today - self.count(since), 0.0)
        recency = LAW.retention(days * DAY, State(self.tau[layer] * DAY))
        return recency, value * self.factor[layer] ** np.maximum(today - self.count(valued), 0.0)

    # -- what happens to an event -----------------------------------------------------------------------------

    def accessed(self, event: Event, value: int, now: float) -> Event:
        """The event after it was of use (1) or misled (-1): five points of importance an access, never below none."""
        points = max(self.importance(event, now) + PER_ACCESS * value, 0.0)
        return replace(event, value=points, valued=max(now, event.valued), accesses=event.accesses + value)

    def advance(self, event: Event, until: float) -> list[Move]:
        """What the checks between the last change of an event and a time do to it, oldest first."""
        moves: list[Move] = []
        last = self.start(self.last_check(until))
        while (move := self.next_move(event)) is not None and move.at <= last:
            moves.append(move)
            if move.kind == "deleted":
                break
            event = move.event
        return moves

    def next_move(self, event: Event) -> Move | None:
        """What will happen to an event that nobody uses, and when; None if it stays where it is for ever."""
        found = self._next(event)
        return None if found is None else Move(found[1], self.start(found[0]), self._moved(event, found[1], found[0]))

    def first_check(self, valued: ArrayLike) -> Array:
        """The day of the first check after a change."""
        return np.floor(self.count(valued)) + 1.0

    def _next(self, event: Event) -> tuple[float, MoveKind] | None:
        """The day and kind of the first move, if there will be one."""
        first = float(self.first_check(max(event.since, event.valued)))
        days: list[tuple[float, int, MoveKind]] = [(self._deleted_on(event, first), 0, "deleted")]
        used = self.promote_unused or event.accesses > 0
        if used and self._importance_on(event, first) >= self.promote_at[event.layer]:
            days.append((first, 1, "promoted"))
        if self.demote_below[event.layer] > 0.0:
            days.append((self._falls_below(event, float(self.demote_below[event.layer]), first), 2, "demoted"))
        day, _, kind = min(days)
        return (day, kind) if day < math.inf else None

    def _moved(self, event: Event, kind: MoveKind, day: float) -> Event:
        """A promotion starts recency anew, a demotion does not; importance goes on from where it is."""
        now = self.start(day)
        value = self._importance_on(event, day)
        if kind == "promoted":
            return replace(event, layer=event.layer + 1, since=now, value=value, valued=now)
        return replace(event, layer=event.layer - (kind == "demoted"), value=value, valued=now)

    def _deleted_on(self, event: Event, first: float) -> float:
        config = self.configs[event.layer]
        floor = config.recency_floor
        span = config.recency_tau * math.log(1.0 / floor) if floor else math.inf
        faded = _first_day(
            first, float(self.count(event.since)) + span, lambda day: self._recency_on(event, day) < floor
        )
        return min(faded, self._falls_below(event, config.importance_floor, first))

    def _falls_below(self, event: Event, points: float, first: float) -> float:
        factor = self.configs[event.layer].importance_factor
        if event.value < points:
            return first
        if points <= 0.0 or factor == 1.0:
            return math.inf
        crossing = float(self.count(event.valued)) + math.log(event.value / points) / -math.log(factor)
        return _first_day(first, crossing, lambda day: self._importance_on(event, day) < points)


def _first_day(first: float, crossing: float, below: Callable[[float], bool]) -> float:
    """The first whole day from `first` on, on which a falling value that crosses its bound at `crossing` is below it.

    The days beside the crossing are looked at, since rounding may have moved it.
    """
    if crossing == math.inf:
        return math.inf
    near = math.floor(crossing)
    days = (first, *(max(first, near + i) for i in range(-1, 3)))
    return next((day for day in days if below(day)), max(first, near + 3.0))
