"""Data sets of small pictures, read from files that are already on the machine, or fetched by torchvision."""

from __future__ import annotations

import gzip
import io
import itertools
import os
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from halflife.continual.examples import Examples
from halflife.continual.seeds import generator
from halflife.errors import InvalidInput, MissingExtra, ModelNotFound

VARIABLE = "HALFLIFE_DATA"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # the package dataset-fashion-mnist


@dataclass(frozen=True, eq=False)
class Dataset:
    """Pictures with labels, in a training and a test part.

    Parameters
    ----------
    name: what results say of it.
    train, test: the parts. The inputs are [N, channels, height, width], as bytes or as floats in [0, 1].
    n_classes: labels are 0 .. n_classes - 1.

    Raises
    ------
    InvalidInput: a label is out of range, inputs and labels differ in number, or an input is not finite.
    """

    name: str
    train: Examples
    test: Examples
    n_classes: int

    def __post_init__(self) -> None:
        for part in (self.train, self.test):
            if len(part.x) != len(part.y):
                raise InvalidInput(f"{self.name} has {len(part.x)} inputs but {len(part.y)} labels.")
            if len(part) and not 0 <= int(part.labels.min()) <= int(part.labels.max()) < self.n_classes:
                raise InvalidInput(
                    f"{self.name} has labels from {int(part.labels.min())} to {int(part.labels.max())}, "
                    f"but {self.n_classes} classes.",
                    "Number the classes from 0.",
                )
            if part.x.is_floating_point() and not bool(torch.isfinite(part.x).all()):
                raise InvalidInput(f"{self.name} has inputs that are not finite.", "Clean them first.")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return tuple(self.train.x.shape[1:])

    def take(self, per_class: int, test_per_class: int | None = None, seed: int = 0) -> Dataset:
        """At most so many training (and test) examples of each class, drawn by a seed."""
        test = self.test if test_per_class is None else _some(self.test, test_per_class, seed)
        return replace(self, train=_some(self.train, per_class, seed), test=test)

    def validation(self, fraction: float = 0.2, seed: int = 0) -> Dataset:
        """The same classes without the test part: `fraction` of the training part takes its place, for choosing."""
        if not 0 < fraction < 1:
            raise InvalidInput(f"The fraction is {fraction}.", "Use a number between 0 and 1.")
        held: list[Tensor] = []
        kept: list[Tensor] = []
        for rows in _by_class(self.train, seed):
            count = max(1, round(fraction * len(rows)))
            held.append(rows[:count])
            kept.append(rows[count:])
        return replace(self, train=self.train.only(torch.cat(kept)), test=self.train.only(torch.cat(held)))


def under(data: Dataset, changes: Callable[[Tensor], Sequence[Tensor]], name: str) -> Dataset:
    """Every class under several fixed changes of its pictures, each of them a class of its own.

    The class c under change k is `k * n_classes + c`.

    Parameters
    ----------
    changes: pictures [N, channels, height, width] in [0, 1] -> the same under each change. name: of the result.

    >>> turned = under(load("digits").take(5), lambda x: [x, x.flip(3)], "digits and mirrored")
    >>> turned.n_classes, len(turned.train)
    (20, 100)
    """
    parts: list[Tensor] = []
    count = 0
    for part in (data.train, data.test):
        x, y = part.all()
        made = changes(x)
        count = len(made)
        parts += [torch.cat(list(made)), torch.cat([y + k * data.n_classes for k in range(count)])]
    x, y, x_test, y_test = parts
    return dataset(name, x, y, x_test, y_test, count * data.n_classes)


def _by_class(part: Examples, seed: int) -> list[Tensor]:
    rng = generator(seed, "take")
    found = [(part.labels == c).nonzero()[:, 0] for c in part.classes]
    return [rows[torch.randperm(len(rows), generator=rng)] for rows in found]


def _some(part: Examples, per_class: int, seed: int) -> Examples:
    if per_class < 1:
        raise InvalidInput(f"{per_class} examples of a class were asked for.", "Take at least one.")
    return part.only(torch.cat([rows[:per_class] for rows in _by_class(part, seed)]))


def dataset(
    name: str, x: Tensor, y: Tensor, x_test: Tensor, y_test: Tensor, n_classes: int | None = None
) -> Dataset:  # fmt: skip
    """Tensors of your own as a data set.

    Parameters
    ----------
    x, x_test: inputs [N, ...], bytes or floats. y, y_test: labels [N] from 0.
    n_classes: how many classes; None counts them.

    >>> data = dataset("two", torch.rand(8, 1, 2, 2), torch.arange(8) % 2, torch.rand(2, 1, 2, 2), torch.arange(2))
    >>> data.n_classes, data.shape
    (2, (1, 2, 2))
    """
    y, y_test = y.long(), y_test.long()
    if n_classes is None:
        n_classes = int(max(y.max(), y_test.max())) + 1
    parts = [Examples(a, b, torch.arange(len(b))) for a, b in ((x, y), (x_test, y_test))]
    return Dataset(name, parts[0], parts[1], n_classes)


def from_pairs(name: str, train: Sequence[Any], test: Sequence[Any], n_classes: int | None = None) -> Dataset:
    """A data set of sequences of (picture, label), as torchvision and most others have them.

    Parameters
    ----------
    train, test: sequences whose items are a picture (a PIL image, or an array or tensor [channels, height, width]) and
        a label from 0.

    >>> data = from_pairs("zeros", [(np.zeros((1, 2, 2), np.uint8), 0)] * 3, [(np.zeros((1, 2, 2), np.uint8), 0)])
    >>> len(data.train), data.shape
    (3, (1, 2, 2))
    """
    parts: list[Tensor] = []
    for pairs in (train, test):
        if not len(pairs):
            raise InvalidInput(f"A part of {name} is empty.")
        pictures, labels = zip(*(pairs[i] for i in range(len(pairs))), strict=True)
        parts += [torch.stack([_tensor(picture) for picture in pictures]), torch.tensor([int(one) for one in labels])]
    x, y, x_test, y_test = parts
    return dataset(name, x, y, x_test, y_test, n_classes)


def from_torchvision(name: str, root: str | Path = "data", download: bool = True) -> Dataset:
    """A data set of torchvision with a training and a test part, such as `CIFAR100`, `KMNIST`, `SVHN`.

    Raises
    ------
    MissingExtra: torchvision is not installed. InvalidInput: it has no such data set.
    """
    try:
        import torchvision.datasets as known
    except ImportError:
        raise MissingExtra("torchvision", "vision") from None
    if not hasattr(known, name):
        raise InvalidInput(f"torchvision has no data set {name!r}.", "Its names are as in its documentation: CIFAR100.")
    make = getattr(known, name)
    by_name = name == "SVHN"  # takes the part's name instead of a flag
    parts = [
        make(str(root), download=download, **({"split": word} if by_name else {"train": word == "train"}))
        for word in ("train", "test")
    ]
    return from_pairs(name.lower(), *parts)


def _tensor(picture: Any) -> Tensor:
    if isinstance(picture, Tensor):
        return picture
    array = np.array(picture)
    if hasattr(picture, "getbands"):  # a PIL image: the channels come last, or there is one
        array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(array))


def load(name: str, folder: str | Path | None = None) -> Dataset:
    """A data set by name.

    Parameters
    ----------
    name: one of `digits` (scikit-learn's 8 x 8 digits, 70 % for training), `fashion-mnist`, `mnist`, `cifar10`,
        `omniglot` (the two small background sets, 28 x 28, 15 of the 20 drawers for training).
    folder: where the files are; None looks into HALFLIFE_DATA/NAME, beside the repository, and where Debian's
        packages put them.

    Raises
    ------
    InvalidInput: there is no such data set. ModelNotFound: its files are not on this machine.
    """
    if name not in DATASETS:
        raise InvalidInput(f"There is no data set {name!r}.", f"Use one of {', '.join(DATASETS)}.")
    return DATASETS[name](None if folder is None else Path(folder))


def folders(name: str) -> list[Path]:
    """Where the files of a data set are looked for."""
    told = os.environ.get(VARIABLE)
    beside = Path(__file__).resolve().parents[3].parent / "shared" / "data"
    roots = [Path(told).expanduser()] if told else [beside]
    return [root / name for root in roots] + ([DEBIAN] if name == "fashion-mnist" else [])


def _find(name: str, folder: Path | None, file: str) -> Path:
    places = [folder] if folder is not None else folders(name)
    for place in places:
        if (place / file).is_file():
            return place / file
    raise ModelNotFound(
        f"{file} of the data set {name} was not found in {', '.join(map(str, places))}.",
        f"Name its folder, or put it into a folder {name}/ under the one that {VARIABLE} names"
        + (", or install Debian's dataset-fashion-mnist." if name == "fashion-mnist" else "."),
    )


def _digits(folder: Path | None) -> Dataset:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise MissingExtra("scikit-learn", "continual") from None
    bunch = load_digits()
    x = torch.tensor(bunch.images / 16.0, dtype=torch.float32)[:, None]
    y = torch.tensor(bunch.target, dtype=torch.long)
    parts: tuple[list[Tensor], list[Tensor]] = ([], [])
    for rows in _by_class(Examples(x, y, torch.arange(len(y))), 0):
        cut = round(0.7 * len(rows))
        parts[0].append(rows[:cut])
        parts[1].append(rows[cut:])
    return Dataset("digits", Examples(x, y, torch.cat(parts[0])), Examples(x, y, torch.cat(parts[1])), 10)


def _idx(path: Path) -> Tensor:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != 8:
        raise InvalidInput(f"{path} is no idx file of bytes.", "Fetch it again.")
    dims = struct.unpack(f">{data[3]}I", data[4 : 4 + 4 * data[3]])
    body = np.frombuffer(data, np.uint8, offset=4 + 4 * data[3])
    if body.size != int(np.prod(dims)):
        raise InvalidInput(
            f"{path} is cut short: {body.size} bytes instead of {int(np.prod(dims))}.", "Fetch it again."
        )
    return torch.from_numpy(body.reshape(dims).copy())


def _mnist(name: str) -> Callable[[Path | None], Dataset]:
    def read(folder: Path | None) -> Dataset:
        x, y, x_test, y_test = (
            _idx(_find(name, folder, f"{part}-ubyte.gz"))
            for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
        )
        return dataset(name, x[:, None], y, x_test[:, None], y_test, 10)

    return read


def _cifar10(folder: Path | None) -> Dataset:
    parts = []
    for part in ("train", "test"):
        with np.load(_find("cifar10", folder, f"cifar10_{part}_jpeg.npz")) as file:
            bounds, jpeg = file["offsets"], file["jpeg"]
            pixels = np.stack([_picture(jpeg[a:b].tobytes(), "RGB") for a, b in itertools.pairwise(bounds)])
            parts += [
                torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(),
                torch.from_numpy(file["y"].astype(np.int64)),
            ]
    x, y, x_test, y_test = parts
    return dataset("cifar10", x, y, x_test, y_test, 10)


def _omniglot(folder: Path | None) -> Dataset:
    pictures: dict[tuple[str, str], list[np.ndarray]] = {}
    for file in ("images_background_small1.zip", "images_background_small2.zip"):
        with zipfile.ZipFile(_find("omniglot_small", folder, file)) as archive:
            for entry in sorted(archive.namelist()):
                if entry.endswith(".png"):
                    _, alphabet, character, _ = entry.split("/")
                    if file.endswith("2.zip") and alphabet in ("Greek", "Latin"):
                        continue  # they are in both
                    pictures.setdefault((alphabet, character), []).append(_picture(archive.read(entry), "L", 28))
    x, y, x_test, y_test = [], [], [], []
    for label, key in enumerate(sorted(pictures)):
        x += pictures[key][:15]
        x_test += pictures[key][15:]
        y += [label] * len(pictures[key][:15])
        y_test += [label] * len(pictures[key][15:])
    stacked = [torch.from_numpy(255 - np.stack(part))[:, None] for part in (x, x_test)]
    return dataset("omniglot", stacked[0], torch.tensor(y), stacked[1], torch.tensor(y_test), len(pictures))


def _picture(data: bytes, mode: str, side: int | None = None) -> np.ndarray:
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtra("pillow", "continual") from None
    with Image.open(io.BytesIO(data)) as image:
        found = image.convert(mode)
        return np.array(found if side is None else found.resize((side, side), Image.Resampling.BOX))


DATASETS: Mapping[str, Callable[[Path | None], Dataset]] = {
    "digits": _digits,
    "fashion-mnist": _mnist("fashion-mnist"),
    "mnist": _mnist("mnist"),
    "cifar10": _cifar10,
    "omniglot": _omniglot,
}
