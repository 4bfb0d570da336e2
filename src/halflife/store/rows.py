"""Between rows of the table `trace` and records."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from halflife.decay.law import Law, State
from halflife.errors import CorruptStore, InvalidInput
from halflife.store import seal
from halflife.store.draft import Draft, check_importance, check_name, metadata_json
from halflife.store.text import term_bytes
from halflife.store.trace import Space, Trace, new_ids

_REPAIR = "Restore a backup, or keep what is readable: halflife doctor --repair"
R = TypeVar("R")
STORED = np.dtype(np.float16)  # of the numbers of a stored vector

STATE = ("stability", "difficulty", "uses", "lapses", "span")
TRACE = [
    *"n id space digest kind text at valid_from valid_to recorded_at agent_id session_id role metadata".split(),
    *"importance layer system terms created changed last_used".split(),
    *STATE,
    "seal",
]
INSERT = f"INSERT INTO trace ({', '.join(TRACE)}) VALUES ({', '.join('?' * len(TRACE))})"
INSERT_NEW = INSERT + " ON CONFLICT (space, digest) WHERE status <> 'retired' DO NOTHING"
READ = (
    "SELECT trace.n, trace.id, space.name, text, at, recorded_at, trace.kind, valid_from, valid_to, retired_at, "
    "agent_id, session_id, role, metadata, importance, layer, stability, difficulty, uses, lapses, span, last_used, "
    "system, version, status, seal, EXISTS (SELECT 1 FROM source WHERE derived = trace.n) "
    "FROM trace JOIN space ON space.id = trace.space"
)

# Links not taken back that touch some traces; the view `live_link` would look at all links.
LINKS_OF = """
    SELECT a, b, touching.kind, op, weight FROM (
        SELECT a, b, kind, op, weight FROM link WHERE a IN ({0})
        UNION ALL SELECT a, b, kind, op, weight FROM link WHERE b IN ({0})
    ) AS touching JOIN operation USING (op) WHERE undone_by IS NULL"""

_FIELDS, _STATE = ([field.name for field in fields(kind)] for kind in (Trace, State))

# What an update may change, and how a value becomes a column.
EDITABLE = (
    *"text at valid_from valid_to agent_id session_id role metadata importance layer status".split(),
    *("retired_at", "last_used", *STATE),
)


def new_rows(
    drafts: Sequence[Draft], digests: Sequence[bytes], n0: int, space: tuple[int, str], op: int, now: float, law: Law
) -> list[tuple[Any, ...]]:
    """The rows of drafts, numbered from `n0`, in the space of this number and name."""
    first = _first_state(law)
    space_id, space_name = space
    rows = []
    # Ids of one moment are random: sorted, they go to the end of their index, and rise with the numbers.
    ids = sorted(new_ids(len(drafts), now))
    for n, (d, digest, id) in enumerate(zip(drafts, digests, ids, strict=True), start=n0):
        state = first if d.state is None else state_row(d.state)
        said = (
            d.kind, d.text, d.at, d.valid_from, d.valid_to, now, d.agent_id, d.session_id, d.role,
            metadata_json(d.metadata) if d.metadata else "{}", d.importance, d.layer, d.system,
        )  # fmt: skip
        id = d.id or id
        kept_seal = seal.of_trace(n, space_name, (id, *said))
        rows.append((n, id, space_id, digest, *said, term_bytes(d.text), op, op, d.at, *state, kept_seal))
    return rows


@lru_cache
def _first_state(law: Law) -> tuple[float, ...]:
    return state_row(law.initial())


def state_row(state: State) -> tuple[float, float, float, float, float]:
    """A scalar state as columns."""
    return tuple(float(getattr(state, name)) for name in STATE)  # type: ignore[return-value]


def state_of(columns: Iterable[Sequence[float]]) -> State:
    """Rows of the five columns as one state of arrays."""
    array = np.array(list(columns), dtype=np.float64).reshape(-1, len(STATE))
    return State(*array.T)


def read_trace(row: Sequence[Any], sources: tuple[str, ...]) -> Trace:
    """A row of `READ` as a record. Raises `CorruptStore` if it is not as it was written."""
    (n, id, space, text, at, recorded, kind, valid_from, valid_to, retired, agent, session, role, metadata, importance,
     layer, *state, last_used, system, version, status, kept_seal, _) = row  # fmt: skip
    sealed = (id, kind, text, at, valid_from, valid_to, recorded, agent, session, role, metadata, importance, layer,
              system)  # fmt: skip
    seal.check_trace(kept_seal, n, space, sealed)
    if any(type(number) is not float for number in (last_used, *state)) or type(version) is not int:
        raise CorruptStore(f"The strength of the memory {id} is no number: the file is damaged.", _REPAIR)
    values = (
        id, Space(space), text, at, recorded, kind, valid_from, valid_to, retired, agent, session, role,
        {} if metadata == "{}" else json.loads(metadata), importance, layer, _record(State, _STATE, state),
        last_used, sources, system, version, status,
    )  # fmt: skip
    return _record(Trace, _FIELDS, values)


def _record(kind: type[R], names: Sequence[str], values: Iterable[Any]) -> R:
    """A frozen record from all its fields, set at once: its own constructor sets them one by one."""
    record = object.__new__(kind)
    record.__dict__.update(zip(names, values, strict=True))
    return record


PAYLOAD = "SELECT id, digest, kind, role, text, data FROM trace JOIN payload USING (n)"


def read_payload(row: Sequence[Any]) -> bytes:
    """The tensors in a row of `PAYLOAD`. Raises `CorruptStore` if they are not as they were written."""
    id, digest, kind, role, text, data = row
    try:
        same = Draft(text, 0.0, kind=kind, role=role, payload=data).digest() == digest
    except (InvalidInput, TypeError):
        same = False
    if not same:
        raise CorruptStore(
            f"The tensors of the memory {id} are not as they were written: the file is damaged.", _REPAIR
        )
    return bytes(data)


def sources_of(db: sqlite3.Connection, ns: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """The ids that each of these traces was derived from."""
    found: dict[int, list[str]] = {}
    for part in chunks(ns):
        sql = f"SELECT derived, id FROM source JOIN trace ON n = source WHERE derived IN ({marks(part)}) ORDER BY n"
        for derived, id in db.execute(sql, part):
            found.setdefault(derived, []).append(id)
    return {n: tuple(ids) for n, ids in found.items()}


def columns_of(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Checked changes as columns."""
    unknown = sorted(changes.keys() - set(EDITABLE))
    if unknown:
        raise InvalidInput(f"{', '.join(unknown)} cannot be changed.", f"These can: {', '.join(EDITABLE)}.")
    if "importance" in changes:
        check_importance(changes["importance"])
    for name in ("layer", "role", "agent_id", "session_id"):
        if name in changes and (changes[name] is not None or name == "layer"):
            check_name(changes[name], name)
    return {k: metadata_json(v) if k == "metadata" else v for k, v in changes.items()}


def onward(rows: Sequence[Sequence[Any]], last: int) -> int:
    """The number of the last of some rows. Raises `CorruptStore` if they do not rise: pages are mixed up."""
    for row in rows:
        if row[0] <= last:
            raise CorruptStore("The memories are not in order: the file is damaged.", _REPAIR)
        last = int(row[0])
    return last


def marks(values: Sequence[Any]) -> str:
    """One placeholder a value."""
    return ",".join("?" * len(values))


def chunks(values: Sequence[Any], size: int = 5000) -> Iterable[list[Any]]:
    """Pieces that fit the number of parameters a statement may have."""
    for start in range(0, len(values), size):
        yield list(values[start : start + size])


def halves(vectors: NDArray[np.floating]) -> bytes:
    """Unit vectors as they are stored: 16 bits a number, which moves a cosine by about 1e-5.

    >>> floats(halves(np.float32([0.6, 0.8]))).round(3).tolist()
    [0.6000000238418579, 0.800000011920929]
    """
    return vectors.astype(STORED).tobytes()


def floats(blob: bytes) -> NDArray[np.float32]:
    """The numbers of stored vectors."""
    return np.frombuffer(blob, dtype=STORED).astype(np.float32)
