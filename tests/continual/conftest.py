"""What the tests of continual learning share."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")


@pytest.fixture(scope="session")
def digits():
    from halflife.continual import load

    return load("digits")
