"""The sleep of the memory: work done away from the hot path, without a language model, and undoable.

Near-duplicates are merged (the earlier one stays and counts the meetings of both), what has faded is archived,
what is often met is promoted to a slower layer, and each new trace is linked to its nearest. Nothing is erased.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from halflife.agent.engine import Engine, Progress
from halflife.store.protocol import Ints, Why
from halflife.store.text import same_words
from halflife.store.trace import Space
from halflife.store.working_set import WorkingSet


@dataclass(frozen=True)
class Policy:
    """When sleep acts.

    Parameters
    ----------
    merge_at: cosine from which two texts with the same content words are one memory.
    archive_below: retention under which a trace leaves recall; `keep_importance` and the layer `long` are spared.
    promote_after: uses after which a trace moves from `short` to `mid`, and to `long`.
    link_at: cosine from which two traces are linked. links: how many links a new trace gets at most.
    keep_recalls: of each trace, how many of its latest recalls stay in the history (its state counts them all).
    """

    merge_at: float = 0.97
    archive_below: float = 0.4
    keep_importance: float = 0.8
    promote_after: tuple[int, int] = (3, 8)
    link_at: float = 0.55
    links: int = 3
    keep_recalls: int = 64


@dataclass
class SleepReport:
    """What sleep did: pairs and ids by act, and the operations that undo them."""

    merged: list[tuple[str, str]] = field(default_factory=list)
    archived: list[str] = field(default_factory=list)
    promoted: list[tuple[str, str]] = field(default_factory=list)
    linked: int = 0
    indexed: int = 0
    operations: list[int] = field(default_factory=list)
    system: dict[str, Any] = field(default_factory=dict)  # what a memory system reports, by space
    dry_run: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        if self.system:
            return "; ".join(f"{space}: {_counted(report)}" for space, report in self.system.items())
        verb = "Would have" if self.dry_run else "Has"
        return (
            f"{verb} merged {len(self.merged)}, archived {len(self.archived)}, promoted {len(self.promoted)}, "
            f"linked {self.linked} and indexed {self.indexed}."
        )


def _counted(report: Mapping[str, Any]) -> str:
    """What a system reports, with how many of each instead of their ids."""
    counts = {name: len(value) if isinstance(value, (list, tuple, dict)) else value for name, value in report.items()}
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "nothing to do"


def consolidate(
    engine: Engine, spaces: Sequence[Space], policy: Policy, now: float, dry_run: bool, progress: Progress | None
) -> SleepReport:
    """Let spaces sleep, one after the other."""
    report = SleepReport(dry_run=dry_run)
    for done, space in enumerate(spaces):
        _Sleep(engine, space, policy, now, report).run()
        if progress:
            progress(done + 1, len(spaces))
    return report


class _Sleep:
    """The sleep of one space."""

    def __init__(self, engine: Engine, space: Space, policy: Policy, now: float, report: SleepReport) -> None:
        self.engine, self.store, self.space, self.policy, self.now = engine, engine.store, space, policy, now
        self.report = report
        self.marker = f"slept:{self.store.space_id(space)}"

    def run(self) -> None:
        if not self.report.dry_run:
            self.report.indexed += self.engine.build_index(self.space)
        work = self.engine.snapshot(self.space)
        merged, links = self._compare(work)
        gone = {slot for slot, _ in merged}
        stays = {slot for pair in merged for slot in pair}  # what was just met again has not faded
        archived = [slot for slot in self._faded(work) if slot not in stays]
        gone |= set(archived)
        promoted = [(slot, layer) for slot, layer in self._often_met(work) if slot not in gone]
        links = [(a, b, w) for a, b, w in links if a not in gone and b not in gone]
        slots = {*gone, *stays, *(s for s, _ in promoted), *(s for pair in links for s in pair[:2])}
        with self.store.transaction():  # of what was forgotten meanwhile, nothing is said
            ids = self._ids(work, sorted(slots))
            self._act(
                work,
                ids,
                [pair for pair in merged if ids.keys() >= set(pair)],
                [slot for slot in archived if slot in ids],
                [pair for pair in promoted if pair[0] in ids],
                [link for link in links if ids.keys() >= set(link[:2])],
            )

    def _act(
        self,
        work: WorkingSet,
        ids: dict[int, str],
        merged: list[tuple[int, int]],
        archived: list[int],
        promoted: list[tuple[int, str]],
        links: list[tuple[int, int, float]],
    ) -> None:
        self.report.merged += [(ids[a], ids[b]) for a, b in merged]
        self.report.archived += [ids[slot] for slot in archived]
        self.report.promoted += [(ids[slot], layer) for slot, layer in promoted]
        self.report.linked += len(links)
        if self.report.dry_run:
            return
        self._revise("merge", [(ids[a], {"status": "merged"}) for a, _ in merged] + self._absorbed(work, merged, ids))
        self._revise("archive", [(ids[slot], {"status": "archived"}) for slot in archived])
        self._revise("promote", [(ids[slot], {"layer": layer}) for slot, layer in promoted])
        self._link("merged into", [(ids[a], ids[b], 1.0) for a, b in merged])
        self._link("similar", [(ids[a], ids[b], w) for a, b, w in links])
        self.store.trim_recalls(self.space, self.policy.keep_recalls)
        self.store.set_meta(self.marker, str(self.store.last_op()))

    def _compare(self, work: WorkingSet) -> tuple[list[tuple[int, int]], list[tuple[int, int, float]]]:
        """Pairs to merge (later, earlier), and links for the traces that are new since the last sleep."""
        merged: dict[int, int] = {}
        links: list[tuple[int, int, float]] = []
        texts = self._texts(work)
        for slot, others, similarity in work.nearest(self._new(work), self.policy.links) if work.dim else ():
            for other, cosine in zip(others.tolist(), similarity.tolist(), strict=True):
                first, last = sorted((slot, other), key=lambda s: (work.column("at")[s], work.n[s]))
                if cosine >= self.policy.merge_at and same_words(texts.get(slot, ""), texts.get(other, "")):
                    merged.setdefault(last, first)
                elif cosine >= self.policy.link_at:
                    links.append((slot, other, min(1.0, round(cosine, 4))))
        return sorted((last, _first(merged, first)) for last, first in merged.items()), links

    def _new(self, work: WorkingSet) -> Ints:
        since = int(self.store.meta(self.marker) or 0)
        slots = work.slots_of(self.store.new_since(self.space, since))
        return np.sort(slots[slots >= 0])

    def _faded(self, work: WorkingSet) -> list[int]:
        slots = np.flatnonzero(work.alive)
        faded = work.retention(slots, self.now) < self.policy.archive_below
        faded &= work.column("importance")[slots] < self.policy.keep_importance
        layers = self._layers(work, slots[faded])
        return [slot for slot, layer in layers.items() if layer != "long"]

    def _often_met(self, work: WorkingSet) -> list[tuple[int, str]]:
        mid, long = self.policy.promote_after
        slots = np.flatnonzero(work.alive & (work.column("uses") >= mid))
        layers = self._layers(work, slots)
        out = []
        for slot, now in layers.items():
            layer = "long" if work.column("uses")[slot] >= long else "mid"
            if now == "short" or (now == "mid" and layer == "long"):
                out.append((slot, layer))
        return out

    def _absorbed(
        self, work: WorkingSet, merged: Sequence[tuple[int, int]], ids: dict[int, str]
    ) -> list[tuple[str, dict[str, Any]]]:
        """The survivors of merges: they count the uses of what they absorbed, and were last used when either was."""
        uses, last = work.column("uses"), work.column("last_used")
        totals: dict[int, tuple[float, float]] = {}
        for a, b in merged:
            so_far, latest = totals.get(b, (float(uses[b]), float(last[b])))
            totals[b] = (so_far + float(uses[a]), max(latest, float(last[a])))
        return [(ids[b], {"uses": count, "last_used": latest}) for b, (count, latest) in totals.items()]

    def _revise(self, kind: str, changes: Sequence[tuple[str, dict[str, Any]]]) -> None:
        if changes:
            self.report.operations.append(self.store.revise(changes, Why(kind, "sleep"), self.now))

    def _link(self, kind: str, pairs: Sequence[tuple[str, str, float]]) -> None:
        if pairs:
            self.report.operations.append(self.store.link(pairs, kind, Why("link", "sleep"), self.now))

    def _ids(self, work: WorkingSet, slots: Sequence[int]) -> dict[int, str]:
        traces = self.store.by_number([int(work.n[slot]) for slot in slots])
        return {slot: traces[n].id for slot in slots if (n := int(work.n[slot])) in traces}

    def _layers(self, work: WorkingSet, slots: Ints) -> dict[int, str]:
        traces = self.store.by_number(work.n[slots].tolist())
        return {slot: traces[n].layer for slot in slots.tolist() if (n := int(work.n[slot])) in traces}

    def _texts(self, work: WorkingSet) -> dict[int, str]:
        slots = np.flatnonzero(work.alive)
        ns = work.n[slots].tolist()
        traces = self.store.by_number(ns)
        return {slot: traces[n].text for n, slot in zip(ns, slots.tolist(), strict=True) if n in traces}


def _first(merged: dict[int, int], slot: int) -> int:
    """The one that stays, at the end of a chain of merges."""
    while slot in merged:
        slot = merged[slot]
    return slot
