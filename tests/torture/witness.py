"""What was written and acknowledged, and whether a store, damaged or not, still says that, or says that it does not."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from halflife import Memory
from halflife.errors import CorruptStore, HalflifeError
from halflife.store.diagnosis import Diagnosis
from halflife.store.salvage import Salvage, salvage
from halflife.store.trace import Trace
from tests.torture.tally import Count

EMBEDDER = "hash:32"
QUERIES = ("matter 7", "garden", "милый чай")


def content(trace: Trace) -> tuple[Any, ...]:
    """What must come back to the byte."""
    return (
        trace.space, trace.text, trace.at, trace.recorded_at, trace.kind, trace.role, repr(trace.metadata),
        trace.importance, trace.layer, trace.session_id, trace.agent_id, trace.valid_from, trace.valid_to, trace.system,
    )  # fmt: skip


@dataclass
class Witness:
    """Everything that was ever written, and what stands now: contents by id."""

    ever: dict[str, set[tuple[Any, ...]]] = field(default_factory=dict)
    now: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    def look(self, memory: Memory) -> Witness:
        """Take note of what a sound store says."""
        self.now = {trace.id: content(trace) for trace in memory.engine.store.iterate()}
        for id, said in self.now.items():
            self.ever.setdefault(id, set()).add(said)
        return self

    def copy(self) -> Witness:
        return Witness({id: set(said) for id, said in self.ever.items()}, dict(self.now))


@dataclass
class Statement:
    """What a store said when it was opened and read, and whether it said that something is wrong."""

    traces: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    reports: list[str] = field(default_factory=list)


def statement(path: Path) -> Statement:
    """Open and read all of a store. Only Halflife's own errors are caught: any other one is a failure."""
    said = Statement()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with Memory(path, embedder=EMBEDDER, must_exist=True) as memory:
                said.reports += [str(warning.message) for warning in caught]
                for read in (_all, _searches, _histories, _exported):
                    try:
                        for trace in read(memory):
                            said.traces[trace.id] = content(trace)
                    except HalflifeError as error:
                        said.reports.append(str(error))
        except HalflifeError as error:
            said.reports.append(str(error))
    return said


def _all(memory: Memory) -> Iterable[Trace]:
    return memory.engine.store.iterate()


def _searches(memory: Memory) -> Iterable[Trace]:
    for space, _ in memory.spaces():
        for query in QUERIES:
            yield from (hit.trace for hit in memory.engine.search(space, query, 5))


def _histories(memory: Memory) -> Iterable[Trace]:
    for trace in list(memory.engine.store.iterate())[::7]:
        memory.history(trace.id)
    return []


def _exported(memory: Memory) -> Iterable[Trace]:
    for _ in memory.export():
        pass
    return []


def examined(path: Path, repair: bool) -> Diagnosis | Salvage | str:
    """What `halflife doctor` does: a diagnosis, or, if the file cannot be opened, what was saved; else the error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Memory(path, embedder=EMBEDDER, must_exist=True) as memory:
                diagnosis = memory.doctor(repair)
        if not (repair and diagnosis.unreadable):
            return diagnosis
    except CorruptStore as error:
        if not repair:
            return str(error)
    except HalflifeError as error:
        return str(error)
    try:
        return salvage(path, path.with_name("saved.db"))
    except HalflifeError as error:
        return str(error)


def judge(path: Path, witness: Witness, count: Count) -> list[str]:
    """Open, examine and repair a damaged store; what was lost or wrong without a word."""
    count.cases += 1
    count.acknowledged += len(witness.now)
    said, faults = statement(path), []
    found = examined(path, repair=False)
    reports = said.reports + _reports(found)
    count.reported += bool(reports)
    faults += _wrong(said.traces, witness, bool(reports), count)
    missing = witness.now.keys() - said.traces.keys()
    if missing and not reports:
        count.losses += len(missing)
        faults.append(f"{len(missing)} memories are missing without a word")
    if reports:
        faults += _after_repair(path, witness, count)
    return faults


def _reports(found: Diagnosis | Salvage | str) -> list[str]:
    if isinstance(found, str):
        return [found]
    if isinstance(found, Salvage):
        return [str(found)]
    return [str(finding) for finding in found.findings if finding.level != "ok"]


def _wrong(traces: dict[str, tuple[Any, ...]], witness: Witness, reported: bool, count: Count) -> list[str]:
    """Contents that nobody wrote; and, unless damage was reported, contents that are no longer true."""
    faults = []
    for id, text in traces.items():
        if text not in witness.ever.get(id, ()) or (not reported and text != witness.now.get(id)):
            count.corruptions += 1
            faults.append(f"{id} says {text}, not {witness.now.get(id)}")
    return faults


def _after_repair(path: Path, witness: Witness, count: Count) -> list[str]:
    mended = examined(path, repair=True)
    if isinstance(mended, str):  # nothing can be saved, and it says so
        count.named += len(witness.now)
        return []
    target = path.with_name("saved.db") if isinstance(mended, Salvage) else path
    report = str(mended)
    again = statement(target)
    faults = [f"after repair: {text}" for text in again.reports]
    for id, text in again.traces.items():
        if text not in witness.ever.get(id, ()) and id not in report and "not as they were written" not in report:
            count.corruptions += 1
            faults.append(f"after repair {id} says {text}, which is not reported:\n{report}")
    lost = witness.now.keys() - again.traces.keys()
    count.named += len(lost)
    count.repaired += not again.reports and not isinstance(examined(target, repair=False), str)
    return faults
