"""The examples in the docstrings of the command line are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import halflife.cli

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(halflife.cli.__path__, "halflife.cli.")
    if "__main__" not in module.name
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
