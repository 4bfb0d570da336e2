"""The C library that lets a disk fail, compiled when a test needs it, and power cuts made from what it wrote down."""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.torture import writer

SOURCE = Path(__file__).with_name("faults.c")
SECTOR = 512  # what a disk writes whole or not at all


def why_not() -> str:
    """Why disks cannot be made to fail here; empty if they can."""
    if sys.platform != "linux":
        return "needs Linux (LD_PRELOAD and /proc)"
    return "" if shutil.which("cc") else "needs a C compiler (cc)"


def compiled(folder: Path) -> Path:
    """The library."""
    library = folder / "faults.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return library


def write_under(
    library: Path,
    store: Path,
    seed: int,
    steps: int,
    log: Path | None = None,
    fault: tuple[str, int, int] | None = None,
) -> list[str]:
    """Let the writer run with synchronous=FULL on a disk that is watched, or fails (kind, from call, how often)."""
    env = os.environ | {"LD_PRELOAD": str(library), "FAULTS_PREFIX": str(store)}
    if log is not None:
        env["FAULTS_LOG"] = str(log)
    if fault is not None:
        env |= dict(zip(("FAULTS_KIND", "FAULTS_AT", "FAULTS_TIMES"), map(str, fault), strict=True))
    done = subprocess.run(
        [sys.executable, writer.__file__, str(store), str(seed), "FULL", str(steps)], env=env, capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@dataclass(frozen=True)
class Act:
    """One line of the log: W(rite), T(runcate), S(ync), U(nlink) or M(ark)."""

    what: str
    name: str
    offset: int
    data: bytes


def acts(log: Path) -> list[Act]:
    """All that reached the files, in order."""
    data, at, out = log.read_bytes(), 0, []
    while at < len(data):
        what = chr(data[at])
        (chars,) = struct.unpack_from("=H", data, at + 1)
        name = data[at + 3 : at + 3 + chars].decode()
        offset, size = struct.unpack_from("=QI", data, at + 3 + chars)
        at += 15 + chars
        out.append(Act(what, name, offset, data[at : at + size]))
        at += size
    return out


@dataclass
class Disk:
    """Files as they are for sure (`safe`), and what was done to each since its last sync."""

    safe: dict[str, bytearray] = field(default_factory=dict)
    pending: dict[str, list[Act]] = field(default_factory=dict)

    def take(self, act: Act) -> None:
        """Do what the log says."""
        if act.what == "S":
            for other in [act.name] if act.name in self.pending else self._in_folder(act.name):
                self._settle(other)
        elif act.what in "WTU":
            self.pending.setdefault(act.name, []).append(act)

    def _in_folder(self, folder: str) -> list[str]:
        """A folder that is synced makes what was deleted in it stay deleted."""
        return [n for n, acts in self.pending.items() if os.path.dirname(n) == folder and acts[-1].what == "U"]

    def _settle(self, name: str) -> None:
        for act in self.pending.pop(name):
            self._apply(self.safe, act)

    @staticmethod
    def _apply(files: dict[str, bytearray], act: Act) -> None:
        if act.what == "U":
            files.pop(act.name, None)
            return
        data = files.setdefault(act.name, bytearray())
        if act.what == "T":
            del data[act.offset :]
            data.extend(bytes(act.offset - len(data)))
        else:
            data.extend(bytes(max(0, act.offset + len(act.data) - len(data))))
            data[act.offset : act.offset + len(act.data)] = act.data

    def after_cut(self, rng: random.Random) -> dict[str, bytearray]:
        """The files after a power cut: of what was not synced, any part in any order, the last write perhaps torn."""
        files = {name: bytearray(data) for name, data in self.safe.items()}
        for pending in self.pending.values():
            share = rng.choice([0.0, 0.2, 0.5, 0.9, 1.0])
            some = [act for act in pending if rng.random() < share]
            if rng.random() < 0.5:
                some = _reordered(some, rng)
            for act in some:
                self._apply(files, act if rng.random() < 0.8 else _torn(act, rng))
        return files


def _reordered(some: Sequence[Act], rng: random.Random) -> list[Act]:
    """Writes change places with each other, but not with truncations and deletions."""
    out = list(some)
    for _ in range(len(out)):
        i = rng.randrange(max(1, len(out) - 1))
        if len(out) > 1 and out[i].what == out[i + 1].what == "W":
            out[i], out[i + 1] = out[i + 1], out[i]
    return out


def _torn(act: Act, rng: random.Random) -> Act:
    if act.what != "W" or len(act.data) <= SECTOR:
        return act
    return Act("W", act.name, act.offset, act.data[: rng.randrange(len(act.data) // SECTOR) * SECTOR])


def power_cuts(
    log: Path, store: Path, folder: Path, cuts: int, rng: random.Random
) -> Iterator[tuple[int, Path, list[str]]]:
    """Stores after power cuts at random moments: where in the log, the store, and what had been said until then."""
    every = acts(log)
    moments = sorted(rng.sample(range(1, len(every) + 1), min(cuts, len(every))))
    disk, said, done = Disk(), [], 0
    for number, moment in enumerate(moments):
        for act in every[done:moment]:
            if act.what == "M":
                said.append(act.data.decode())
            disk.take(act)
        done = moment
        target = folder / str(number)
        for name, data in disk.after_cut(rng).items():
            file = target / Path(name).relative_to(store.parent)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        target.mkdir(exist_ok=True)
        yield moment, target / store.name, list(said)
        shutil.rmtree(target)
