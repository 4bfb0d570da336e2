"""Halflife: memory for AI systems that lasts, fades, explains itself and can forget.

>>> from halflife import Memory
>>> memory = Memory()                                       # lives in the process; Memory("assistant.db") lasts
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from halflife.agent.memory import Memory as Memory
    from halflife.store.trace import Trace as Trace

# Loaded on first use, so that `import halflife` stays light.
_LAZY = {"Memory": "halflife.agent.memory", "Trace": "halflife.store.trace"}

__all__ = ["Memory", "Trace", "__version__"]


def __getattr__(name: str) -> object:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'halflife' has no attribute {name!r}")
