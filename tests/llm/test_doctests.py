"""The examples in the docstrings of `halflife.llm` are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import halflife.llm

MODULES = [name for _, name, _ in pkgutil.iter_modules(halflife.llm.__path__, "halflife.llm.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
