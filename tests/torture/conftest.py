"""One tally for the run; written down if `make torture` asked for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.torture.tally import Tally

_TALLY = Tally()


@pytest.fixture
def tally() -> Tally:
    """The counts of this run."""
    return _TALLY


def pytest_sessionfinish(session: pytest.Session) -> None:
    folder = os.environ.get("HALFLIFE_SURVIVAL")
    if folder and _TALLY.counts:
        _TALLY.write(Path(folder))
