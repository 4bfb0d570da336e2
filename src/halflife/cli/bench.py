"""`halflife bench`: the benchmarks of the field, on any of the systems that are installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from halflife.cli.options import common
from halflife.cli.output import emit, note, progress, say, table
from halflife.probe.benchmarks.datasets import NAMES

if TYPE_CHECKING:
    from halflife.probe.benchmarks.history import History
    from halflife.probe.benchmarks.recall import Result

SYSTEMS = "halflife,bm25,dense,fusion,rrf"


@click.group()
def bench() -> None:
    """Measure memories on the benchmarks of the field.

    \b
    Examples:
      halflife bench recall --on locomo --data locomo10.json
      halflife bench recall --help
    """


@bench.command()
@click.option("--on", "name", type=click.Choice(NAMES), required=True, help="Which benchmark.")
@click.option("--data", type=click.Path(path_type=Path), metavar="PATH",
              help="Its file or folder.  [default: looked for in the folder that HALFLIFE_DATA names]")  # fmt: skip
@click.option("--systems", default=SYSTEMS, show_default=True, metavar="NAMES",
              help="Also mem0, chroma, langgraph and mempalace, if they are installed; and parts, what each part of "
                   "Halflife's score gives.")  # fmt: skip
@click.option("--level", type=click.Choice(["turn", "session"]), default="turn", show_default=True,
              help="What counts as evidence.")  # fmt: skip
@click.option("-k", "--k", "ks", type=click.IntRange(min=1), multiple=True, default=(5, 10), show_default="5 and 10",
              help="How many results are looked at; may be repeated.")  # fmt: skip
@click.option("--by-type", is_flag=True, help="Show recall for each type of question too.")
@click.option("--part", type=click.Choice(["tune", "test", "all"]), default="all", show_default=True,
              help="Every other history is for tuning, the rest for testing.")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N histories of the part.")
@click.option("--weight", type=click.FloatRange(0.0, 1.0), metavar="W",
              help="Weight of meaning in fusion.  [default: what is best for the tuning part]")  # fmt: skip
@click.option("--embedder", envvar="HALFLIFE_EMBEDDER", default="minilm", show_default=True, show_envvar=True,
              metavar="NAME", help="The embedder that all systems share.")  # fmt: skip
@click.option("--cache", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Keep vectors in this file from run to run.")  # fmt: skip
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write the result here: JSON if it ends in .json, otherwise Markdown.")  # fmt: skip
@common
def recall(name: str, by_type: bool, out: Path | None, as_json: bool, **given: Any) -> None:
    """Say how often the evidence of a question is among the first results.

    Every system is given the same histories and vectors. recall@k is the share of a question's evidence among the
    first k results, any@k and all@k whether some or all of it is there; questions without evidence are not
    counted. Nothing is downloaded.

    \b
    Examples:
      halflife bench recall --on locomo --data locomo10.json
      halflife bench recall --on beam --data chats/100K --systems halflife,bm25 --by-type
      halflife bench recall --on locomo --level session --part test --cache vectors.db --out result.json
      halflife bench recall --on locomo --systems halflife,mem0,chroma --k 10 --limit 2 --json
    """
    result = _measured(name, **given)
    record = {**result.to_dict(), "machine": _machine()}
    if out is not None:
        import json

        text = json.dumps(record, indent=2) + "\n" if out.suffix == ".json" else _page(result)
        out.write_text(text, encoding="utf-8")
        note(f"The result is in {out}.")
    if as_json:
        emit(record)
        return
    heads, rows = result.table()
    table(heads, rows, right=heads[1:])
    if by_type:
        say()
        heads, rows = result.by_kind()
        table(heads, rows, right=heads[1:])
    note(result.summary())
    for setting, value in result.settings.items():
        note(f"{setting}: {value}")


def _measured(
    name: str,
    data: Path | None,
    systems: str,
    level: Any,
    ks: tuple[int, ...],
    part: Any,
    limit: int | None,
    weight: float | None,
    embedder: str,
    cache: Path | None,
) -> Result:
    """Load, tune if need be, and run."""
    from contextlib import ExitStack
    from dataclasses import replace

    from halflife.llm.resolve import embedder as resolve
    from halflife.probe.benchmarks import datasets
    from halflife.probe.benchmarks import recall as benchmark
    from halflife.probe.benchmarks import systems as known
    from halflife.probe.benchmarks.cache import CachedEmbedder

    asked = [one.strip() for one in systems.split(",") if one.strip()]
    names = [name for one in asked for name in (known.PARTS if one == "parts" else [one])]
    known.systems(names, resolve("hash"), weight=0.5)  # says what is wrong or missing before anything takes time
    with ExitStack() as stack:
        model = resolve(embedder)
        cached = stack.enter_context(CachedEmbedder(model, cache)) if cache is not None else None
        model = cached or model
        histories = list(datasets.load(name, data))
        chosen = benchmark.part(histories, part, limit)
        settings: dict[str, Any] = {"benchmark": name, "part": part, "limit": limit, "embedder": model.fingerprint}
        if "fusion" in names and weight is None:
            tuning = benchmark.part(histories, "tune", limit)
            with progress("tuning") as tick:
                weight = known.best_weight(tuning, model, level, max(ks), tick)
            settings["fusion"] = _tuned(weight, max(ks), tuning, chosen)
        with progress(name) as tick:
            result = benchmark.run(
                chosen,
                known.systems(names, model, weight),
                level,
                ks,
                count_tokens=model.count_tokens,
                progress=tick,
                settings=settings,
            )
        if cached is None:
            return result
        times = f"with a cache that knew {cached.hits:,} of {cached.hits + cached.misses:,} texts: not comparable"
        return replace(result, settings={**settings, "times": times})


def _tuned(weight: float, k: int, tuning: Sequence[History], chosen: Sequence[History]) -> str:
    """How the weight of fusion came about."""
    again = {history.id for history in tuning} & {history.id for history in chosen}
    seen = f", {len(again)} of them among those measured" if again else ""
    return f"{weight:.2f} x meaning, the best recall@{k} on {len(tuning)} tuning histories{seen}"


def _page(result: Result) -> str:
    """The tables as Markdown, and the machine that they come from."""
    machine = _machine()
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    where = f"{machine['cpus']} CPUs, {machine['platform']}, {machine['date']}"
    return f"{result.markdown()}- machine: {where}\n- versions: {versions}\n"


def _machine() -> dict[str, Any]:
    """What a reader must know of the machine and the software: timings depend on it."""
    import os
    import platform
    from datetime import UTC, datetime
    from importlib.metadata import PackageNotFoundError, version

    versions = {"python": platform.python_version()}
    for package in ("halflife", "bm25s", "mem0ai", "chromadb", "langgraph", "mempalace"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "platform": platform.platform(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "versions": versions,
    }
