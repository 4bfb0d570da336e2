"""Truncated, overwritten, flipped: a damaged store gives back what was written, or says what it cannot give back."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from halflife import Memory
from halflife.agent import engine
from tests.torture.damage import WAYS, copy_store
from tests.torture.tally import Count, Tally
from tests.torture.witness import EMBEDDER, Witness, judge


@pytest.fixture(scope="module")
def moments(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Witness]]:
    """Copies of a store in use, taken between two acknowledged writes, with what had been acknowledged."""
    folder = tmp_path_factory.mktemp("moments")
    path = folder / "live" / "a.db"
    path.parent.mkdir()
    patch = pytest.MonkeyPatch()
    patch.setattr(engine, "APPROXIMATE_FROM", 40)
    rng, witness, copies = random.Random(7), Witness(), []
    with Memory(path, embedder=EMBEDDER) as memory:
        for moment in range(3):
            for step in range(25):
                write(memory, rng, moment * 1000 + step)
                witness.look(memory)
            if moment != 1:
                memory.consolidate()
            write(memory, rng, moment * 1000 + 999)
            witness.look(memory)
            if moment == 1:
                memory.engine.store.db.all("PRAGMA wal_checkpoint(TRUNCATE)")
                write(memory, rng, moment * 1000 + 998)
                witness.look(memory)
            copies.append((copy_store(path, folder / str(moment)), witness.copy()))
    patch.undo()
    return copies


def write(memory: Memory, rng: random.Random, number: int) -> None:
    """One write of any kind."""
    user = rng.choice(["anna", "bob"])
    there = [trace.id for trace in memory.engine.store.iterate()]
    act = rng.choice(["add", "many", "many", "update", "archive", "forget", "recall"]) if len(there) > 30 else "many"
    if act == "add":
        memory.add(f"the matter {number} in the garden", user_id=user, metadata={"channel": "chat", "i": number})
    elif act == "many":
        texts = [f"matter {number} {i} {'at some length ' * rng.randrange(9)}милый чай" for i in range(6)]
        memory.add_many([{"text": t, "at": 1000.0 * number, "role": "user"} for t in texts], user_id=user,
                        metadata={"channel": "mail"})  # fmt: skip
    elif act == "update":
        memory.update(rng.choice(there), text=f"changed matter {number}", metadata={"channel": "new"})
    elif act == "archive":
        memory.archive(rng.choice(there))
    elif act == "forget":
        memory.forget(rng.choice(there))
    else:
        memory.search(f"matter {number - 1}", user_id=user, k=3)


def cut_cases(moments: list[tuple[Path, Witness]], folder: Path, tally: Tally, seeds: range) -> None:
    faults = []
    with tally.of("cuts") as count:
        for seed in seeds:
            for name, way in WAYS.items():
                rng = random.Random(f"{name} {seed}")
                source, witness = rng.choice(moments)
                case = folder / f"{name}-{seed}"
                way(path := copy_store(source, case), rng)
                found = judge(path, witness, count)
                faults += [f"{name} {seed}: {fault}" for fault in found]
                shutil.rmtree(case)
    assert not faults, "\n".join(faults)


def test_a_sound_copy_says_all(moments: list[tuple[Path, Witness]], tmp_path: Path) -> None:
    for number, (source, witness) in enumerate(moments):
        count = Count()
        assert judge(copy_store(source, tmp_path / str(number)), witness, count) == []
        assert (count.reported, count.losses) == (0, 0)


def test_damage_of_every_kind(moments: list[tuple[Path, Witness]], tmp_path: Path, tally: Tally) -> None:
    cut_cases(moments, tmp_path, tally, range(1))


@pytest.mark.torture
@pytest.mark.parametrize("part", range(10))
def test_much_damage_of_every_kind(
    moments: list[tuple[Path, Witness]], tmp_path: Path, tally: Tally, part: int
) -> None:
    cut_cases(moments, tmp_path, tally, range(100 + part * 10, 110 + part * 10))
