"""`halflife demo`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from halflife.cli.options import common
from halflife.cli.output import emit, progress

if TYPE_CHECKING:
    from halflife.cli.demo.run import Demo, Left
    from halflife.store.trace import Trace

TOTAL = 3415
FILE = "pepys-demo.db"
PYTHON = """\
from halflife import Memory
memory = Memory("assistant.db")
memory.add("Sir W. Batten buried his wine in the garden.", user_id="pepys", at="1666-09-04")
memory.search("What did he bury?", user_id="pepys")"""


@click.command()
@click.option(
    "--entries", "count", type=click.IntRange(1, TOTAL), metavar="N",
    help=f"Read N entries in a row, up to the fire or past it; {TOTAL} is all.  [default: 244, two summers]",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default="halflife-demo", show_default=True,
    metavar="DIR", help="Where the memory and the figure go.",
)  # fmt: skip
@click.option("--keep", is_flag=True, help="Leave the memory there afterwards, to try more with it.")
@click.option("--embedder", envvar="HALFLIFE_EMBEDDER", metavar="NAME", help="As for add.  [default: minilm]")
@common
def demo(count: int | None, out: Path, keep: bool, embedder: str | None, as_json: bool) -> None:
    """Watch a memory live: the diary of Samuel Pepys.

    It reads two summers of a real diary, 1665 with the plague and 1666 with the fire, asks it questions, shows
    what has faded and what recall kept alive, lets the memory sleep, and forgets a person without a trace.

    \b
    Examples:
      halflife demo
      halflife demo --keep && halflife search "the King" --user pepys --db halflife-demo/pepys-demo.db
      halflife demo --entries 3415
      halflife demo --entries 100 --embedder hash --json
    """
    from halflife.cli.demo.diary import around_the_fire, entries, two_summers
    from halflife.cli.demo.run import Demo, remove, stopwatch

    seconds = stopwatch()
    out.mkdir(parents=True, exist_ok=True)
    path = out / FILE
    remove(path)
    part = two_summers(entries()) if count is None else around_the_fire(entries(), count)
    show = not as_json
    try:
        one = Demo(path, part, embedder)
        with closing(one.memory):
            figures = _play(one, out, show)
    finally:
        if not keep:
            remove(path)
    figures["seconds"] = round(seconds(), 1)
    if as_json:
        emit(figures)
    else:
        _end(path, keep, figures["seconds"])


def _play(demo: Demo, out: Path, show: bool) -> dict[str, Any]:
    """All steps in turn; the figures."""
    figures: dict[str, Any] = {"entries": len(demo.part), "of": TOTAL}
    for step in (_read, _ask, _fade, _draw, _sleep, _forget):
        figures |= step(demo, out, show)
    return figures


def _read(demo: Demo, out: Path, show: bool) -> dict[str, Any]:
    from halflife.cli.demo import screen
    from halflife.cli.demo.run import stopwatch

    first, last = demo.part[0].day, demo.part[-1].day
    if show:
        screen.heading(1, "A diary becomes a memory")
        summers = ", the two summers" if (last - first).days > len(demo.part) + 100 else ""
        screen.paragraph(
            f"Samuel Pepys, London, {first.day} {first:%B %Y} to {last.day} {last:%B %Y}{summers}: "
            f"{len(demo.part):,} of the {TOTAL:,} entries of his diary. Dates are Old Style, as he wrote them, ten "
            "days behind ours."
        )
    seconds = stopwatch()
    with progress("  Reading the diary") as tick:
        recalls = demo.read(tick)
    took = seconds()
    if show:
        text = f"Read in {took:.0f} s. On the way he thought back {recalls} times: recalls, which make a memory last."
        screen.paragraph(text)
    return {
        "from": str(first), "to": str(last), "calendar": "Old Style", "recalls": recalls, "read_seconds": round(took, 1)
    }  # fmt: skip


def _ask(demo: Demo, out: Path, show: bool) -> dict[str, Any]:
    from halflife.cli.demo import screen

    answers = demo.ask()
    if show and answers:
        screen.heading(2, "Ask it")
        screen.answers(answers)
    return {
        "questions": [
            {
                "question": answer.question.text, "rank_of_answer": answer.rank,
                "hits": [{"date": str(hit.at.date()), "excerpt": best, "score": hit.score,
                          "explain": hit.explain().to_dict()} for hit, best in answer.hits],
            }
            for answer in answers
        ]
    }  # fmt: skip


def _fade(demo: Demo, out: Path, show: bool) -> dict[str, Any]:
    from halflife.cli.demo import screen

    left = demo.left()
    alive = [one for one in reversed(left) if one.recalls][:4]
    if show:
        screen.heading(3, "What fades, and what recall keeps alive")
        screen.lefts("Faded most", left[:3])
        screen.lefts("Kept alive by recall", alive)
    return {"faded_most": [_plain(one) for one in left[:3]], "kept_alive": [_plain(one) for one in alive]}


def _plain(left: Left) -> dict[str, Any]:
    from halflife.store.timeparse import format_time

    return {
        "date": format_time(left.trace.at), "retention": left.retention, "recalls": left.recalls, "id": left.trace.id
    }  # fmt: skip


def _draw(demo: Demo, out: Path, show: bool) -> dict[str, Any]:
    from halflife.cli.demo import curves, screen
    from halflife.errors import MissingExtra

    chosen = _three(demo.left())
    path = out / "retention.svg"
    try:
        path.write_text(curves.svg(demo.memory, chosen, demo.now), encoding="utf-8")
    except MissingExtra as error:
        if show:
            screen.paragraph(f"Their curves are not drawn: {error}")
        return {"figure": None}
    if show:
        click.echo()
        screen.paragraph(f"Their curves, with the jump at every recall: {path}")
    return {"figure": str(path)}


def _three(left: list[Left]) -> dict[str, Trace]:
    """A memory never recalled, one recalled once, and the one recalled most, as far as there are such."""
    most = max(left, key=lambda one: one.recalls)
    once = sorted((one for one in left if one.recalls == 1 and one is not most), key=_span, reverse=True)
    never = [one for one in left if not one.recalls and one is not most]
    picked = {"never recalled": never[:1], "recalled once": once[:1], f"recalled {most.recalls} times": [most]}
    return {label: ones[0].trace for label, ones in picked.items() if ones}


def _span(left: Left) -> float:
    """How long after its beginning a memory was last recalled."""
    return float(left.trace.state.span)


def _sleep(demo: Demo, out: Path, show: bool) -> dict[str, Any]:
    from halflife.cli.demo import screen

    plan, report = demo.sleep()
    if show:
        screen.heading(4, "Two years later it sleeps")
        screen.paragraph(f"Dry run:  {plan}")
        screen.paragraph(f"For real: {report}")
        screen.paragraph("Archived is out of recall, not gone: `halflife undo` takes back every step.", dim=True)
    return {"consolidate_plan": _counts(plan.to_dict()), "consolidate": _counts(report.to_dict())}


def _counts(report: dict[str, Any]) -> dict[str, int]:
    names = ("merged", "archived", "promoted", "linked")
    return {name: value if isinstance(value := report[name], int) else len(value) for name in names}


def _forget(demo: Demo, out: Path, show: bool) -> dict[str, Any]:
    from halflife.cli.demo import screen
    from halflife.cli.demo.run import record

    found = demo.forget(out)
    if show and found is not None:
        screen.heading(5, f"{found.who} asks to be forgotten")
        screen.paragraph(
            f"{found.count} of {found.of:,} memories hold the name “{found.name}”. They are erased, not hidden:"
        )
        click.echo()
        screen.forgotten(found)
        screen.paragraph(f"The report, for whoever wants to check it: {out / 'erasure.json'}", dim=True)
    return {"forgotten": record(found)}


def _end(path: Path, keep: bool, seconds: float) -> None:
    from halflife.cli.demo import screen

    screen.heading(6, "The same in Python")
    for line in PYTHON.splitlines():
        click.echo(screen.MARGIN + screen.style(line, fg="green"))
    click.echo()
    if keep:
        screen.paragraph(f"The memory is in {path}. Ask it more:", dim=True)
        click.echo(f'{screen.MARGIN}halflife search "the King" --user pepys --db {path}')
    else:
        screen.paragraph("To go on with this memory, run it with --keep.", dim=True)
    screen.paragraph(f"The whole demo took {seconds:.0f} s.", dim=True)
