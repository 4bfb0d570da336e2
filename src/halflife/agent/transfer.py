"""Memories out of a store and into one: our own lines of JSON, exactly; mem0's and chat logs, with their times.

An export is a header, then one line a trace with every field of it, then one line a link. Importing writes all
or nothing, in one transaction, and importing the same file again changes nothing.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, islice
from typing import Any

import numpy as np

from halflife.agent.engine import Engine, Progress
from halflife.agent.importers import Entry, Line, at_line, broken, numbered, parse_json, read
from halflife.agent.redact import Redactor, count, summary
from halflife.decay.law import State
from halflife.errors import HalflifeError, InvalidInput
from halflife.store import restore
from halflife.store.contents import UNIT
from halflife.store.plain import loads
from halflife.store.protocol import Why
from halflife.store.restore import Record
from halflife.store.rows import STATE
from halflife.store.trace import STATUSES, Space, Trace
from halflife.store.vectors import Floats

FORMAT = 1
PAGE = 256
_PLAIN = (
    "id text at recorded_at kind valid_from valid_to retired_at agent_id session_id role metadata importance layer "
    "last_used sources system version status"
).split()
_TIMES = ("at", "recorded_at", "last_used", "valid_from", "valid_to", "retired_at")
_OPEN = ("valid_from", "valid_to", "retired_at")
_BREAKS = {ord(c): f"\\u{ord(c):04x}" for c in "\x85\u2028\u2029"}  # str.splitlines would split a line there


@dataclass(frozen=True)
class ImportReport:
    """What an import did.

    Parameters
    ----------
    format: `halflife`, `mem0`, `chat` (JSON messages) or `log` (text).
    added: new traces. met: said before, and now met again. skipped: there already, or without text.
    links: new links. undated: entries without a time of their own. operations: what `undo` takes back.
    note: what a reader should know.
    redacted: what was kept out, and how many of each.
    """

    format: str
    added: int = 0
    met: int = 0
    skipped: int = 0
    links: int = 0
    undated: int = 0
    operations: tuple[int, ...] = ()
    note: str = ""
    redacted: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        parts = [f"{self.added} added", f"{self.met} met again", f"{self.skipped} skipped", f"{self.links} links"]
        undated = f" {self.undated} had no time of their own." if self.undated else ""
        notes = [f"{self.note}." if self.note else "", summary(self.redacted)]
        return f"Read as {self.format}: {', '.join(parts)}.{undated}{''.join(f' {note}' for note in notes if note)}"


# -- out --------------------------------------------------------------------------------------------------------


def export_lines(engine: Engine, space: Space | None, vectors: bool) -> Iterator[str]:
    """Every trace and link of a space (None: of all) as lines of JSON, without loading them all.

    Parameters
    ----------
    engine: whose store is read. space: only this one.
    vectors: with the vectors, so that importing need not embed again if the embedder is the same.
    """
    store = engine.store
    yield _line(
        {
            "halflife": FORMAT,
            "embedder": list(store.embedder() or ()) or None,
            "law": store.law.to_dict(),
            "exported_at": engine.clock(),
        }
    )
    traces = store.iterate(space)
    while page := list(islice(traces, PAGE)):
        ids = [trace.id for trace in page]
        payloads, arrays = restore.payloads(store, ids), store.vectors(ids) if vectors else {}
        for trace in page:
            yield _line(_plain(trace, arrays.get(trace.id), payloads.get(trace.id)))
    for link in restore.links(store, space):
        yield _line({"link": list(link)})


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False).translate(_BREAKS)


def _plain(trace: Trace, vectors: Floats | None, payload: bytes | None) -> dict[str, Any]:
    out = {"space": trace.space.name, **{name: getattr(trace, name) for name in _PLAIN}}
    out["state"] = {name: float(getattr(trace.state, name)) for name in STATE}
    if vectors is not None:
        out["vectors"] = base64.b64encode(vectors.astype("<f4").tobytes()).decode()
    if payload is not None:
        out["payload"] = base64.b64encode(payload).decode()
    return out


# -- in ---------------------------------------------------------------------------------------------------------


def import_lines(
    engine: Engine, lines: Iterable[str], user_id: str | None, why: Why, progress: Progress | None = None
) -> ImportReport:
    """Read an export of ours, of mem0, or a chat log; the format is seen from the first line.

    Parameters
    ----------
    engine: into whose store. lines: of the file. user_id: whose memories they are; None for whom the file names.
    why: for the history. progress: called with (embedded, of how many).

    Errors
    ------
    InvalidInput: a line that cannot be read, by its number, or an id that stands for something else here.
    Nothing is written then.
    """
    rows = numbered(lines)
    first = next(rows, None)
    if first is None:
        raise InvalidInput("There is nothing to import: no line holds anything.")
    header = _header(first)
    if header is not None:
        return _Restoring(engine, header, user_id).run(rows, why, progress)
    return _import_foreign(engine, list(chain([first], rows)), user_id, why, progress)


def _header(first: Line) -> Mapping[str, Any] | None:
    """The header of an export of ours, or None if this is none."""
    try:
        value = loads(first[1])
    except ValueError:
        return None
    if not isinstance(value, Mapping) or "halflife" not in value:
        return None
    if value["halflife"] != FORMAT:
        raise broken(
            first[0], f"this export has format {value['halflife']!r}; this Halflife reads {FORMAT}.",
            "Upgrade it: pip install --upgrade halflife",
        )  # fmt: skip
    return value


def _import_foreign(
    engine: Engine, lines: Sequence[Line], user_id: str | None, why: Why, progress: Progress | None
) -> ImportReport:
    now = engine.clock()
    reading = read(lines, user_id, now)
    cleaned, labels = engine.redacted([entry.draft for entry in reading.entries])
    reading.entries = [replace(entry, draft=draft) for entry, draft in zip(reading.entries, cleaned, strict=True)]
    new = _news(engine, reading.entries)
    drafts = [entry.draft for entry in new]
    for i, vectors in _embedded(engine, [draft.text for draft in drafts], progress).items():
        drafts[i] = replace(drafts[i], vectors=vectors)
    events, operations = [], []
    by_space: dict[Space, list[int]] = {}
    for i, entry in enumerate(new):
        by_space.setdefault(entry.space, []).append(i)
    with engine.store.transaction():
        for space, members in by_space.items():
            members.sort(key=lambda i: drafts[i].at)
            events += [done.event for done in engine.write(space, [drafts[i] for i in members], why, now)]
            operations.append(engine.store.last_op())
    return ImportReport(
        reading.format,
        added=events.count("add"),
        met=events.count("met"),
        skipped=reading.empty + len(reading.entries) - len(new),
        undated=sum(not entry.dated for entry in reading.entries),
        operations=tuple(operations),
        note=reading.note,
        redacted=count(label for found in labels for label in found),
    )


def _news(engine: Engine, entries: Sequence[Entry]) -> list[Entry]:
    """Entries that the store does not know: not said there, or said again since. Ids that are taken are dropped."""
    taken = set(restore.present(engine.store, [entry.draft.id for entry in entries if entry.draft.id]))
    digests: dict[Space, list[bytes]] = {}
    for entry in entries:
        digests.setdefault(entry.space, []).append(entry.draft.digest())
    known = {space: restore.same(engine.store, space, found) for space, found in digests.items()}
    out = []
    for entry in entries:
        there = known[entry.space].get(entry.draft.digest())
        if there is not None and (not entry.dated or entry.draft.at <= there.last_used):
            continue
        if entry.draft.id in taken:
            entry = replace(entry, draft=replace(entry.draft, id=None))
        elif entry.draft.id is not None:
            taken.add(entry.draft.id)
        out.append(entry)
    return out


def _embedded(engine: Engine, texts: Sequence[str], progress: Progress | None) -> dict[int, Floats]:
    """The vectors of those texts that say something."""
    which = [i for i, text in enumerate(texts) if text.strip()]
    return dict(zip(which, engine.embed([texts[i] for i in which], progress), strict=True))


# -- our own export -----------------------------------------------------------------------------------------------


@dataclass
class _Plan:
    """What a file of ours amounts to in this store."""

    records: list[Record] = field(default_factory=list)
    instead: dict[str, str] = field(default_factory=dict)  # an id of the file -> the id that stands for it here
    again: list[tuple[str, float]] = field(default_factory=list)  # met again: the id here, and when it was last used
    met: int = 0
    skipped: int = 0


class _Restoring:
    """The import of one export of ours."""

    def __init__(self, engine: Engine, header: Mapping[str, Any], user_id: str | None) -> None:
        self.engine, self.store = engine, engine.store
        self.space = None if user_id is None else Space.of(user_id)
        self.reuse = header.get("embedder") == [engine.embedder.fingerprint, engine.embedder.dim]
        law = header.get("law")
        self.note = ""
        self.redacted: list[str] = []
        if law != engine.store.law.to_dict():
            self.note = f"The strengths were kept under another law of forgetting ({law}) and are taken as they are"

    def run(self, rows: Iterator[Line], why: Why, progress: Progress | None) -> ImportReport:
        read, links = self._read(rows)
        plan = self._plan(read)
        self._check_ends(read, links)
        records = self._with_vectors(plan.records, progress)
        now = self.engine.clock()
        operations: list[int] = []
        with self.store.transaction():
            if any(record.vectors is not None for record in records):
                self.store.bind(self.engine.embedder.fingerprint, self.engine.embedder.dim)
            for space in dict.fromkeys(record.trace.space for record in records):
                members = [record for record in records if record.trace.space == space]
                operations.append(restore.insert(self.store, space, members, why, now))
            for id, last_used in plan.again:
                operations.append(self.store.reinforce([id], last_used, why=why))
            here = plan.instead
            restore.relate(self.store, [(r.trace.id, here.get(s, s)) for r in records for s in r.trace.sources])
            ends = [(here.get(a, a), here.get(b, b), kind, weight) for _, (a, b, kind, weight) in links]
            op, made = restore.connect(self.store, ends, why, now)
            operations += [] if op is None else [op]
        return ImportReport(
            "halflife", len(records), plan.met, plan.skipped, made, operations=tuple(operations), note=self.note,
            redacted=count(self.redacted),
        )  # fmt: skip

    def _read(
        self, rows: Iterator[Line]
    ) -> tuple[list[tuple[str, Record]], list[tuple[str, tuple[str, str, str, float]]]]:
        records, links = [], []
        for where, line in rows:
            value = parse_json(where, line)
            if not isinstance(value, Mapping):
                raise broken(where, "expected an object.")
            try:
                if "link" in value:
                    links.append((where, _link(value["link"])))
                else:
                    records.append((where, self._record(value)))
            except HalflifeError as error:
                raise at_line(where, error) from None
            except (KeyError, TypeError, ValueError) as error:
                raise broken(where, f"this is no memory of an export ({type(error).__name__}: {error}).") from None
        return records, links

    def _record(self, value: Mapping[str, Any]) -> Record:
        fields = {name: value[name] for name in _PLAIN}
        for name in _TIMES:
            fields[name] = _number(value, name, optional=name in _OPEN)
        fields["importance"] = _number(value, "importance")
        fields["sources"] = tuple(fields["sources"])
        fields["state"] = State(**{name: _number(value["state"], name) for name in STATE})  # type: ignore[arg-type]
        for name in STATE:
            number = getattr(fields["state"], name)
            if number < 0 or (name == "stability" and number == 0):
                raise InvalidInput(
                    f"{name} must be {'above' if name == 'stability' else 'at least'} 0, not {number!r}."
                )
        if fields["status"] not in STATUSES:
            raise InvalidInput(f"the status {fields['status']!r} is none of {', '.join(STATUSES)}.")
        if type(fields["version"]) is not int or fields["version"] < 1:
            raise InvalidInput(f"the version must be a whole number from 1, not {fields['version']!r}.")
        for name in ("id", "system"):
            if not isinstance(fields[name], str) or (name == "id" and not fields[name]):
                raise InvalidInput(f"{name} must be a string, not {fields[name]!r}.")
        space = self.space or Space(_space_name(value["space"]))
        vectors = _bytes(value, "vectors") if self.reuse else None
        array = None if vectors is None else _unit_rows(vectors, self.engine.embedder.dim)
        record = Record(Trace(space=space, **fields), array, _bytes(value, "payload"))
        return record if self.engine.redactor is None else self._redacted(record, self.engine.redactor)

    def _redacted(self, record: Record, redactor: Redactor) -> Record:
        draft, labels = redactor.draft(record.draft())
        self.redacted += labels
        trace = replace(record.trace, text=draft.text, metadata=draft.metadata)
        return replace(record, trace=trace, vectors=draft.vectors)

    def _plan(self, read: Sequence[tuple[str, Record]]) -> _Plan:
        """What is new, what is there under its own id, and what the space says already under another."""
        plan = _Plan()
        taken = restore.present(self.store, [record.trace.id for _, record in read])
        digests = [record.draft().digest() for _, record in read]
        said: dict[Space, dict[bytes, tuple[str, float | None]]] = {}
        for space in {record.trace.space for _, record in read}:
            mine = [d for d, (_, record) in zip(digests, read, strict=True) if record.trace.space == space]
            there = restore.same(self.store, space, mine)
            said[space] = {digest: (found.id, found.last_used) for digest, found in there.items()}
        ids: set[str] = set()
        for digest, (where, record) in zip(digests, read, strict=True):
            t = record.trace
            if t.id in ids:
                raise broken(where, f"the id {t.id} stands there twice.")
            ids.add(t.id)
            there_already = taken.get(t.id)
            if there_already is not None:
                if (there_already.space, there_already.digest) != (t.space.name, digest):
                    raise broken(
                        where, f"the id {t.id} is that of another memory here (in {there_already.space}).",
                        "Import it into an empty store.",
                    )  # fmt: skip
                plan.skipped += 1
            elif t.status != "retired" and digest in said[t.space]:
                plan.instead[t.id], last_used = said[t.space][digest]
                plan.met += 1
                if last_used is not None and last_used < t.last_used:
                    plan.again.append((plan.instead[t.id], t.last_used))
            else:
                plan.records.append(record)
                if t.status != "retired":
                    said[t.space][digest] = (t.id, None)
        return plan

    def _check_ends(
        self,
        read: Sequence[tuple[str, Record]],
        links: Sequence[tuple[str, tuple[str, str, str, float]]],
    ) -> None:
        """Sources and links must lead to traces of the file or of the store, and links stay within a space."""
        named = [(where, id) for where, record in read for id in record.trace.sources]
        named += [(where, id) for where, link in links for id in link[:2]]
        spaces = {record.trace.id: record.trace.space.name for _, record in read}
        there = restore.present(self.store, sorted({id for _, id in named} - spaces.keys()))
        spaces |= {id: found.space for id, found in there.items()}
        for where, id in named:
            if id not in spaces:
                raise broken(where, f"it names the memory {id}, which is neither in the file nor in the store.")
        for where, (a, b, _, _) in links:
            if spaces[a] != spaces[b]:
                raise broken(where, f"it links the memories {a} and {b} of two spaces.")

    def _with_vectors(self, records: Sequence[Record], progress: Progress | None) -> list[Record]:
        """Records with vectors of this store's embedder: those of the file, or new ones."""
        out = list(records)
        texts = [record.trace.text if record.vectors is None else "" for record in records]
        for i, vectors in _embedded(self.engine, texts, progress).items():
            out[i] = replace(out[i], vectors=vectors)
        return out


def _number(value: Mapping[str, Any], name: str, optional: bool = False) -> float | None:
    number = value[name]
    if number is None and optional:
        return None
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
        raise InvalidInput(f"{name} must be a finite number, not {number!r}.")
    return float(number)


def _unit_rows(data: bytes, dim: int) -> Floats:
    """Vectors of an export, [windows, dim]. What has not length 1 is not what was exported."""
    rows = np.frombuffer(data, "<f4").reshape(-1, dim).astype(np.float32)
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    if not bool((np.abs(lengths - 1.0) <= UNIT).all()):
        raise InvalidInput("a vector has not length 1.", "Export it again, or with --no-vectors.")
    return rows


def _bytes(value: Mapping[str, Any], name: str) -> bytes | None:
    if value.get(name) is None:
        return None
    try:
        return base64.b64decode(value[name], validate=True)
    except (binascii.Error, TypeError) as error:
        raise InvalidInput(f"{name} is not base64 ({error}).") from None


def _space_name(name: Any) -> str:
    if name == "default" or (isinstance(name, str) and name.startswith(("user:", "agent:")) and name[-1] != ":"):
        return str(name)
    raise InvalidInput(f"{name!r} is no space.", "It is 'user:NAME', 'agent:NAME' or 'default'.")


def _link(value: Any) -> tuple[str, str, str, float]:
    a, b, kind, weight = value
    if not all(isinstance(part, str) for part in (a, b, kind)):
        raise InvalidInput("a link is [id, id, kind, weight].")
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0.0 < weight <= 1.0:
        raise InvalidInput(f"The weight of a link must lie in (0, 1], not {weight!r}.")
    return a, b, kind, float(weight)
