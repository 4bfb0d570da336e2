"""Where reproductions look for the data sets that they read. None of them ships with the package."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

VARIABLE = "HALFLIFE_DATA"


def data_folders() -> list[Path]:
    """The folders looked at: HALFLIFE_DATA alone if it is set, else `shared/data` beside the repository, and `data`."""
    if told := os.environ.get(VARIABLE):
        return [Path(told).expanduser()]
    repository = Path(__file__).resolve().parents[3]
    return [repository.parent / "shared" / "data", repository / "data"]


def data_file(folder: str, name: str) -> Path | None:
    """The file `folder/name` of the data, or None if it is not on this machine.

    >>> data_file("no such set", "no such file") is None
    True
    """
    found = (root / folder / name for root in data_folders())
    return next((path for path in found if path.is_file()), None)


def read_json(path: Path) -> Any:
    """The content of a JSON file, gzipped or plain; for `.jsonl` a list of its lines."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    if ".jsonl" in path.suffixes:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    return json.loads(text)


def missing(folder: str, *names: str) -> str:
    """What a report says of a part whose data are not there."""
    files = " and ".join(f"{folder}/{name}" for name in names)
    return f"{files} not found (looked in {VARIABLE}, or shared/data beside the repository): this part was not run."
