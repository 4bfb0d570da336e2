"""The examples in the docstrings of `halflife.papers` are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import halflife.papers

MODULES = ["halflife.papers"] + [
    f"halflife.papers.{module.name}" for module in pkgutil.iter_modules(halflife.papers.__path__)
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0
