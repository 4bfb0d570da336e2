"""The command line: `halflife add`, `search`, `forget`, and the rest.

`app` holds the entry point; the commands are in one small module a group, and load the engine only when they
run, so that `halflife --help` is quick.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; `argv` without the program's name, by default the process's. Returns the exit code."""
    from halflife.cli.app import run

    return run(argv)
