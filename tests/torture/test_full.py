"""A disk or a quota that is full: a clear error, nothing acknowledged is lost, and life goes on when there is room."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from halflife import Memory
from tests.torture.tally import Count, Tally

# Fills what room there is with memories of a size, says which were acknowledged, and what stopped it.
FILL = """
import json, resource, sys
from halflife import Memory
from halflife.errors import HalflifeError
path, limit, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with Memory(path, embedder="hash:32") as memory:
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    error, i = None, 0
    while error is None and i < 100_000:
        try:
            [added] = memory.add(f"memory {i} " + f"x{i}y" * size)
            print(json.dumps([added.id, i]), flush=True)
        except HalflifeError as failure:
            error = str(failure)
        i += 1
    print(json.dumps(["error", error]), flush=True)
    texts = [trace.text for trace in memory.list(limit=None)]  # what is there can still be read
    print(json.dumps(["there", len(texts)]), flush=True)
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        [added] = memory.add("there is room again")
        print(json.dumps(["again", added.id]), flush=True)
"""


def filled(path: Path, limit: int, size: int) -> tuple[dict[str, int], dict[str, object]]:
    """The memories that were acknowledged, and what else was said."""
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(path), str(limit), str(size)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    words = ("error", "there", "again")
    return {id: i for id, i in lines if id not in words}, {word: value for word, value in lines if word in words}


def check(path: Path, acknowledged: dict[str, int], size: int, count: Count) -> None:
    with Memory(path, embedder="hash:32") as memory:
        texts = {trace.id: trace.text for trace in memory.list(limit=None)}
        lost = [id for id, i in acknowledged.items() if texts.get(id) != f"memory {i} " + f"x{i}y" * size]
        count.cases += 1
        count.acknowledged += len(acknowledged)
        count.reported += 1
        count.losses += len(lost)
        assert not lost
        assert memory.doctor().healthy
        memory.add("and on it goes")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB, where mounting is permitted."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = hasattr(os, "geteuid") and os.geteuid() == 0 and sys.platform == "linux"
    if (
        not mounted
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("needs the right to mount a small file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def disk_rounds(disk: Path, tally: Tally, sizes: list[int]) -> None:
    with tally.of("full disks") as count:
        for size in sizes:
            path, ballast = disk / f"{size}.db", disk / "ballast"
            ballast.write_bytes(bytes(400_000))
            acknowledged, said = filled(path, 0, size)
            assert "full" in str(said["error"])
            assert said["there"] == len(acknowledged)
            ballast.unlink()  # room again
            check(path, acknowledged, size, count)
            for file in disk.iterdir():
                file.unlink()


def test_a_full_disk(small_disk: Path, tally: Tally) -> None:
    disk_rounds(small_disk, tally, [300])


@pytest.mark.torture
def test_many_full_disks(small_disk: Path, tally: Tally) -> None:
    disk_rounds(small_disk, tally, [1, 10, 50, 100, 200, 500, 1000, 3000, 10_000, 20_000] * 3)


def quota_rounds(folder: Path, tally: Tally, limits: list[int]) -> None:
    pytest.importorskip("resource")
    with tally.of("full disks") as count:
        for limit in limits:
            path = folder / f"{limit}.db"
            acknowledged, said = filled(path, limit, 200)
            assert "again" in said
            assert "not acknowledged" in str(said["error"]) or "full" in str(said["error"])
            assert said["there"] == len(acknowledged)
            check(path, acknowledged, 200, count)


def test_a_quota(tmp_path: Path, tally: Tally) -> None:
    quota_rounds(tmp_path, tally, [500_000])


@pytest.mark.torture
def test_many_quotas(tmp_path: Path, tally: Tally) -> None:
    quota_rounds(tmp_path, tally, list(range(250_000, 2_500_000, 150_000)))
