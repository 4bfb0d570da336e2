"""The command `halflife`: its groups of commands, and what becomes of errors."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import click

from halflife import __version__
from halflife.cli import bench, forget, learn, models, papers, read, systems, transfer, upkeep, write
from halflife.cli.demo.command import demo
from halflife.cli.output import safe
from halflife.errors import HalflifeError

INTERRUPTED, UNEXPECTED = 130, 70


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="halflife", message="%(prog)s %(version)s")
def cli() -> None:
    """Memory for AI systems: it lasts, fades, explains itself and can forget.

    A memory is one file, ./halflife.db unless --db or HALFLIFE_DB says otherwise. Every command takes --json.

    \b
    Examples:
      halflife add "I moved to Lisbon in May." --user anna
      halflife search "where does she live?" --user anna --explain
      halflife forget --about "Lisbon" --user anna
      halflife demo
    """


for _command in (
    write.add, read.search, read.context, read.list_, read.show, read.history, upkeep.undo, upkeep.archive,
    forget.forget, upkeep.consolidate, read.stats, upkeep.doctor, upkeep.reembed, upkeep.backup, transfer.export,
    upkeep.rekey, transfer.import_, models.models, papers.papers, papers.reproduce,
    bench.bench, systems.systems, systems.compare, learn.learn, demo,
):  # fmt: skip
    cli.add_command(_command)


def run(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code; every failure is a line on stderr, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a letter is no reason to fail
    flags: dict[str, bool] = {}
    try:
        code = cli.main(argv, prog_name="halflife", standalone_mode=False, obj=flags)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except BrokenPipeError:
        # The reader has gone. What is still buffered must not fail again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except Exception as error:
        return _report(error, flags.get("debug", False))


def _report(error: Exception, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    if isinstance(error, HalflifeError):
        click.echo(f"error: {safe(str(error))}", err=True)
        return error.exit_code
    if isinstance(error, OSError):
        click.echo(f"error: {safe(str(error))}", err=True)
        return HalflifeError.exit_code
    hint = "" if debug else " Repeat with --debug for the traceback."
    click.echo(f"error: unexpected {type(error).__name__}: {safe(str(error))}.{hint}", err=True)
    return UNEXPECTED
