import doctest
import importlib
import pkgutil

import pytest

import halflife.decay

MODULES = [name for _, name, _ in pkgutil.iter_modules(halflife.decay.__path__, "halflife.decay.")]


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_in_the_docs_are_true(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0
