"""Write docs/cli.md from the help of the commands; with --check, say whether it is up to date.

python docs/make_cli.py
python docs/make_cli.py --check
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from halflife.cli.app import cli

PAGE = Path(__file__).with_name("cli.md")
WIDTH = 96

HEAD = """\
# The command line

<!-- Written by docs/make_cli.py from the help of the commands. Do not edit. -->

A memory is one file, `halflife.db` in the current folder unless `--db` or `HALFLIFE_DB` says otherwise; only
`add`, `import` and `demo` make one. `--user`, `--agent` and `--session` say whose memory it is, and can be written
`--user-id`, `--agent-id` and `--session-id` too. Times are UTC.

**Output.** On a terminal you get tables, colours and progress bars. Piped, or with `NO_COLOR` set, the same is plain
text, one line a memory, neither wrapped nor cut. With `--json`, stdout holds JSON and nothing else: one object, or
one a line where there may be many (`search`, `list`, `history`, `papers`). Errors, questions and progress go to
stderr. Control characters in stored text are written out (`\\x1b`), never sent to the terminal.

**Embedder.** A file remembers which embedder it was made with, and the commands use that one. Commands that need
no vectors (`list`, `show`, `history`, `stats`, `export`, `doctor`, ...) need no model either.

**Exit codes.**

| code | meaning |
|---:|---|
| 0 | done, or nothing to do |
| 1 | `doctor` found damage that is not mended |
| 2 | wrong usage, or a value that cannot be stored or asked for |
| 3 | no such user, memory or operation |
| 4 | the file is missing, damaged, busy, or made with another embedder |
| 5 | a model or an optional package is missing |
| 6 | `forget` erased, but could not verify that nothing is left |
| 70 | unexpected; `--debug` shows the traceback |
| 130 | interrupted; nothing is half-written |
"""


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *sections(cli, "halflife")])


def sections(command: click.Command, name: str) -> Iterator[str]:
    """A section for a command, then those of its subcommands by name."""
    context = click.Context(command, info_name=name, max_content_width=WIDTH, terminal_width=WIDTH)
    yield f"## `{name}`\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for sub in sorted(command.commands):
            yield from sections(command.commands[sub], f"{name} {sub}")


def main(check: bool) -> int:
    """Write the page, or compare it."""
    if not check:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page():
        return 0
    print(f"{PAGE} is not up to date. Run: python docs/make_cli.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
