"""What a turn asks of a task graph, as one typed object: read by rules or a model, applied by the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeAlias, get_args

from halflife.agent.task_forest import Forest
from halflife.agent.task_nodes import Impact, Node, Verdict
from halflife.agent.thoughts import entity
from halflife.errors import InvalidInput

Kind: TypeAlias = Literal["new", "set", "revert", "remove", "replace", "need", "share", "check", "ask", "conflict"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SILENT: tuple[Kind, ...] = ("check", "ask", "conflict")  # they change nothing


@dataclass(frozen=True)
class Op:
    """One operation on a task graph.

    Parameters
    ----------
    kind: `new` adds a slot (or sets one that is there), `set` changes one (or adds it, flagged), `revert` goes back,
        `remove` takes out, `replace` puts one object for another in every task, `need` and `share` add edges;
        `check`, `ask` and `conflict` change nothing.
    slot: the slot, or `task/slot`.
    value: the new value; of a `revert` the one to go back to; of a `check` or a `conflict` the one claimed.
    parent: the slot that it is part of.
    new_slot: the new name, or the new object of `replace`; for `need` and `share` the other slot.
    needs: slots that a new one depends on.
    steps: how far a `revert` without a value goes back.
    everywhere: also the slots that share the object. cascade: also what needs it.
    about: of a `check`: what the slot is now (`value`), that it was taken out (`removed`) or never there (`never`).
    cue: the word that led to the value.
    """

    kind: Kind
    slot: str = ""
    value: str | None = None
    parent: str | None = None
    new_slot: str | None = None
    needs: tuple[str, ...] = ()
    steps: int = 1
    everywhere: bool = False
    cascade: bool = False
    about: Literal["value", "removed", "never"] = "value"
    cue: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidInput(f"There is no operation {self.kind!r}.", f"Use one of {', '.join(KINDS)}.")

    @property
    def path(self) -> str:
        """The slot with its task, where one is said."""
        plain = not self.parent or "/" in self.slot or self.parent == self.slot
        return self.slot if plain else f"{str(self.parent).partition('/')[0]}/{self.slot}"

    def to_dict(self) -> dict[str, Any]:
        """What was said of it, as plain data; `Op.of` reads it back."""
        usual = {field.name: field.default for field in fields(self)}
        said = {name: value for name, value in asdict(self).items() if value != usual[name]}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in said.items()}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Op:
        """The operation of `to_dict`."""
        return cls(**{**data, "needs": tuple(data.get("needs", ()))})

    def __str__(self) -> str:
        what = f" {self.path}" if self.slot else ""
        other = f" {self.new_slot}" if self.new_slot else ""
        return f"{self.kind}{what}{other}{f' = {self.value}' if self.value else ''}"


def apply(forest: Forest, op: Op, source: str = "") -> Impact:
    """Carry out an operation, on behalf of the turn `source`.

    Raises `InvalidInput` or `UnknownTrace` for one that cannot be carried out.

    >>> forest = Forest()
    >>> apply(forest, Op("new", "date", "June 10", parent="trip")).changed
    ('trip', 'trip/date')
    >>> apply(forest, Op("set", "gate", "B4")).flags
    ('gate was not in memory: added',)
    """
    if op.kind in SILENT:
        return Impact()
    if op.kind in ("new", "set"):
        return _put(forest, op, source)
    if op.kind == "revert":
        return forest.rollback(op.path, op.steps, to=op.value, source=source)
    if op.kind == "remove":
        return forest.remove(op.path, cascade=op.cascade, source=source)
    if op.new_slot is None:
        raise InvalidInput(f"{op.kind} {op.slot!r} names no other slot.")
    if op.kind == "replace":
        return forest.replace(op.slot, op.new_slot, op.value, source=source)
    return getattr(forest, op.kind)(op.path, op.new_slot, source=source)  # type: ignore[no-any-return]


def _put(forest: Forest, op: Op, source: str) -> Impact:
    done = Impact()
    if op.parent and op.parent != op.slot and op.parent not in forest:
        done += forest.add(op.parent, source=source)
    node = forest.find(op.path)
    if op.kind == "new" and (node is None or node.removed):
        name = op.slot.rpartition("/")[2]
        parent = None if op.parent == op.slot else op.parent
        return done + forest.add(name, op.value, parent, op.needs, source=source, cue=op.cue)
    done += forest.update(
        op.path, op.value, op.new_slot, everywhere=op.everywhere, source=source, cue=op.cue
    )  # fmt: skip
    for other in op.needs:
        done += forest.need(op.path, other, source=source)
    return done


def judge(forest: Forest, op: Op) -> Verdict:
    """Whether what a `check` claims is so.

    >>> forest = Forest()
    >>> _ = apply(forest, Op("new", "salt", "a pinch", "soup")), apply(forest, Op("remove", "soup/salt"))
    >>> judge(forest, Op("check", "salt", parent="soup", about="removed")).holds
    True
    """
    if op.about == "value" and op.value is not None:
        return forest.check(op.path, op.value)
    node = once(forest, op)
    if node is None:
        return Verdict(op.about == "never", None, ())
    current = None if node.removed else f"{node.slot}: {node.value}" if node.value else node.slot
    here = not node.removed and entity(node.slot) == entity(op.slot.rpartition("/")[2])
    gone = node.removed and node.replaced_by is None
    return Verdict({"value": here, "removed": gone, "never": False}[op.about], current, node.former)


def once(forest: Forest, op: Op) -> Node | None:
    """The node that has, or once had, the name that an operation says."""
    if (node := forest.find(op.path)) is not None:
        return node
    task, _, name = op.path.rpartition("/")
    for node in forest.nodes.values():
        named = any(entity(former.slot) == entity(name) for former in node.former)
        if named and (not task or entity(forest.root(node).slot) == entity(task)):
            return node
    return None
