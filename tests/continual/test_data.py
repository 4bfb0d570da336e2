"""Reading data sets: real files where they are, small ones made here otherwise, and errors that say what to do."""

from __future__ import annotations

import gzip
import io
import sys
import types
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from halflife.continual import from_pairs, from_torchvision, load
from halflife.errors import InvalidInput, MissingExtra, ModelNotFound


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    return gzip.compress(head + array.astype(np.uint8).tobytes())


@pytest.fixture
def mnist(tmp_path):
    rng = np.random.default_rng(0)
    for part, count in (("train", 20), ("t10k", 6)):
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(rng.integers(0, 256, (count, 28, 28))))
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(np.arange(count) % 10))
    return tmp_path


def test_mnist_files(mnist):
    data = load("mnist", mnist)
    assert (len(data.train), len(data.test), data.shape, data.n_classes) == (20, 6, (1, 28, 28), 10)
    x, y = data.train.batch(torch.tensor([3]))
    assert x.dtype == torch.float32
    assert 0 <= float(x.min()) <= float(x.max()) <= 1
    assert y.item() == 3


def test_a_file_cut_short_is_refused(mnist):
    path = mnist / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-5]))
    with pytest.raises(InvalidInput, match="instead of"):
        load("mnist", mnist)
    path.write_bytes(gzip.compress(b"PK\3\4 not idx"))
    with pytest.raises(InvalidInput, match="no idx file"):
        load("mnist", mnist)


def picture(array: np.ndarray, kind: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, kind)
    return out.getvalue()


def test_cifar_of_jpeg_files(tmp_path):
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        files = [picture(rng.integers(0, 256, (32, 32, 3)).astype(np.uint8), "JPEG") for _ in range(10)]
        bounds = np.cumsum([0, *map(len, files)])
        np.savez(tmp_path / f"cifar10_{part}_jpeg.npz", jpeg=np.frombuffer(b"".join(files), np.uint8), offsets=bounds,
                 y=np.arange(10, dtype=np.uint8))  # fmt: skip
    data = load("cifar10", tmp_path)
    assert data.shape == (3, 32, 32)
    assert data.train.labels.tolist() == list(range(10))


def test_omniglot_zips_leave_out_what_is_in_both(tmp_path):
    ink = np.zeros((105, 105), np.uint8)
    for number, alphabets in ((1, ("Greek", "Korean")), (2, ("Greek", "Sanskrit"))):
        with zipfile.ZipFile(tmp_path / f"images_background_small{number}.zip", "w") as archive:
            for alphabet in alphabets:
                for drawer in range(20):
                    name = f"images_background_small{number}/{alphabet}/character01/01_{drawer:02}.png"
                    archive.writestr(name, picture(ink, "PNG"))
    data = load("omniglot", tmp_path)
    assert data.n_classes == 3
    assert len(data.train) == 45
    assert data.train.x.min() == 255  # ink is bright


def test_what_is_not_there(tmp_path, monkeypatch):
    with pytest.raises(InvalidInput, match="no data set 'imagenet'"):
        load("imagenet")
    with pytest.raises(ModelNotFound, match="HALFLIFE_DATA"):
        load("mnist", tmp_path)
    monkeypatch.setenv("HALFLIFE_DATA", str(tmp_path))
    with pytest.raises(ModelNotFound, match="not found"):
        load("cifar10")


def test_pairs_of_pictures_and_labels():
    colour = Image.fromarray(np.full((4, 5, 3), 7, np.uint8))
    data = from_pairs("own", [(colour, 0), (colour, 1)], [(colour, 1)])
    assert data.shape == (3, 4, 5)
    grey = from_pairs("own", [(Image.fromarray(np.zeros((4, 5), np.uint8)), 0)], [(torch.zeros(1, 4, 5), 0)])
    assert grey.shape == (1, 4, 5)
    with pytest.raises(InvalidInput, match="is empty"):
        from_pairs("own", [], [(colour, 1)])


def test_torchvision_is_asked_as_it_wants(monkeypatch, tmp_path):
    calls = []

    class Pairs(list):
        def __init__(self, root, download, **part):
            calls.append((root, download, part))
            super().__init__([(Image.fromarray(np.zeros((2, 2), np.uint8)), 0)])

    module = types.ModuleType("torchvision.datasets")
    module.KMNIST = module.SVHN = Pairs
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", module)
    assert from_torchvision("KMNIST", tmp_path).name == "kmnist"
    from_torchvision("SVHN", tmp_path, download=False)
    assert [part for _, _, part in calls] == [{"train": True}, {"train": False}, {"split": "train"}, {"split": "test"}]
    with pytest.raises(InvalidInput, match="torchvision has no"):
        from_torchvision("Nothing")
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.delitem(sys.modules, "torchvision.datasets")
    with pytest.raises(MissingExtra, match="vision"):
        from_torchvision("KMNIST")


@pytest.mark.parametrize(("name", "sizes"), [("fashion-mnist", (60_000, 10_000)), ("mnist", (60_000, 10_000)),
                                             ("omniglot", (3_630, 1_210))])  # fmt: skip
def test_the_real_files(name, sizes):
    try:
        data = load(name)
    except ModelNotFound as error:
        pytest.skip(str(error))
    assert (len(data.train), len(data.test)) == sizes
    counts = torch.bincount(data.train.labels)
    assert counts.min() >= 15
