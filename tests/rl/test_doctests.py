"""The examples in the docstrings of `halflife.rl` run."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module

import pytest

pytest.importorskip("torch")
import halflife.rl


@pytest.mark.parametrize("name", [m.name for m in pkgutil.iter_modules(halflife.rl.__path__)])
def test_examples(name: str) -> None:
    assert doctest.testmod(import_module(f"halflife.rl.{name}")).failed == 0
