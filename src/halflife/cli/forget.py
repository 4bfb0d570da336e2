"""`halflife forget`: shows what would go, asks, erases, and says how that was checked."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from halflife.cli.options import Target, common, known_space, on_session, open_memory, read_filter
from halflife.cli.output import emit, fancy, one_line, say, table
from halflife.cli.read import EXCERPT, day

if TYPE_CHECKING:
    from halflife.agent.forget import ForgetPlan
    from halflife.store.erase import ErasureReport

NOT_VERIFIED = 6
SHOWN = 20


@click.command()
@click.argument("ids", nargs=-1)
@click.option("--about", metavar="TEXT", help="What holds these words, or is near them in meaning.")
@click.option(
    "--threshold", type=float, metavar="0..1", help="With --about: how near in meaning (cosine).  [default: 0.6]"
)
@click.option("--filter", "filters", metavar="JSON", help="""What meets conditions, such as '{"channel": "mail"}'.""")
@click.option("--everything", is_flag=True, help="All of this user or agent.")
@click.option("--yes", is_flag=True, help="Erase without asking.")
@click.option("--reason", default="", metavar="TEXT", help="Why, for the history.")
@on_session
@common
def forget(
    target: Target,
    ids: tuple[str, ...],
    about: str | None,
    threshold: float | None,
    filters: str | None,
    everything: bool,
    yes: bool,
    reason: str,
    as_json: bool,
) -> None:
    """Erase memories for good.

    They are named by IDS or chosen by the options. Erasing cannot be undone. First it shows what would be
    erased. It erases after a yes, or with --yes; without either, nothing happens.
    Afterwards every file of the memory is searched for what was erased. Exit code 6: something may be left.

    \b
    Examples:
      halflife forget 0199c3d2-5b1e-7f3a-9c41-2f6d8a0b7e55
      halflife forget --user anna --about "my ex-husband"
      halflife forget --user anna --filter '{"session_id": "s-41"}' --yes
      halflife forget --user anna --everything --yes --json
    """
    where = read_filter(filters)
    with open_memory(target, embeds=about is not None) as memory:
        if not ids or target.user or target.agent:
            known_space(memory, target)
        plan = memory.plan_forget(
            list(ids) or None, **target.scope, filters=where, about=about, threshold=threshold, everything=everything
        )
        if not as_json:
            print_plan(plan)
        if not plan.items or not (yes or _confirmed(as_json, len(plan))):
            if as_json:
                emit({"erased": False, "count": len(plan), "would_forget": _records(plan)})
            elif plan.items:
                say("Nothing was forgotten. To erase them for good, repeat with --yes.")
            return
        report = memory.erase(plan, reason)
    if as_json:
        emit({"erased": True, **report.to_dict()})
    else:
        print_report(report)
    if not report.verified:
        click.get_current_context().exit(NOT_VERIFIED)


def print_plan(plan: ForgetPlan) -> None:
    """What would be erased, and why each."""
    if not plan.items:
        say("Nothing matches; nothing was forgotten.")
        return
    drawn = fancy()
    shown = plan.items[:SHOWN] if drawn else plan.items
    rows = []
    for item in shown:
        near = f" ({item.similarity:.2f})" if item.similarity is not None else ""
        head = [day(item.trace.at), item.why + near]
        tail = (
            [f"{one_line(item.trace.text, EXCERPT // 5)}\n{item.trace.id}"]
            if drawn
            else [item.trace.id, item.trace.text]
        )
        rows.append([*head, *tail])
    table(["date", "why", *([] if drawn else ["id"]), "text"], rows)
    if len(shown) < len(plan):
        say(f"... and {len(plan) - len(shown)} more")
    say(f"{len(plan)} {'memory' if len(plan) == 1 else 'memories'} would be erased for good.")


def print_report(report: ErasureReport) -> None:
    """The report of an erasure in a few lines."""
    say(str(report))
    if report.derived:
        say(f"Derived from them alone, and erased with them: {', '.join(report.derived)}.")
    if report.kept:
        say(f"Derived from others too, and kept: {', '.join(report.kept)}.")


def _records(plan: ForgetPlan) -> list[dict[str, object]]:
    return [
        {"id": item.trace.id, "text": item.trace.text, "why": item.why, "similarity": item.similarity}
        for item in plan.items
    ]


def _confirmed(as_json: bool, count: int) -> bool:
    """Ask, if there is someone to ask."""
    if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    return click.confirm(f"Erase {'it' if count == 1 else f'all {count}'}?")
