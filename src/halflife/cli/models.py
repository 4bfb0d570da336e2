"""`halflife models`: the weights of the default embedder."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from halflife.cli.options import common
from halflife.cli.output import Tick, emit, progress, say


@click.group()
def models() -> None:
    """Find or fetch the embedding model.

    \b
    Examples:
      halflife models path
      halflife models fetch
    """


@models.command()
@common
def path(as_json: bool) -> None:
    """Print the folder of the model's files, after checking them.

    \b
    Examples:
      halflife models path
      HALFLIFE_MODEL=/models/minilm halflife models path --json
    """
    from halflife.llm.models import locate, verify

    files = locate()
    verify(files)
    _tell(files.directory, as_json)


@models.command()
@click.option(
    "--to", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Where.  [default: the cache]"
)
@click.option("--url", metavar="URL", help="A folder to fetch from, http(s) or file.  [default: the model's home]")
@common
def fetch(to: Path | None, url: str | None, as_json: bool) -> None:
    """Download the embedding model once (91 MB) and check it; this is the only command that uses the network.

    \b
    Examples:
      halflife models fetch
      halflife models fetch --to /models/minilm
      halflife models fetch --url file:///mnt/mirror/all-MiniLM-L6-v2
    """
    from halflife.llm import models as weights

    with ExitStack() as stack:
        ticks: dict[str, Tick] = {}

        def tell(name: str, done: int, total: int | None) -> None:
            if name not in ticks:
                ticks[name] = stack.enter_context(progress(name))
            ticks[name](done, total or done)

        files = weights.fetch(to, url or weights.URL, tell)
    _tell(files.directory, as_json)


def _tell(directory: Path, as_json: bool) -> None:
    if as_json:
        emit({"path": str(directory)})
    else:
        say(str(directory))
