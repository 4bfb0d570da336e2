"""Task nodes as traces of the store, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from halflife.agent.derived import with_sources
from halflife.agent.task_forest import Forest
from halflife.agent.task_nodes import Former, Node
from halflife.store.filters import parse
from halflife.store.trace import Trace

NAME = "task-graph"
NODE, EDIT = "task:node", "task:edit"  # roles
NODES, ACTIVE = parse({"role": NODE}), parse({"status": "active"})


def is_turn(trace: Trace) -> bool:
    """Whether a message is something that its user asks for."""
    return trace.role not in (NODE, EDIT, "assistant") and not trace.sources


def is_edit(trace: Trace) -> bool:
    """Whether a message holds operations rather than words."""
    return trace.role == EDIT


def metadata_of(forest: Forest, node: Node) -> dict[str, object]:
    """What is kept of a node beside its text."""
    kept: dict[str, object] = {
        "slot": node.slot, "task": forest.root(node).slot, "value": node.value, "parent": node.parent,
        "dependencies": list(node.needs), "shares": list(node.shares), "stale": list(node.stale),
        "former": [[former.slot, former.value, former.source] for former in node.former], "cues": list(node.cues),
        "source": node.source, "removed": node.removed, "replaced_by": node.replaced_by, "tick": node.tick,
    }  # fmt: skip
    return with_sources(kept, node.touched)


def node_of(trace: Trace) -> Node:
    """The node that a trace keeps."""
    data = trace.metadata
    return Node(
        trace.id, data["slot"], data["value"], data["parent"], tuple(data["dependencies"]), tuple(data["shares"]),
        tuple(data["stale"]), tuple(Former(*former) for former in data["former"]), tuple(data["cues"]), data["source"],
        trace.sources, data["removed"], data["replaced_by"], data["tick"],
    )  # fmt: skip


def pruned(node: Node, there: Mapping[str, Node]) -> Node:
    """A node without edges to nodes that are not in use: their making was undone."""
    needs, shares, stale = (tuple(id for id in edges if id in there) for edges in (node.needs, node.shares, node.stale))
    parent, instead = (id if id in there else None for id in (node.parent, node.replaced_by))
    return replace(node, parent=parent, replaced_by=instead, needs=needs, shares=shares, stale=stale)


def plain(node: Node) -> Node:
    """A node as it is compared: the order of its turns says nothing."""
    return replace(node, touched=tuple(sorted(node.touched)))
