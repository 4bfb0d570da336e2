from __future__ import annotations

import pytest

from halflife.llm.minilm import MiniLM


@pytest.fixture(scope="session")
def minilm() -> MiniLM:
    return MiniLM(threads=1)
