"""A bank of facts that is changed by operations only: all of them or none, and each change can be taken back.

Paper: "Memory-R1: Enhancing Large Language Model Agents to Manage and Utilize Memories via Reinforcement Learning",
arXiv 2508.19828. The operations are those of its memory manager: ADD, UPDATE, DELETE and NOOP.

The bank lives in memory. A manager is trained on it, and `MemoryR1` plans on it before it writes to the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias, get_args

from halflife.errors import InvalidInput

Kind: TypeAlias = Literal["ADD", "UPDATE", "DELETE", "NOOP"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Op:
    """One operation of a memory manager.

    Parameters
    ----------
    kind: `ADD` a new entry, `UPDATE` the text of one, `DELETE` one, or `NOOP`: leave the bank as it is.
    id: of the entry that is updated or deleted; for the others empty.
    text: what the entry says from now on; for `DELETE` and `NOOP` empty.
    source: id of the message that it comes from, which the entry remembers; empty if there is none.

    Raises
    ------
    InvalidInput: an unknown kind, or an id or text that is missing or that the kind has no use for.
    """

    kind: Kind
    id: str = ""
    text: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidInput(f"There is no operation {self.kind!r}.", f"Use one of {', '.join(KINDS)}.")
        for what, value, wanted in (
            ("id", self.id, self.kind in ("UPDATE", "DELETE")),
            ("text", self.text.strip(), self.kind in ("ADD", "UPDATE")),
        ):
            if bool(value) != wanted:
                raise InvalidInput(f"{self.kind} {'needs an' if wanted else 'has no'} {what}.")


@dataclass(frozen=True)
class Entry:
    """An entry of the bank: its id, what it says, and the messages that it was made of."""

    id: str
    text: str
    sources: tuple[str, ...] = ()


class Change(NamedTuple):
    """An entry before and after an operation; None where it is not there."""

    id: str
    before: Entry | None
    after: Entry | None


@dataclass(frozen=True)
class Diff:
    """What a list of operations changed, in order. `FactBank.undo` takes it back."""

    changes: tuple[Change, ...] = ()

    @property
    def net(self) -> Mapping[str, tuple[Entry | None, Entry | None]]:
        """Each entry that is other than it was: before and after all operations together."""
        first: dict[str, Entry | None] = {}
        last: dict[str, Entry | None] = {}
        for change in self.changes:
            first.setdefault(change.id, change.before)
            last[change.id] = change.after
        return {id: (first[id], last[id]) for id in first if first[id] != last[id]}


class FactBank:
    """Entries by id, oldest first. An id is given once and stays with its entry through every update.

    Parameters
    ----------
    entries: what is there to begin with.
    new_id: gives the ids of new entries; e1, e2, ... by default. Copies share it.

    >>> bank = FactBank()
    >>> added = bank.apply([Op("ADD", text="Anna lives in Oslo.", source="m1")])
    >>> moved = bank.apply([Op("UPDATE", "e1", "Anna lives in Bergen.", "m2"), Op("ADD", text="Anna has a dog.")])
    >>> [(entry.id, entry.text, entry.sources) for entry in bank]
    [('e1', 'Anna lives in Bergen.', ('m1', 'm2')), ('e2', 'Anna has a dog.', ())]
    >>> bank.undo(moved)
    >>> [entry.text for entry in bank], [entry.text for entry in bank.snapshot(0)]
    (['Anna lives in Oslo.'], [])
    """

    def __init__(self, entries: Sequence[Entry] = (), new_id: Callable[[], str] | None = None) -> None:
        self._entries = {entry.id: entry for entry in entries}
        if len(self._entries) < len(entries):
            raise InvalidInput("Two entries of a bank have the same id.", "Give each entry an id of its own.")
        self._new_id = new_id or map("e{}".format, count(1)).__next__
        self._log: list[Diff] = []

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The entries by id, to look at."""
        return MappingProxyType(self._entries)

    @property
    def turn(self) -> int:
        """How many diffs the bank is made of: those applied and not undone."""
        return len(self._log)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def __getitem__(self, id: str) -> Entry:
        if id not in self._entries:
            raise InvalidInput(f"The bank has no entry {id!r}.", "Name an entry that is there.")
        return self._entries[id]

    def apply(self, ops: Sequence[Op]) -> Diff:
        """Carry out operations in order, all of them or, if one names an unknown entry, none.

        An operation sees what those before it did. An update keeps the sources of the entry and adds its own.

        Raises
        ------
        InvalidInput: an id that is not in the bank at that point.
        """
        entries = dict(self._entries)
        changes: list[Change] = []
        for op in ops:
            if op.kind == "NOOP":
                continue
            before: Entry | None = None
            after: Entry | None = None
            if op.kind == "ADD":
                while (id := self._new_id()) in self._entries:
                    pass
                after = Entry(id, op.text, (op.source,) if op.source else ())
            elif (before := entries.get(id := op.id)) is None:
                raise InvalidInput(
                    f"{op.kind} names the entry {op.id!r}, which is not in the bank; nothing was changed.",
                    "Name one of the entries that were shown.",
                )
            elif op.kind == "UPDATE":
                after = _updated(before, op)
            if before == after:
                continue
            changes.append(Change(id, before, after))
            if after is None:
                del entries[id]
            else:
                entries[id] = after
        self._entries = entries
        self._log.append(Diff(tuple(changes)))
        return self._log[-1]

    def undo(self, diff: Diff) -> None:
        """Take a diff back, the last one or an earlier one whose entries no later one touched.

        Raises
        ------
        InvalidInput: it was undone already, is none of this bank, or its entries have changed since.
        """
        place = next((i for i in reversed(range(len(self._log))) if self._log[i] is diff), None)
        if place is None:
            raise InvalidInput("This diff is none of the bank's, or was undone.", "Undo what `apply` returned, once.")
        touched = {change.id for change in diff.changes}
        if any(change.id in touched for later in self._log[place + 1 :] for change in later.changes):
            raise InvalidInput("An entry of this diff has changed since.", "Undo the later diffs first.")
        self._entries = _without(self._entries, diff)
        del self._log[place]

    def snapshot(self, turn: int | None = None) -> FactBank:
        """A copy of the bank as it is, or as it was when it was made of `turn` diffs: what a training tuple keeps."""
        if turn is None:
            turn = len(self._log)
        if not 0 <= turn <= len(self._log):
            raise InvalidInput(f"The bank has no turn {turn}.", f"It has turns 0 to {len(self._log)}.")
        entries = self._entries
        for diff in reversed(self._log[turn:]):
            entries = _without(entries, diff)
        return FactBank(list(entries.values()), self._new_id)


def _updated(entry: Entry, op: Op) -> Entry:
    sources = entry.sources if not op.source or op.source in entry.sources else (*entry.sources, op.source)
    return replace(entry, text=op.text, sources=sources)


def _without(entries: Mapping[str, Entry], diff: Diff) -> dict[str, Entry]:
    """The entries as they were before a diff; what it had deleted stands last again."""
    left = dict(entries)
    for change in reversed(diff.changes):
        if change.before is None:
            del left[change.id]
        else:
            left[change.id] = change.before
    return left
