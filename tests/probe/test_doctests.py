"""The examples in the docstrings of the probes are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import halflife.probe

MODULES = sorted(module.name for module in pkgutil.walk_packages(halflife.probe.__path__, "halflife.probe."))


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
