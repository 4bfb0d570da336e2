"""Changing an example a little: its bytes, or, if it is JSON, what stands somewhere in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any

JUNK: tuple[Any, ...] = (
    None, True, 0, -1, 1e400, -0.0, 10**30, float("nan"), "", " ", "\0", "\ud800", "é", "x" * 300, "2024-02-30", [], {},
    [[]], [None], {"": None}, {"a": {"b": []}}, "user:", "default", "AAAA", "=", "1e9", "٣", "9" * 40,
)  # fmt: skip
PIECES = (
    b"\0", b"\xff", b"\xed\xa0\x80", b"\n", b"\r\n", b"\xe2\x80\xa8", b"[" * 2000, b'{"a":' * 2000, b"9" * 40, b"-",
    b"0", b"NaN", b"1e999", b'"', b"\\ud800", b"\xef\xbb\xbf", b"]", b"}", b",", b":", b" ", b"T", b"Z", b"+99:99",
)  # fmt: skip


def mutate(data: bytes, random: Random, others: Sequence[bytes] = ()) -> bytes:
    """One change; of what is JSON mostly to a value, otherwise to bytes. `others`: what may be spliced in."""
    if random.random() < 0.6:
        lines = data.split(b"\n")
        at = random.randrange(len(lines))
        try:
            value = json.loads(lines[at])
        except (ValueError, RecursionError):
            return _bytes(data, random, others)
        lines[at] = json.dumps(_json(value, random)).encode("utf-8", "surrogatepass")
        return b"\n".join(lines)
    return _bytes(data, random, others)


def _json(value: Any, random: Random) -> Any:
    """The value with one place in it changed."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        key = random.choice(list(value))
        match random.randrange(5):
            case 0:
                return {k: v for k, v in value.items() if k != key}
            case 1:
                return {**value, str(random.choice(JUNK)): value[key]}
            case _:
                return {**value, key: _json(value[key], random)}
    if isinstance(value, list) and value and random.random() < 0.85:
        at = random.randrange(len(value))
        match random.randrange(5):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return [*value, value[at]]
            case _:
                return [*value[:at], _json(value[at], random), *value[at + 1 :]]
    if isinstance(value, str) and random.random() < 0.5:
        return _bytes(value.encode("utf-8", "surrogatepass"), random, ()).decode("utf-8", "replace")
    return random.choice(JUNK)


def _bytes(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    start = random.randint(0, len(data))
    end = random.randint(start, min(len(data), start + 8))
    match random.randrange(4):
        case 0:
            piece = random.choice(PIECES)
        case 1:
            piece = bytes([random.randrange(256)])
        case 2 if others:
            other = random.choice(others)
            cut = random.randint(0, len(other))
            piece = other[cut : cut + random.randint(0, 40)]
        case _:
            piece = data[start : start + random.randint(0, 20)] * 2
    return data[:start] + piece + data[end:]
