"""Which trace was said before which in a session: a chain through the slots of a working set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from halflife.decay.law import Array
from halflife.store.protocol import Ints
from halflife.store.vectors import Growing

_NOT = -1


class Sessions:
    """Each session as a chain of slots in the order of (time, number).

    >>> sessions = Sessions()
    >>> sessions.add(["s", None, "s"], np.array([2.0, 0.0, 1.0]), np.array([1, 2, 3]))
    >>> sessions.beside(np.array([0, 1, 2])).tolist()               # slot 2 was said before slot 0
    [[2, -1, -1], [-1, -1, 0]]
    """

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._last: list[int] = []  # the last slot of each session
        self._session = Growing(np.int32)
        self._before = Growing(np.int32)
        self._after = Growing(np.int32)

    def add(self, sessions: Sequence[str | None], at: Array, n: Ints) -> None:
        """Append slots, given the session of each; `at` and `n` are those of all slots, the new ones included."""
        first = self._session.size
        codes = [_NOT if one is None else self._codes.setdefault(one, len(self._codes)) for one in sessions]
        self._last += [_NOT] * (len(self._codes) - len(self._last))
        code = np.array(codes, dtype=np.int32)
        self._session.extend(code)
        for side in (self._before, self._after):
            side.extend(np.full(len(code), _NOT, dtype=np.int32))
        new = first + np.flatnonzero(code != _NOT)
        if not len(new):
            return
        order = new[np.lexsort((n[new], at[new], self._session.array[new]))]
        starts = np.flatnonzero(np.diff(self._session.array[order], prepend=_NOT))
        for chain in np.split(order, starts[1:]):
            self._extend(chain, at, n)

    def _extend(self, chain: Ints, at: Array, n: Ints) -> None:
        """Slots of one session in their order: after its last, or each in its place."""
        last = self._last[self._session.array[chain[0]]]
        if last != _NOT and (at[last], n[last]) > (at[chain[0]], n[chain[0]]):
            for slot in chain.tolist():
                self._insert(slot, at, n)
            return
        self._after.array[chain[:-1]] = chain[1:]
        self._before.array[chain[1:]] = chain[:-1]
        self._join(last, int(chain[0]))
        self._last[self._session.array[chain[0]]] = int(chain[-1])

    def _insert(self, slot: int, at: Array, n: Ints) -> None:
        """Put a slot in its place, which is sought from the end."""
        session = self._session.array[slot]
        later, earlier = _NOT, self._last[session]
        while earlier != _NOT and (at[earlier], n[earlier]) > (at[slot], n[slot]):
            later, earlier = earlier, int(self._before.array[earlier])
        self._join(earlier, slot)
        self._join(slot, later)
        if later == _NOT:
            self._last[session] = slot

    def _join(self, a: int, b: int) -> None:
        if a != _NOT:
            self._after.array[a] = b
        if b != _NOT:
            self._before.array[b] = a

    def remove(self, slots: Ints) -> None:
        """Take slots out of their sessions."""
        for slot in slots[self._session.array[slots] != _NOT].tolist():
            before, after = int(self._before.array[slot]), int(self._after.array[slot])
            self._join(before, after)
            if after == _NOT:
                self._last[self._session.array[slot]] = before
                if before != _NOT:
                    self._after.array[before] = _NOT
            elif before == _NOT:
                self._before.array[after] = _NOT
            self._before.array[slot] = self._after.array[slot] = _NOT
            self._session.array[slot] = _NOT

    def beside(self, slots: Ints) -> NDArray[np.int64]:
        """[2, slots]: the slot said before and the one said after, -1 for none; of none (-1) too."""
        pair = np.stack([self._before.array[slots], self._after.array[slots]]).astype(np.int64)
        return np.where(slots >= 0, pair, _NOT)
