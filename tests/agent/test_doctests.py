"""The examples in the docstrings of `halflife.agent` are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import halflife.agent

MODULES = ["halflife.agent"] + [
    f"halflife.agent.{module.name}" for module in pkgutil.iter_modules(halflife.agent.__path__)
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0
