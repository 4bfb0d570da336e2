"""The examples in the docstrings of `halflife.continual` run."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module

import pytest

pytest.importorskip("torch")
import halflife.continual

MODULES = [m.name for m in pkgutil.walk_packages(halflife.continual.__path__, "halflife.continual.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(import_module(name)).failed == 0
