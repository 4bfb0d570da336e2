"""Benchmarks by name: where their data is, and which module reads it. Nothing is ever downloaded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from halflife.errors import InvalidInput
from halflife.probe.benchmarks.history import History

FOLDER = "HALFLIFE_DATA"  # the environment's folder of data, with one folder a benchmark


@dataclass(frozen=True, slots=True)
class Dataset:
    """A benchmark with published data.

    Args:
        name: As the command line says it; its module and its folder in HALFLIFE_DATA are called the same.
        files: What to look for in HALFLIFE_DATA, best first (glob patterns).
        source: Where its authors publish it, and what to take from there.
    """

    name: str
    files: tuple[str, ...]
    source: str

    def read(self, path: Path) -> Iterator[History]:
        """Its histories. Raises `InvalidInput` if the file is something else."""
        histories: Iterator[History] = import_module(f"halflife.probe.benchmarks.{self.name}").read(path)
        return histories

    def find(self, path: str | Path | None = None) -> Path:
        """Where its data is: the path given, or the first of its files in HALFLIFE_DATA.

        Errors
        ------
        InvalidInput: it is not there; says where to get it.
        """
        if path is not None:
            if Path(path).exists():
                return Path(path)
            raise InvalidInput(f"There is no {path}.", self.advice())
        folder = os.environ.get(FOLDER)
        if folder:
            for pattern in self.files:
                if found := sorted(Path(folder).glob(pattern)):
                    return found[0]
            raise InvalidInput(f"{FOLDER} ({folder}) has no data of {self.name}.", self.advice())
        raise InvalidInput(f"It was not said where the data of {self.name} is.", self.advice())

    def advice(self) -> str:
        """What to download, and how to say where it is."""
        return f"Get {self.source}, and give its path (--data), or put it into {self.name}/ of a folder {FOLDER} names."


DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            "locomo",
            ("locomo/locomo10.json*", "locomo/locomo*.json*"),
            "data/locomo10.json from https://github.com/snap-research/locomo",
        ),
        Dataset(
            "longmemeval",
            ("longmemeval/longmemeval_s*.json*", "longmemeval"),
            "longmemeval_s_cleaned.json from https://huggingface.co/datasets/xiaowu0162/longmemeval-cleaned",
        ),
        Dataset(
            "beam",
            ("beam",),
            "the folder chats/100K from https://github.com/mohammadtavakoli78/BEAM",
        ),
        Dataset(
            "memdaily",
            ("memdaily/memdaily.json*", "memdaily"),
            "data_generation/final_dataset/memdaily.json from https://github.com/nuster1128/MemSim",
        ),
    )
}
GENERATED = "generated"  # histories that need no data: `generate.histories`
NAMES = (*DATASETS, GENERATED)


def load(name: str, path: str | Path | None = None) -> Iterator[History]:
    """The histories of a benchmark.

    Parameters
    ----------
    name: one of `NAMES`.
    path: its file or folder; None looks into the folder that HALFLIFE_DATA names.

    Errors
    ------
    InvalidInput: no benchmark of this name; its data is not there, or is something else.

    >>> load("locomo", "nowhere.json")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    halflife.errors.InvalidInput: There is no nowhere.json. Get data/locomo10.json from ...
    """
    if name == GENERATED:
        if path is not None:
            raise InvalidInput("The generated histories are not read from a file.", "Leave --data out.")
        from halflife.probe.benchmarks.generate import histories

        return histories()
    if name in DATASETS:
        return DATASETS[name].read(DATASETS[name].find(path))
    raise InvalidInput(f"There is no benchmark {name!r}.", f"There are {', '.join(NAMES)}.")
