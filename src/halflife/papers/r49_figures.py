"""The pictures of the Task Memory Engine: a task graph after each turn, and errors by turns and by misreading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from halflife.agent.task_forest import Forest
from halflife.agent.task_nodes import Node
from halflife.papers.style import INK, PALETTE, label_ends

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _STEP, _ROW = 0.92, 1.12, 0.62


def draw_graphs(axes: Axes, panels: Sequence[tuple[str, Forest]]) -> None:
    """A column for each turn: tasks in bold, their slots below; what the turn changed has a thick orange edge, what
    became stale a dotted one, and dashed lines join slots that share their object.
    """
    axes.set_axis_off()
    before: dict[str, Node] = {}
    depth = 0.0
    for column, (title, forest) in enumerate(panels):
        x = column * _STEP
        axes.text(x, 0.75, title, fontsize=8.5, va="bottom", color=INK, linespacing=1.25)
        places, y = dict[str, float](), 0.3
        for node in _ordered(forest):
            y -= 0.18 if node.parent is None and places else 0.0
            places[node.id] = y
            _draw_node(axes, x, y, node, changed=_changed(before.get(node.id), node))
            y -= _ROW
        depth = min(depth, y)
        for node in forest.live():
            for other in node.shares:
                if other in places and node.id < other:
                    _draw_share(axes, x + _WIDTH, places[node.id], places[other])
        before = dict(forest.nodes)
    axes.set_xlim(-0.05, len(panels) * _STEP)
    axes.set_ylim(depth, 1.4)


def _ordered(forest: Forest) -> list[Node]:
    return [node for root in forest.live() if root.parent is None for node in forest.subtree(forest.address(root))]


def _changed(old: Node | None, node: Node) -> bool:
    return node.value is not None and (old is None or (old.slot, old.value) != (node.slot, node.value))


def _draw_node(axes: Axes, x: float, y: float, node: Node, changed: bool) -> None:
    if node.parent is None:
        axes.text(x, y, node.slot, fontsize=9.5, fontweight="bold", va="center", color=INK)
        return
    from matplotlib.patches import FancyBboxPatch

    edge = PALETTE[1] if changed else "#9A9A9A"
    style = ":" if node.stale else "-"
    box = FancyBboxPatch(
        (x + 0.04, y - 0.23), _WIDTH - 0.08, 0.46, boxstyle="round,pad=0.0,rounding_size=0.06", facecolor="white",
        edgecolor=edge, linewidth=1.9 if changed else 0.9, linestyle=style,
    )  # fmt: skip
    axes.add_patch(box)
    axes.text(x + 0.1, y + 0.1, node.slot, fontsize=8.5, va="center", color=INK)
    axes.text(x + 0.1, y - 0.11, node.value or "", fontsize=7.5, va="center", color="#5A5A5A")


def _draw_share(axes: Axes, x: float, a: float, b: float) -> None:
    from matplotlib.patches import FancyArrowPatch

    axes.add_patch(FancyArrowPatch(
        (x - 0.04, a), (x - 0.04, b), connectionstyle="arc3,rad=0.12", arrowstyle="-", linestyle=(0, (3, 3)),
        color=PALETTE[0], linewidth=1.2,
    ))  # fmt: skip


def draw_errors(axes: Axes, x: Sequence[float], errors: Mapping[str, Sequence[float]], label: str) -> None:
    """Errors of every memory, each labelled where its curve ends."""
    for values in errors.values():
        axes.plot(x, values, marker="o", markersize=4)
    highest = max(max(values) for values in errors.values())
    axes.set_ylim(-0.03 * highest, 1.05 * highest)  # so that a curve at zero is seen
    axes.set_xticks(x)
    axes.set_xlabel(label)
    axes.set_ylabel("wrong state at a check")
    label_ends(axes, float(x[-1]), {name: float(values[-1]) for name, values in errors.items()})
