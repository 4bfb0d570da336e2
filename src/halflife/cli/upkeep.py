"""Commands that tend a memory: `undo`, `archive`, `consolidate`, `doctor`, `reembed`, `backup`, `rekey`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from halflife.cli.options import Target, common, known_space, on_file, on_space, open_memory, read_key
from halflife.cli.output import emit, progress, say
from halflife.cli.read import event_record
from halflife.errors import CorruptStore


@click.command()
@click.argument("operation", type=int)
@click.option("--reason", default="", metavar="TEXT", help="Why, for the history.")
@on_file
@common
def undo(target: Target, operation: int, reason: str, as_json: bool) -> None:
    """Take an operation back.

    What it changed is as before, and what it added is retired.

    Undoing can be undone. What was forgotten stays forgotten.

    \b
    Examples:
      halflife history
      halflife undo 41
      halflife undo 41 --reason "archived by mistake"
    """
    with open_memory(target, embeds=False) as memory:
        event = memory.undo(operation, reason)
    if as_json:
        emit(event_record(event))
    else:
        say(f"Operation {operation} is undone ({event.count} memories). To take that back: halflife undo {event.op}")


@click.command()
@click.argument("ids", nargs=-1, required=True)
@click.option("--reason", default="", metavar="TEXT", help="Why, for the history.")
@on_file
@common
def archive(target: Target, ids: tuple[str, ...], reason: str, as_json: bool) -> None:
    """Take memories out of recall without forgetting them.

    \b
    Examples:
      halflife archive 0199c3d2-5b1e-7f3a-9c41-2f6d8a0b7e55
      halflife search "old plans" --user anna --archived
    """
    with open_memory(target, embeds=False) as memory:
        operation = memory.archive(ids, reason)
    if as_json:
        emit({"operation": operation, "archived": list(ids)})
    else:
        say(f"Archived {len(ids)}. To take that back: halflife undo {operation}")


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--archive-below", type=float, metavar="0..1", help="Archive what has faded below this.  [default: 0.4]")
@click.option("--merge-at", type=float, metavar="0..1", help="Merge what is at least as alike.  [default: 0.97]")
@click.option("--now", metavar="TIME", help="The moment to do it at.  [default: now]")
@on_space
@common
def consolidate(
    target: Target, dry_run: bool, archive_below: float | None, merge_at: float | None, now: str | None, as_json: bool
) -> None:
    """Let the memory sleep: merge, archive, promote, link.

    Duplicates are merged, what has faded is archived, what is often met moves to a slower layer, and what is
    alike is linked.

    Without --user and --agent, of everyone. Nothing is erased, and every step can be undone.

    \b
    Examples:
      halflife consolidate --dry-run
      halflife consolidate --user anna
      halflife consolidate --user anna --archive-below 0.3 --json
    """
    from halflife.agent.consolidate import Policy

    policy = Policy()
    if archive_below is not None:
        policy = replace(policy, archive_below=archive_below)
    if merge_at is not None:
        policy = replace(policy, merge_at=merge_at)
    with open_memory(target, embeds=target.system is not None) as memory, progress("Sleeping") as tick:
        if target.user or target.agent:
            known_space(memory, target)
        report = memory.consolidate(**target.owner, policy=policy, now=now, dry_run=dry_run, progress=tick)
    if as_json:
        emit(report.to_dict())
        return
    say(str(report))
    if report.operations:
        say(f"To take it back, last first: {'; '.join(f'halflife undo {op}' for op in reversed(report.operations))}")


@click.command()
@click.option("--repair", is_flag=True, help="Mend what can be mended, without touching what is sound.")
@on_file
@common
def doctor(target: Target, repair: bool, as_json: bool) -> None:
    """Check a file from end to end. Exit code 1: something is wrong and was not mended.

    With --repair, a file that cannot be opened, or has damaged pages, stays as it is: what can be read of it is saved
    into a new file beside it, and it is said how many memories are lost.

    \b
    Examples:
      halflife doctor
      halflife doctor --db assistant.db --repair
      halflife doctor --json
    """
    try:
        with open_memory(target, embeds=False) as memory:
            diagnosis = memory.doctor(repair)
    except CorruptStore:
        if not repair:
            raise
        _salvage(target.db, as_json)
        return
    if repair and diagnosis.unreadable:
        _salvage(target.db, as_json)
        return
    if as_json:
        emit(diagnosis.to_dict())
    else:
        say(str(diagnosis))
    if not diagnosis.healthy:
        click.get_current_context().exit(1)


def _salvage(path: str, as_json: bool) -> None:
    """Save what can be read of a damaged file into a new one beside it; the damaged one stays as it is."""
    from halflife.store.salvage import salvage

    new = _free_name(Path(path))
    report = salvage(path, new)
    if as_json:
        emit({"salvaged": str(new), **report.to_dict()})
    else:
        say(str(report))


def _free_name(path: Path) -> Path:
    number = 0
    while True:
        name = f"{path.stem}.salvaged{f'-{number}' if number else ''}{path.suffix}"
        if not path.with_name(name).exists():
            return path.with_name(name)
        number += 1


@click.command()
@on_file
@common
def reembed(target: Target, as_json: bool) -> None:
    """Make all vectors anew with another embedder.

    It happens in one transaction: all vectors are replaced, or none.

    \b
    Examples:
      halflife reembed --embedder minilm
      halflife reembed --db assistant.db --embedder openai:text-embedding-3-small
    """
    from halflife.agent.memory import Memory
    from halflife.llm.resolve import embedder as resolve

    embedder = resolve(target.embedder)
    with progress("Embedding") as tick:
        count = Memory.reembed(target.db, embedder, tick, target.key)
    if as_json:
        emit({"count": count, "embedder": embedder.fingerprint})
    else:
        say(f"Embedded {count:,} memories anew with {embedder.fingerprint}.")


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@on_file
@common
def backup(target: Target, file: Path, as_json: bool) -> None:
    """Copy the memory to a new FILE.

    That is safe while it is in use.

    \b
    Examples:
      halflife backup monday.db
      halflife backup --db assistant.db /backups/assistant.db
    """
    with open_memory(target, embeds=False) as memory:
        memory.backup(file)
    size = file.stat().st_size
    if as_json:
        emit({"file": str(file), "bytes": size})
    else:
        say(f"Copied to {file} ({size:,} bytes).")


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--new-key-file", type=click.Path(dir_okay=False, path_type=Path), metavar="PATH", help="The key of the copy."
)
@click.option("--plain", is_flag=True, help="Without a key: anybody who has the copy can read it.")
@on_file
@common
def rekey(target: Target, file: Path, new_key_file: Path | None, plain: bool, as_json: bool) -> None:
    """Copy the memory to a new FILE under another key.

    That encrypts a plain memory, decrypts an encrypted one, or changes the key. The old file stays as it is; delete
    it (and its folder of indexes, if it has one) when the copy is good.

    \b
    Examples:
      halflife rekey --db assistant.db locked.db --new-key-file key.txt
      halflife rekey --db locked.db --key-file key.txt again.db --new-key-file other.txt
      halflife rekey --db locked.db --key-file key.txt open.db --plain
    """
    from halflife.agent.memory import Memory

    if plain == (new_key_file is not None):
        raise click.UsageError("Give --new-key-file, or --plain for a copy without a key.")
    Memory.rekey(target.db, file, key=target.key, new_key=None if plain else read_key(new_key_file))
    size = file.stat().st_size
    if as_json:
        emit({"file": str(file), "bytes": size, "encrypted": not plain})
    else:
        say(f"Copied to {file} ({size:,} bytes), {'as anybody can read it' if plain else 'encrypted'}.")
