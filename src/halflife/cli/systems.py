"""`halflife systems` and `halflife compare`: the memory systems, and what each is worth on the same conversations."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from halflife.cli.options import common
from halflife.cli.output import emit, note, progress, say, table
from halflife.errors import InvalidInput
from halflife.probe.benchmarks.datasets import NAMES

if TYPE_CHECKING:
    from halflife.llm.chat import ChatModel
    from halflife.probe.benchmarks.compare import Comparison

LLM = click.option("--llm", envvar="HALFLIFE_LLM", show_envvar=True, metavar="NAME",
                   help="The language model of all: openai:MODEL or local.  [default: none]")  # fmt: skip
LLM_CACHE = click.option("--llm-cache", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
                         help="Keep the model's answers in this file from run to run.")  # fmt: skip
EMBEDDER = click.option("--embedder", envvar="HALFLIFE_EMBEDDER", default="minilm", show_default=True,
                        show_envvar=True, metavar="NAME", help="The embedder that all systems share.")  # fmt: skip


@click.command()
@click.option("--measure/--no-measure", default=True, show_default=True,
              help="Measure what a write and a recall cost, on generated conversations (seconds).")  # fmt: skip
@EMBEDDER
@LLM
@LLM_CACHE
@common
def systems(measure: bool, embedder: str, llm: str | None, llm_cache: Path | None, as_json: bool) -> None:
    """List the memory systems, what they need, and what a write and a recall cost.

    All run without a language model; with one (--llm) its calls and tokens are measured too.

    \b
    Examples:
      halflife systems
      halflife systems --no-measure --json
      halflife systems --llm openai:gpt-4o-mini --llm-cache answers.db
    """
    from halflife.agent.system import SYSTEMS

    costs: dict[str, dict[str, Any]] = {}
    if measure:
        from halflife.probe.benchmarks.generate import histories

        result = _compared(list(SYSTEMS), list(histories(3, sessions=5)), embedder, None, 10, llm, llm_cache)
        costs = {row.system: _cost(row, result.messages) for row in result.rows}
    for_json = [
        {"system": name, "short": entry.short, "paper": entry.paper, "about": entry.about, "model": entry.model,
         **costs.get(name, {})}
        for name, entry in SYSTEMS.items()
    ]  # fmt: skip
    if as_json:
        for row in for_json:
            emit(row)
        return
    heads = ["system", "paper", "what it keeps", "a language model"]
    table(heads, [[r["system"], str(r["paper"]), r["about"], r["model"]] for r in for_json], right=["paper"])
    if measure:
        say()
        heads = ["system", *next(iter(costs.values()))]
        rows = [[name, *(f"{value:,.1f}" for value in cost.values())] for name, cost in costs.items()]
        table(heads, rows, right=heads[1:])
        note(f"Measured on {result.messages} generated messages, sleep included, "
             f"{'with ' + llm if llm else 'without a language model'}.")  # fmt: skip


def _cost(row: Any, messages: int) -> dict[str, float]:
    return {
        "write ms": row.write_ms + row.sleep_ms,
        "calls a write": row.calls / messages,
        "LLM tokens a write": row.llm_tokens / messages,
        "recall ms": row.recall_ms,
        "tokens a recall": row.tokens,
    }


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="SYSTEM...")
@click.option("--on", "benchmark", type=click.Choice(NAMES), required=True, help="Which conversations.")
@click.option("--data", type=click.Path(path_type=Path), metavar="PATH",
              help="Their file or folder.  [default: looked for in the folder that HALFLIFE_DATA names]")  # fmt: skip
@click.option("-k", "--k", "k", type=click.IntRange(min=1), default=10, show_default=True,
              help="How many hits are looked at.")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N conversations.")
@EMBEDDER
@LLM
@LLM_CACHE
@click.option("--cache", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Keep vectors in this file from run to run.")  # fmt: skip
@click.option("--figure", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.svg",
              help="Draw evidence against tokens here.")  # fmt: skip
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write the result here: JSON if it ends in .json, otherwise Markdown.")  # fmt: skip
@common
def compare(
    names: Sequence[str], benchmark: str, data: Path | None, k: int, limit: int | None, embedder: str,
    llm: str | None, llm_cache: Path | None, cache: Path | None, figure: Path | None, out: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Run the same conversations through several memory systems.

    SYSTEM is a name from `halflife systems`, or halflife for the engine's own search. Each stores every message,
    sleeps once, and is asked every question; a hit counts as evidence if it is a message that holds the answer, or was
    derived from one. `messages` is how many messages the hits stand for, `tokens` how long they are.

    \b
    Examples:
      halflife compare amem memorybank tim memory-r1 --on locomo --data locomo10.json
      halflife compare halflife amem --on locomo --limit 2 --figure compare.svg --json
      halflife compare amem --on locomo --limit 1 --llm openai:gpt-4o-mini --llm-cache answers.db
    """
    from halflife.probe.benchmarks import datasets
    from halflife.probe.benchmarks import recall as benchmarks

    if figure is not None and figure.suffix != ".svg":
        raise InvalidInput(f"The figure {figure} is drawn as SVG.", "Name a file that ends in .svg.")
    for name in names:
        _known(name)  # says what is wrong before anything takes time
    histories = benchmarks.part(list(datasets.load(benchmark, data)), "all", limit)
    result = _compared(names, histories, embedder, cache, k, llm, llm_cache, {"benchmark": benchmark})
    if figure is not None:
        figure.write_text(_drawn(result), encoding="utf-8")
        note(f"The figure is in {figure}.")
    if out is not None:
        import json

        text = json.dumps(result.to_dict(), indent=2) + "\n" if out.suffix == ".json" else result.markdown()
        out.write_text(text, encoding="utf-8")
        note(f"The result is in {out}.")
    if as_json:
        emit(result.to_dict())
        return
    heads, rows = result.table()
    table(heads, rows, right=heads[1:])
    say()
    heads, rows = result.by_kind()
    table(heads, rows, right=heads[1:])
    note(result.summary())


def _known(name: str) -> None:
    from halflife.agent.system import named
    from halflife.probe.benchmarks.compare import PLAIN

    if name != PLAIN:
        named(name)


def _compared(
    names: Sequence[str], histories: Sequence[Any], embedder: str, cache: Path | None, k: int, llm: str | None,
    llm_cache: Path | None, settings: dict[str, Any] | None = None,
) -> Comparison:  # fmt: skip
    from halflife.llm.resolve import embedder as resolve
    from halflife.probe.benchmarks.cache import CachedEmbedder
    from halflife.probe.benchmarks.compare import compare as run

    with ExitStack() as stack:
        model: Any = resolve(embedder)
        if cache is not None:
            model = stack.enter_context(CachedEmbedder(model, cache))
        chat = chat_model(llm, llm_cache)
        if chat is not None and hasattr(chat, "close"):
            stack.callback(chat.close)
        told = {**(settings or {}), "embedder": model.fingerprint, "language model": chat.name if chat else "none"}
        with progress("comparing") as tick:
            return run(names, histories, model, k, llm=chat, progress=tick, settings=told)


def chat_model(llm: str | None, cache: Path | None) -> ChatModel | None:
    """The language model of the options --llm and --llm-cache."""
    from halflife.llm.resolve import chat_model as resolve

    model = resolve(llm)
    if model is None or cache is None:
        return model
    from halflife.llm.cached import CachedChat

    return CachedChat(model, cache)


def _drawn(result: Comparison) -> str:
    """Evidence recall against the tokens that it takes, one point a system."""
    from halflife.papers.style import PALETTE, render

    widest = max(row.tokens for row in result.rows)

    def draw(axes: Any) -> None:
        for i, row in enumerate(sorted(result.rows, key=lambda row: row.tokens)):
            axes.scatter(row.tokens, row.recall, s=60, color=PALETTE[i % len(PALETTE)], zorder=3)
            right = row.tokens > 0.8 * widest
            axes.annotate(row.system, (row.tokens, row.recall), xytext=(-8 if right else 8, 6 if i % 2 else -13),
                          textcoords="offset points", ha="right" if right else "left")  # fmt: skip
        axes.set_xlabel(f"tokens of the first {result.k} hits")
        axes.set_ylabel(f"evidence recall@{result.k}")
        axes.set_xlim(0, 1.1 * widest)
        axes.set_ylim(-0.08, 1)

    shown = ", ".join(f"{row.system} {row.recall:.2f}" for row in result.rows)
    return render(draw, f"Evidence recall against tokens: {shown}.", (7.0, 4.2))
