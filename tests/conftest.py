"""What all tests share: how they are chosen, seeded and timed, and a clock that stands still."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and torch: what tests compute is too small for more

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from halflife import Memory

# The ordinary suite tries the same examples every time; `make torture` draws new ones.
settings.register_profile("suite", deadline=None, derandomize=True, database=None)
settings.register_profile("torture", deadline=None, database=None)


def _torture(config: pytest.Config) -> bool:
    return "torture" in config.option.markexpr and "not torture" not in config.option.markexpr


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("torture" if _torture(config) else "suite")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if _torture(config):
        return
    skip = pytest.mark.skip(reason="runs under `make torture` only")
    for item in items:
        if item.get_closest_marker("torture"):
            item.add_marker(skip)


class Clock:
    """The present, moved by hand."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory(tmp_path: Path, clock: Clock) -> Iterator[Memory]:
    """A memory in a file, with words for meaning and a clock moved by hand."""
    with Memory(tmp_path / "memory.db", embedder="hash", clock=clock) as opened:
        yield opened


@pytest.fixture
def open_memory(clock: Clock) -> Iterator[Callable[..., Memory]]:
    """Opens memories that are closed when the test ends."""
    opened: list[Memory] = []

    def open_one(path: Path | None = None, **options: Any) -> Memory:
        memory = Memory(path, **{"embedder": "hash", "clock": clock, **options})
        opened.append(memory)
        return memory

    yield open_one
    for memory in opened:
        memory.close()


@pytest.fixture(scope="session")
def smollm2() -> Any:
    """A real language model, read once."""
    import torch

    from halflife.llm.local import LocalChat

    torch.set_num_threads(1)  # two wait for each other when something else runs
    return LocalChat()
