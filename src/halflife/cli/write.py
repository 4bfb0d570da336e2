"""`halflife add`."""

from __future__ import annotations

import sys

import click

from halflife.cli.options import Target, common, on_session, open_memory, read_metadata, read_stdin
from halflife.cli.output import emit, say


@click.command()
@click.argument("text", required=False)
@click.option("--at", metavar="TIME", help="When it was said: 2024-05-20, 2024-05-20T18:30Z.  [default: now]")
@click.option("--role", metavar="NAME", help="Who said it: user, assistant, ...")
@click.option(
    "--meta", multiple=True, metavar="KEY=VALUE", help="A field of your own; KEY:=JSON for a number. Repeatable."
)
@click.option("--importance", type=float, metavar="0..1", help="How much it matters.  [default: 0.5]")
@click.option("--layer", metavar="NAME", help="short, mid or long.  [default: short]")
@click.option("--reason", default="", metavar="TEXT", help="Why, for the history.")
@click.option("--redact", is_flag=True, help="Keep keys, passwords, card numbers and email addresses out.")
@on_session
@common
def add(
    target: Target,
    text: str | None,
    at: str | None,
    role: str | None,
    meta: tuple[str, ...],
    importance: float | None,
    layer: str | None,
    reason: str,
    redact: bool,
    as_json: bool,
) -> None:
    """Remember TEXT.

    Without TEXT, or for "-", it remembers what stands on stdin.

    What was said before is not stored twice: it is met again, and lasts longer for it.

    \b
    Examples:
      halflife add "I moved to Lisbon in May." --user anna --at 2026-05-20
      halflife add "Allergic to nuts." --user anna --importance 1 --meta source=form
      halflife add - --user anna --role user < message.txt
      halflife add "My key is ghp_..." --user anna --redact
    """
    if text is None and sys.stdin.isatty():
        raise click.UsageError("Give a text, or pipe one into stdin.")
    content = read_stdin().strip() if text in (None, "-") else text
    assert content is not None
    from halflife.agent.redact import count, summary

    metadata = read_metadata(meta)
    with open_memory(target, create=True, redact=redact) as memory:
        [added] = memory.add(
            content,
            **target.scope,
            at=at,
            role=role,
            metadata=metadata,
            importance=importance,
            layer=layer,
            reason=reason,
        )
    kept_out = count(added.redacted)
    if as_json:
        emit({"id": added.id, "event": added.event, **({"redacted": kept_out} if redact else {})})
    else:
        say(f"{'Remembered' if added.event == 'add' else 'Met again'}: {added.id}")
        if kept_out:
            say(summary(kept_out))
