"""Which slot a phrase means: by name, by the words they share, by the values seen, by nearness in meaning."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from halflife.agent.task_forest import Forest
from halflife.agent.task_nodes import Node, same
from halflife.agent.task_words import PREPOSITIONS, kind_of, noun, stems
from halflife.agent.thoughts import entity
from halflife.llm.embedder import Embedder

# Cosine from which a phrase means a slot that shares no word with it: with the default embedder "lodging" and "hotel"
# have 0.75, "accommodation" and "hotel" 0.70, but "destination" and "trip" 0.68, "lunch" and "dinner" 0.64.
NEAR = 0.7
PRONOUNS = frozenset(("it", "that", "this", "them", "these", "those", "the same"))


class Lexicon:
    """The slots of a graph, as words can name them.

    Parameters
    ----------
    forest: the graph.
    embedder: for phrases that share no word with a slot; None leaves these out.

    >>> trip = Forest()
    >>> _ = trip.add("trip"), trip.add("departure date", "June 10", "trip"), trip.add("hotel", None, "trip")
    >>> Lexicon(trip).slot("the date").slot
    'departure date'
    """

    def __init__(self, forest: Forest, embedder: Embedder | None = None, near: float = NEAR) -> None:
        self.forest, self.embedder, self.near = forest, embedder, near

    @property
    def task(self) -> Node | None:
        """The task in focus."""
        focus = self.forest.focus()
        return self.forest.root(focus) if focus else None

    def slot(
        self, phrase: str, within: Node | None = None, removed: bool = False, by_words: bool = False
    ) -> Node | None:
        """The slot that a phrase means, if it means one; `by_words` leaves out what is only near in meaning."""
        name = noun(phrase)
        if not name or entity(name) in PRONOUNS:
            return None
        nodes = self._nodes(within, removed)
        if exact := self._exact(name, nodes):
            return exact
        words = stems(name)
        shared = [(len(words & stems(n.slot)), n) for n in nodes if words <= stems(n.slot) or stems(n.slot) <= words]
        if shared and words:
            most = max(count for count, _ in shared)
            return self._best(node for count, node in shared if count == most)
        return None if by_words else self._near(name, [n for n in nodes if n.parent or n.value])  # tasks have names

    def named(self, name: str) -> Node | None:
        """The slot in use of exactly this name."""
        return self._exact(name, self._nodes(None, False))

    def mentioned(self, text: str, within: Node | None = None, removed: bool = False) -> list[Node]:
        """The slots whose names stand in a text, in their order there."""
        found: dict[str, tuple[int, Node]] = {}
        for node in self._nodes(within, removed):
            place = re.search(rf"(?<!\w){re.escape(node.slot)}(?!\w)", text, re.I)
            if place and (entity(node.slot) not in found or self._best([found[entity(node.slot)][1], node]) == node):
                found[entity(node.slot)] = (place.start(), node)
        return [node for _, node in sorted(found.values(), key=lambda item: item[0])]

    def holding(self, value: str, former: bool = True) -> Node | None:
        """The slot whose value this is, or else was."""
        now = [node for node in self.forest.live() if node.value is not None and same(node.value, value)]
        was = [node for node in self.forest.live() if any(same(old.value, value) for old in node.former)]
        return self._best(now or (was if former else []))

    def owner(self, preposition: str, value: str) -> Node | None:
        """The slot that a phrase such as "from Rome" speaks of: it has or had the value, or was set in such words."""
        held = self.holding(value)
        if held is not None:
            return held
        kind = kind_of(value)
        return self._best(
            node
            for node in self.forest.live()
            if preposition in node.cues and node.value is not None and kind_of(node.value) == kind
        )

    def of_kind(self, value: str) -> Node | None:
        """The slot in focus, unless another of its task holds a value of this kind and it does not."""
        focus, kind = self.forest.focus(), kind_of(value)
        if focus is None or self.task is None:
            return None
        if kind == "text" or (focus.value is not None and kind_of(focus.value) == kind):
            return focus
        nodes = [n for n in self._nodes(self.task, False) if kind in {kind_of(v) for v in _values(n)}]
        return self._best(nodes) or focus

    def parts(self, task: Node) -> list[Node]:
        """The slots of a task that are in use."""
        return [node for node in self.forest.subtree(self.forest.address(task)) if node.id != task.id]

    def _nodes(self, within: Node | None, removed: bool) -> list[Node]:
        nodes = list(self.forest.nodes.values()) if removed else list(self.forest.live())
        return [n for n in nodes if within is None or self.forest.root(n).id == self.forest.root(within).id]

    def _exact(self, name: str, nodes: Iterable[Node]) -> Node | None:
        wanted = entity(name)
        return self._best(n for n in nodes if wanted in (entity(n.slot), entity(self.forest.address(n))))

    def _best(self, nodes: Iterable[Node]) -> Node | None:
        """Of several, one in use, of the task in focus, changed last."""
        task = self.task
        return max(
            nodes,
            key=lambda n: (not n.removed, task is not None and self.forest.root(n).id == task.id, n.tick),
            default=None,
        )

    def _near(self, name: str, nodes: list[Node]) -> Node | None:
        if self.embedder is None or not nodes:
            return None
        vectors = self.embedder.embed([name, *(node.slot for node in nodes)])
        scores = vectors[1:] @ vectors[0]
        best = int(np.argmax(scores))
        return nodes[best] if float(scores[best]) >= self.near else None


def _values(node: Node) -> list[str]:
    return [*([node.value] if node.value is not None else []), *(old.value for old in node.former)]


def without_preposition(text: str) -> str:
    """A phrase without the preposition that it starts with."""
    return re.sub(rf"^(?:{PREPOSITIONS})\s+", "", text, flags=re.I)
