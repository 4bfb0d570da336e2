"""Reading the files that benchmarks are published as: JSON, JSON lines, plain or compressed by gzip or bzip2."""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from halflife.errors import InvalidInput
from halflife.store.plain import loads

_UNPACK = {".gz": gzip.decompress, ".bz2": bz2.decompress}


def read_text(path: str | Path) -> str:
    """A UTF-8 text file, unpacked if its name ends in .gz or .bz2.

    Errors
    ------
    InvalidInput: it is missing, cut off, or not UTF-8.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        return _UNPACK.get(path.suffix, bytes)(data).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8 text (byte {error.start}).") from None
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InvalidInput(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None


def read_json(path: str | Path) -> Any:
    """A JSON file, plain or .gz. Raises `InvalidInput`."""
    try:
        return loads(read_text(path))
    except ValueError as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"{path} is not JSON: {error}.") from None


def read_lines(path: str | Path) -> Iterator[tuple[str, Any]]:
    """Each line of a JSON-lines file that is not blank, with its place (`file, line 3`). Raises `InvalidInput`."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            place = f"{path}, line {number}"
            try:
                yield place, loads(line)
            except ValueError as error:
                raise InvalidInput(f"{place} is not JSON: {error}.") from None


def fields(value: Any, place: str, **kinds: type | tuple[type, ...]) -> dict[str, Any]:
    """The value as a mapping that has these fields, each of its type.

    Parameters
    ----------
    value: what was read.
    place: where it stands, for the error.
    kinds: name of a field and its type.

    Errors
    ------
    InvalidInput: it is no mapping, or a field is missing or of another type.

    >>> fields({"id": 3, "text": "a"}, "x.json", id=int, text=str)["id"]
    3
    """
    if not isinstance(value, Mapping):
        malformed(place, f"a {type(value).__name__} stands where an object should")
    for name, kind in kinds.items():
        if name not in value:
            malformed(place, f"{name!r} is missing")
        if not isinstance(value[name], kind) or isinstance(value[name], bool):
            malformed(place, f"{name!r} is a {type(value[name]).__name__}")
    return dict(value)


def malformed(place: str, what: str) -> NoReturn:
    """Raise the error of a file that is not what it should be."""
    raise InvalidInput(f"{place}: {what}.", "Is this the file as the benchmark publishes it?")
