"""`halflife export` and `halflife import`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile

import click

from halflife.cli.options import Target, common, known_space, on_space, open_memory, read_stdin
from halflife.cli.output import emit, json_safe, progress, say
from halflife.errors import InvalidInput, StoreError
from halflife.store.private import POSIX


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--no-vectors", is_flag=True, help="Leave the vectors out: smaller, and embedded anew on import.")
@on_space
@common
def export(target: Target, file: str, no_vectors: bool, as_json: bool) -> None:
    """Write memories to FILE as lines of JSON.

    "-" is stdout. Without --user and --agent, of everyone. The file appears whole or not at all.

    \b
    Examples:
      halflife export everything.jsonl
      halflife export anna.jsonl --user anna
      halflife export - --user anna --no-vectors | jq .text
    """
    with open_memory(target, embeds=False) as memory:
        if target.user or target.agent:
            known_space(memory, target)
        lines = memory.export(**target.owner, vectors=not no_vectors)
        if file == "-":
            for line in lines:
                click.echo(json_safe(line))
            return
        count = _write_whole(Path(file), lines)
    if as_json:
        emit({"file": file, "lines": count})
    else:
        say(f"Wrote {count:,} lines to {file}.")


@click.command("import")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--redact", is_flag=True, help="Keep keys, passwords, card numbers and email addresses out.")
@on_space
@common
def import_(target: Target, file: str, redact: bool, as_json: bool) -> None:
    """Read memories from FILE: all of them or none.

    "-" is stdin. It reads what `halflife export` wrote, mem0's memories, and chat logs; importing twice changes
    nothing.

    \b
    Examples:
      halflife import everything.jsonl
      halflife import chat.jsonl --user anna
      halflife import mem0.json --user anna --json
      halflife import chat.jsonl --user anna --redact
    """
    if target.agent is not None:
        raise click.UsageError("import takes --user; agents are named in the file.")
    lines = _lines(file)
    with open_memory(target, create=True, redact=redact) as memory, progress("Reading") as tick:
        report = memory.import_lines(lines, user_id=target.user, progress=tick)
    if as_json:
        emit(report.to_dict())
    else:
        say(str(report))


def _write_whole(path: Path, lines: Iterable[str]) -> int:
    """Write beside the file, then take its name. Returns how many lines."""
    count = 0
    try:
        with NamedTemporaryFile(
            "w", dir=path.parent, prefix=f".{path.name}.", delete=False, encoding="utf-8", newline="\n"
        ) as part:
            try:
                if POSIX:
                    os.fchmod(part.fileno(), 0o600)  # a umask may have taken even that
                for line in lines:
                    part.write(line + "\n")
                    count += 1
                part.flush()
                os.fsync(part.fileno())
                part.close()
                os.replace(part.name, path)
            except BaseException:
                part.close()
                Path(part.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{path} cannot be written: {error.strerror}.", "Name another file.") from error
    return count


def _lines(file: str) -> Iterator[str]:
    if file == "-":
        if sys.stdin.isatty():
            raise click.UsageError("Pipe the memories into stdin, or name a file.")
        return iter(read_stdin().splitlines())
    try:
        return iter(Path(file).read_text(encoding="utf-8-sig").split("\n"))
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file} is not UTF-8 text (byte {error.start}).", "Convert it first, with iconv.") from None
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}.") from None
