"""Which layer a new memory belongs to: as its writer says, by where it comes from, or by what a language model thinks.

Paper: TradingGPT, arXiv 2309.03736. There, daily news and the state of the market go to the short layer, quarterly
reports to the mid one, annual reports and reflections to the long one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from halflife.agent.backlog import Backlog
from halflife.agent.engine import Engine
from halflife.agent.layered_event import Layers
from halflife.agent.layered_table import KEY, event_of, revision
from halflife.errors import InvalidInput, UnusableAnswer
from halflife.llm.client import Chat
from halflife.store.draft import Draft
from halflife.store.filters import parse
from halflife.store.protocol import Why
from halflife.store.trace import Space, Trace

SOURCES: Mapping[str, str] = {
    "news": "short",
    "market": "short",
    "action": "short",
    "filing": "mid",
    "quarterly report": "mid",
    "annual report": "long",
    "reflection": "long",
}
"""The layer of what comes from a source (`metadata["source"]`)."""


@runtime_checkable
class Router(Protocol):
    """Sends new memories to layers."""

    def route(self, draft: Draft) -> str | None:
        """The name of a layer, or None for a memory of which this router knows nothing."""
        ...


@dataclass(frozen=True)
class BySource:
    """A router by rules: each source has its layer.

    >>> BySource().route(Draft("Revenue grew by 4 %.", at=0.0, metadata={"source": "quarterly report"}))
    'mid'
    """

    rules: Mapping[str, str] = field(default_factory=lambda: SOURCES)

    def route(self, draft: Draft) -> str | None:
        """The layer of the source that `metadata["source"]` names."""
        source = draft.metadata.get("source")
        return self.rules.get(source) if isinstance(source, str) else None


@dataclass(frozen=True)
class Route:
    """A language model's answer: where a memory belongs, and how much it matters."""

    layer: str
    importance: float


def ask_route(chat: Chat, trace: Trace, layers: Layers) -> Route:
    """Where a language model would put a memory. Raises `UnusableAnswer`."""
    points = sorted({value for config in layers.configs for value, _ in config.initial})

    def check(route: Route) -> None:
        if route.layer not in layers.names:
            raise ValueError(f"layer is {route.layer!r}, but it must be one of {', '.join(layers.names)}.")
        if not 0.0 <= route.importance <= 100.0:
            raise ValueError(f"importance is {route.importance:g}, but it must lie between 0 and 100.")

    described = [
        f"{name}: fades within about {config.recency_tau:g} days. {config.holds}".strip()
        for name, config in zip(layers.names, layers.configs, strict=True)
    ]
    return chat.ask(
        "layered.route", Route, check=check, content=trace.text, layers=described, points=[f"{p:g}" for p in points]
    )


def unrouted(metadata: Mapping[str, Any], given: bool) -> dict[str, Any]:
    """The metadata of a memory that nobody has sent anywhere yet; `given`: its importance was."""
    return {**metadata, KEY: {"unrouted": True, "given": given}}


def route_unrouted(engine: Engine, chat: Chat, space: Space, layers: Layers, now: float) -> dict[str, Any]:
    """Let a language model route what nobody has, one memory at a time.

    Returns the layer of each memory `routed`, which ones `failed` and why, and the `operations`. One that failed is
    tried again the next time.
    """
    report: dict[str, Any] = {"routed": {}, "failed": [], "operations": []}
    store, backlog = engine.store, Backlog(engine, space, KEY)
    for message in backlog.take():
        route, failure = None, None
        if _kept(message).get("unrouted"):
            try:
                route = ask_route(chat, message, layers)
            except UnusableAnswer as error:
                failure = str(error)
        with store.transaction():
            # Nothing is found if it was forgotten while the model thought.
            if route is not None and (found := store.find(space, parse({"id": message.id}))):
                report["operations"].append(store.revise([_routed(found[0], route, layers)], Why("route", KEY), now))
                report["routed"][message.id] = route.layer
            backlog.done(message)
            if failure:
                report["failed"].append({"id": message.id, "why": failure})
                backlog.again([message.id])
    return report


def _kept(trace: Trace) -> dict[str, Any]:
    kept = trace.metadata.get(KEY)
    return dict(kept) if isinstance(kept, Mapping) else {}


def _routed(trace: Trace, route: Route, layers: Layers) -> tuple[str, dict[str, Any]]:
    """A trace in the layer that a model chose, as if it had been written there."""
    event = replace(event_of(trace, layers), layer=layers.names.index(route.layer))
    kept = _kept(trace)
    if not kept.get("given") and not event.accesses:
        event = replace(event, value=route.importance, valued=event.since)
    rest = {key: value for key, value in kept.items() if key not in ("unrouted", "given")}
    return revision(replace(trace, metadata={**trace.metadata, KEY: rest}), event, layers)


def known_layer(name: str, layers: Layers) -> str:
    """The name of a layer, checked. Raises `InvalidInput`."""
    if name not in layers.names:
        raise InvalidInput(f"There is no layer {name!r}.", f"Use one of {', '.join(layers.names)}.")
    return name
