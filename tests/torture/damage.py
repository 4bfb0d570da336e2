"""Ways to damage the files of a store: what a disk, a crash of the machine or a careless copy can do."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from halflife.store.files import reading

PAGE = 4096
FRAME = PAGE + 24


def files_of(path: Path) -> list[Path]:
    """The files of a store that are there."""
    own = [path, Path(f"{path}-wal"), Path(f"{path}-shm")]
    folder = Path(f"{path}.ann")
    return [file for file in own if file.exists()] + (sorted(folder.iterdir()) if folder.is_dir() else [])


def copy_store(path: Path, target: Path) -> Path:
    """Copy all files of a store, which may be open, into a new folder."""
    for file in files_of(path):
        new = target / file.relative_to(path.parent)
        new.parent.mkdir(parents=True, exist_ok=True)
        with reading(file) as open_file:
            new.write_bytes(open_file.read())
    return target / path.name


def flip(file: Path, place: int, rng: random.Random) -> None:
    """Flip one bit."""
    data = bytearray(file.read_bytes())
    data[place] ^= 1 << rng.randrange(8)
    file.write_bytes(data)


def flip_many(file: Path, rng: random.Random) -> None:
    data = bytearray(file.read_bytes())
    for _ in range(rng.randint(1, 12)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(data)


def flip_in(file: Path, needle: bytes, rng: random.Random) -> None:
    """Flip a bit in (or right after) one occurrence of some bytes; anywhere if there is none."""
    data = file.read_bytes()
    places, start = [], data.find(needle)
    while start >= 0:
        places.append(start)
        start = data.find(needle, start + 1)
    at = rng.choice(places) + rng.randrange(len(needle) + 8) if places else rng.randrange(len(data))
    flip(file, min(at, len(data) - 1), rng)


def cut(file: Path, size: int) -> None:
    with file.open("r+b") as open_file:
        open_file.truncate(max(0, size))


def overwrite(file: Path, at: int, data: bytes) -> None:
    with file.open("r+b") as open_file:
        open_file.seek(at)
        open_file.write(data)


def _pages(file: Path) -> int:
    return max(1, file.stat().st_size // PAGE)


def main_cut(path: Path, rng: random.Random) -> None:
    size = path.stat().st_size
    cut(path, rng.choice([0, 1, 60, 100, 2000, PAGE, size // 2, size - 1, size - PAGE, rng.randrange(size)]))


def main_cut_at_page(path: Path, rng: random.Random) -> None:
    cut(path, rng.randrange(_pages(path)) * PAGE)


def main_flips(path: Path, rng: random.Random) -> None:
    flip_many(path, rng)


def main_page_head(path: Path, rng: random.Random) -> None:
    flip(path, rng.randrange(_pages(path)) * PAGE + rng.randrange(12), rng)


def main_page_zero(path: Path, rng: random.Random) -> None:
    overwrite(path, rng.randrange(_pages(path)) * PAGE, bytes(PAGE))


def main_page_noise(path: Path, rng: random.Random) -> None:
    overwrite(path, rng.randrange(_pages(path)) * PAGE + rng.choice([0, 512, 2048]), rng.randbytes(512))


def main_page_misplaced(path: Path, rng: random.Random) -> None:
    """One page written where another belongs."""
    data = path.read_bytes()
    start = rng.randrange(_pages(path)) * PAGE
    overwrite(path, rng.randrange(_pages(path)) * PAGE, data[start : start + PAGE])


def text_flip(path: Path, rng: random.Random) -> None:
    flip_in(path, b"matter", rng)


def json_flip(path: Path, rng: random.Random) -> None:
    flip_in(path, b'{"channel"', rng)


def vector_flip(path: Path, rng: random.Random) -> None:
    flip_in(path, b"\x3f", rng)  # exponents of numbers near 1


def log_cut(path: Path, rng: random.Random) -> None:
    log = Path(f"{path}-wal")
    size = log.stat().st_size
    cut(
        log,
        rng.choice([0, 16, 32, size - 1, size // 2, rng.randrange(size), 32 + rng.randrange(size // FRAME) * FRAME]),
    )


def log_flip(path: Path, rng: random.Random) -> None:
    log = Path(f"{path}-wal")
    flip(log, rng.randrange(log.stat().st_size), rng)


def log_head(path: Path, rng: random.Random) -> None:
    flip(Path(f"{path}-wal"), rng.randrange(32), rng)


def log_gone(path: Path, rng: random.Random) -> None:
    Path(f"{path}-wal").unlink()


def shared_flip(path: Path, rng: random.Random) -> None:
    flip(Path(f"{path}-shm"), rng.randrange(136), rng)


def shared_gone(path: Path, rng: random.Random) -> None:
    Path(f"{path}-shm").unlink()


def _index(path: Path, suffix: str) -> Path:
    return next(file for file in files_of(path) if file.suffix == suffix)


def index_flip(path: Path, rng: random.Random) -> None:
    flip_many(_index(path, ".usearch"), rng)


def index_cut(path: Path, rng: random.Random) -> None:
    file = _index(path, ".usearch")
    cut(file, rng.randrange(file.stat().st_size))


def index_noise(path: Path, rng: random.Random) -> None:
    file = _index(path, ".usearch")
    overwrite(file, rng.randrange(file.stat().st_size - 64), rng.randbytes(64))


def note_flip(path: Path, rng: random.Random) -> None:
    flip_many(_index(path, ".json"), rng)


def note_cut(path: Path, rng: random.Random) -> None:
    file = _index(path, ".json")
    cut(file, rng.randrange(file.stat().st_size))


WAYS: dict[str, Callable[[Path, random.Random], None]] = {
    function.__name__: function
    for function in (
        main_cut, main_cut_at_page, main_flips, main_page_head, main_page_zero, main_page_noise, main_page_misplaced,
        text_flip, json_flip, vector_flip, log_cut, log_flip, log_head, log_gone, shared_flip, shared_gone,
        index_flip, index_cut, index_noise, note_flip, note_cut,
    )
}  # fmt: skip
