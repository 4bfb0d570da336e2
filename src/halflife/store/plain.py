"""JSON as strangers write it."""

from __future__ import annotations

import json
from typing import Any


def loads(text: str | bytes) -> Any:
    """A JSON value. Raises `ValueError`, also for one that is nested too deeply to be read.

    >>> loads("[1]")
    [1]
    >>> loads("[" * 100_000)
    Traceback (most recent call last):
    ...
    ValueError: it is nested too deeply
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
