"""Commands that read: `search`, `context`, `list`, `show`, `history`, `stats`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from halflife.cli.options import Target, common, known_space, on_file, on_session, on_space, open_memory, read_filter
from halflife.cli.output import emit, fancy, fields, one_line, safe, say, table

if TYPE_CHECKING:
    from halflife.agent.hit import Hit
    from halflife.agent.memory import Memory
    from halflife.store.protocol import Event
    from halflife.store.trace import Trace

EXCERPT = 280  # characters of a memory that a terminal shows; what is piped is whole

_FILTER = click.option("--filter", "filters", metavar="JSON", help="""Conditions, such as '{"channel": "mail"}'.""")
_SINCE = click.option("--since", metavar="TIME", help="Only what was said from then on.")
_UNTIL = click.option("--until", metavar="TIME", help="Only what was said before then.")
_NOW = click.option("--now", metavar="TIME", help="The moment of asking.  [default: now]")
_NO_REINFORCE = click.option("--no-reinforce", is_flag=True, help="Look without making the memories last longer.")


@click.command()
@click.argument("query")
@click.option("-k", "k", type=int, default=10, show_default=True, help="How many at most.")
@click.option("--explain", is_flag=True, help="Say how each score came about.")
@_SINCE
@_UNTIL
@_FILTER
@_NO_REINFORCE
@click.option("--archived", is_flag=True, help="Look among archived memories too.")
@_NOW
@on_session
@common
def search(
    target: Target,
    query: str,
    k: int,
    explain: bool,
    since: str | None,
    until: str | None,
    filters: str | None,
    no_reinforce: bool,
    archived: bool,
    now: str | None,
    as_json: bool,
) -> None:
    """Find what matters most for QUERY.

    It finds by meaning, by words, and by a time that the query names.

    \b
    Examples:
      halflife search "where does she live?" --user anna
      halflife search "what happened last May?" --user anna --explain
      halflife search invoice --user anna --filter '{"channel": {"in": ["mail", "chat"]}}'
      halflife search "nuts" --user anna -k 3 --no-reinforce --json
    """
    where = read_filter(filters)
    with open_memory(target) as memory:
        known_space(memory, target)
        hits = memory.search(
            query, **target.scope, filters=where, k=k, since=since, until=until, now=now,
            reinforce=not no_reinforce, archived=archived,
        )  # fmt: skip
    if as_json:
        for hit in hits:
            emit(hit.to_dict())
    elif hits:
        print_hits(hits, explain)
    else:
        say("Nothing found.")


@click.command()
@click.argument("query")
@click.option(
    "--budget", type=int, default=1500, show_default=True, metavar="TOKENS", help="Length of the text at most."
)
@_FILTER
@_NO_REINFORCE
@_NOW
@on_session
@common
def context(
    target: Target, query: str, budget: int, filters: str | None, no_reinforce: bool, now: str | None, as_json: bool
) -> None:
    """Print what is worth knowing for QUERY.

    It is text for a prompt: the best memories that fit the budget, oldest first, with dates.

    \b
    Examples:
      halflife context "plan her birthday" --user anna
      halflife context "plan her birthday" --user anna --budget 300
      halflife context "open questions" --agent helper --json
    """
    where = read_filter(filters)
    with open_memory(target) as memory:
        known_space(memory, target)
        packed = memory.context(
            query, **target.scope, budget=budget, filters=where, now=now, reinforce=not no_reinforce
        )
    if as_json:
        ids = [hit.id for hit in packed.hits]
        emit({"text": packed.text, "tokens": packed.tokens, "ids": ids, "left_out": packed.left_out})
    else:
        say(safe(packed.text) if packed.text else "Nothing fits.")


@click.command("list")
@click.option("-n", "--limit", type=int, default=100, show_default=True, help="How many at most.")
@click.option("--offset", type=int, default=0, help="How many to pass over.")
@_SINCE
@_UNTIL
@_FILTER
@on_session
@common
def list_(
    target: Target, limit: int, offset: int, since: str | None, until: str | None, filters: str | None, as_json: bool
) -> None:
    """List memories, newest first, with what is left of each.

    \b
    Examples:
      halflife list --user anna
      halflife list --user anna --since 2026-05-01 --until 2026-06-01
      halflife list --user anna --filter '{"status": "archived"}' --json
    """
    if limit < 0 or offset < 0:
        raise click.UsageError("--limit and --offset cannot be negative.")
    where = read_filter(filters)
    with open_memory(target, embeds=False) as memory:
        known_space(memory, target)
        traces = memory.list(**target.scope, filters=where, since=since, until=until, limit=limit, offset=offset)
        if as_json:
            for trace in traces:
                emit(trace_record(memory, trace))
        elif traces:
            print_traces(memory, traces)
        else:
            say("Nothing to list.")


@click.command()
@click.argument("id")
@on_file
@common
def show(target: Target, id: str, as_json: bool) -> None:
    """Show one memory, with all that is kept of it.

    \b
    Examples:
      halflife show 0199c3d2-5b1e-7f3a-9c41-2f6d8a0b7e55
      halflife show 0199c3d2-5b1e-7f3a-9c41-2f6d8a0b7e55 --json
    """
    with open_memory(target, embeds=False) as memory:
        record = trace_record(memory, memory.get(id))
    if as_json:
        emit(record)
        return
    text = record.pop("text")
    record["half_life"] = f"{record['half_life'] / 86_400:,.1f} days"
    record["retention"] = f"{record['retention']:.3f}"
    fields({name.replace("_", " "): _shown(value) for name, value in record.items() if value not in (None, {}, [], "")})
    say("\n" + safe(text))


@click.command()
@click.argument("id", required=False)
@click.option("-n", "--limit", type=int, default=50, show_default=True, help="How many operations at most.")
@on_space
@common
def history(target: Target, id: str | None, limit: int, as_json: bool) -> None:
    """Say what happened.

    With an ID, what happened to that memory; without one, the latest operations. The number of an operation is
    what `halflife undo` takes.

    \b
    Examples:
      halflife history
      halflife history --user anna -n 5
      halflife history 0199c3d2-5b1e-7f3a-9c41-2f6d8a0b7e55
    """
    with open_memory(target, embeds=False) as memory:
        if target.user or target.agent:
            known_space(memory, target)
        events = memory.history(id) if id else memory.operations(**target.owner, limit=limit)
    if as_json:
        for event in events:
            emit(event_record(event))
    elif events:
        print_events(events, of_one=id is not None)
    else:
        say("Nothing has happened yet.")


@click.command()
@on_file
@common
def stats(target: Target, as_json: bool) -> None:
    """Count what a file holds, and for whom.

    \b
    Examples:
      halflife stats
      halflife stats --db assistant.db --json
    """
    with open_memory(target, embeds=False) as memory:
        found = memory.stats()
    if as_json:
        emit(found)
    else:
        fields(dict(_flat({**found, "law": found["law"]["name"]})))


# -- records and tables ---------------------------------------------------------------------------------------


def trace_record(memory: Memory, trace: Trace) -> dict[str, Any]:
    """A memory as plain data, with its retention now and its half-life in seconds."""
    from halflife.store.timeparse import format_time

    times = {
        name: None if (value := getattr(trace, name)) is None else format_time(value)
        for name in ("at", "recorded_at", "last_used", "valid_from", "valid_to", "retired_at")
    }
    return {
        "id": trace.id, "text": trace.text, "user_id": trace.space.user_id, "agent_id": trace.agent_id,
        "session_id": trace.session_id, "role": trace.role, **times, "metadata": dict(trace.metadata),
        "importance": trace.importance, "layer": trace.layer, "status": trace.status, "version": trace.version,
        "kind": trace.kind, "sources": list(trace.sources), "system": trace.system, "uses": float(trace.state.uses),
        "retention": memory.retention(trace), "half_life": float(memory.engine.store.law.half_life(trace.state)),
    }  # fmt: skip


def event_record(event: Event) -> dict[str, Any]:
    """An event as plain data."""
    from dataclasses import asdict

    from halflife.store.timeparse import format_time

    return {**asdict(event), "at": format_time(event.at)}


def day(seconds: float) -> str:
    """The date of a time, and its minute if it has one."""
    from halflife.store.timeparse import format_time

    return format_time(seconds).replace("T", " ")[:16]


def print_hits(hits: Sequence[Hit], explain: bool) -> None:
    """Rank, score, date, session and text; the id, and the reasons if asked for, below the text or in columns."""
    drawn = fancy()
    columns = ["#", "score", "date", "session", *([] if drawn else ["id", *(["why"] if explain else [])]), "text"]
    rows = []
    for rank, hit in enumerate(hits, start=1):
        head = [str(rank), f"{hit.score:.3f}", day(hit.trace.at), hit.session_id or ""]
        if drawn:
            below = [str(hit.explain())] if explain else []
            rows.append([*head, "\n".join([one_line(hit.text, EXCERPT), *below, hit.id])])
        else:
            rows.append([*head, hit.id, *([str(hit.explain())] if explain else []), hit.text])
    _print(columns, rows, right=("#", "score"))


def print_traces(memory: Memory, traces: Sequence[Trace]) -> None:
    """Date, what is left, status, session and text of memories."""
    drawn = fancy()
    columns = ["date", "left", "status", "session", *([] if drawn else ["id"]), "text"]
    rows = []
    for trace in traces:
        head = [day(trace.at), f"{memory.retention(trace):.0%}", trace.status, trace.session_id or ""]
        tail = [f"{one_line(trace.text, EXCERPT)}\n{trace.id}"] if drawn else [trace.id, trace.text]
        rows.append([*head, *tail])
    _print(columns, rows, right=("left",))


def print_events(events: Sequence[Event], of_one: bool) -> None:
    """Operations, or the life of one memory."""
    rows = []
    for event in events:
        what = ", ".join(f"{name} was {_shown(value)}" for name, value in event.before.items())
        undone = f"undone by {event.undone_by}" if event.undone_by else ""
        remarks = "; ".join(part for part in (event.reason, what, undone) if part)
        subject = [] if of_one else [str(event.count), event.space or ""]
        rows.append([str(event.op), day(event.at), event.kind, *subject, event.actor, one_line(remarks, EXCERPT)])
    subject = [] if of_one else ["memories", "of"]
    _print(["op", "when", "what", *subject, "by", "remarks"], rows, right=("op", "memories"))


def _print(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str]) -> None:
    """A table without the columns (but the last) that are empty in every row."""
    keep = [i for i in range(len(columns)) if i == len(columns) - 1 or any(row[i] for row in rows)]
    table([columns[i] for i in keep], [[row[i] for i in keep] for row in rows], right)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_shown(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".")
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested plain data as names and values."""
    out: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}".replace("_", " ")
        out += _flat(value, f"{name} / ") if isinstance(value, Mapping) else [(name, _shown(value))]
    return out
