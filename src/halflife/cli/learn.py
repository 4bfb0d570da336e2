"""`halflife learn`: continual learning without writing code."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from halflife.cli.options import common
from halflife.cli.output import emit, note, progress, say, table
from halflife.errors import InvalidInput

if TYPE_CHECKING:
    from halflife.continual.results import Results

SHOWN = (
    "accuracy",
    "task_accuracy",
    "average_incremental_accuracy",
    "learning_accuracy",
    "forgetting",
    "mean_accuracy",
)
HEADS = {"accuracy": "accuracy", "task_accuracy": "task told", "average_incremental_accuracy": "incremental",
         "learning_accuracy": "learned", "forgetting": "forgetting", "mean_accuracy": "mean"}  # fmt: skip


@click.command()
@click.option("--scenario", "scene", default="split-digits", show_default=True, metavar="NAME",
              help="What is learned: KIND-DATA, see --list.")  # fmt: skip
@click.option("--method", "names", multiple=True, metavar="NAME",
              help="What learns; more than one are compared on the same seeds.  [default: er]")  # fmt: skip
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, metavar="N", help="How many runs.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE",
              help="A setting of the methods that have it, such as capacity=500.")  # fmt: skip
@click.option("--scenario-set", "scene_settings", multiple=True, metavar="NAME=VALUE", help="Of the scenario.")
@click.option("--model", metavar="NAME", help="mlp, mlp:400,400, cnn, resnet18, resnet18:20.  [default: the method's]")
@click.option("--epochs", type=click.IntRange(min=1), default=1, show_default=True, help="Passes over each task.")
@click.option("--batch-size", type=click.IntRange(min=1), default=10, show_default=True, help="Examples of a step.")
@click.option("--per-class", type=click.IntRange(min=1), metavar="N", help="Only N training examples of each class.")
@click.option("--evaluate-every", type=click.IntRange(min=1), metavar="N", help="Test every N updates too.")
@click.option("--device", default="cpu", show_default=True, metavar="NAME", help="cpu, cuda.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Write rows (CSV), the configuration and pictures here.")  # fmt: skip
@click.option("--checkpoint", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Keep every task here, and go on from there if it was interrupted.")  # fmt: skip
@click.option("--list", "listing", is_flag=True, help="List methods, wrappers, scenarios and data.")
@common
def learn(
    scene: str, names: Sequence[str], seeds: int, settings: Sequence[str], scene_settings: Sequence[str],
    model: str | None, epochs: int, batch_size: int, per_class: int | None, evaluate_every: int | None, device: str,
    out: Path | None, checkpoint: Path | None, listing: bool, as_json: bool,
) -> None:  # fmt: skip
    """Learn task after task, and see what is left of the first.

    \b
    Examples:
      halflife learn --list
      halflife learn --scenario split-fashion --method hpcr --seeds 3 --per-class 500
      halflife learn --method er --method der++ --set capacity=100 --seeds 3 --epochs 5 --out results
      halflife learn --scenario permuted-mnist --method "fpf(er)" --evaluate-every 50 --json
    """
    from halflife.continual import catalogue, run

    if listing:
        _list(as_json)
        return
    data = (lambda whole: whole.take(per_class)) if per_class else None
    scenario = catalogue.scenario(scene, _values(scene_settings), data)
    given = _values(settings)
    names = list(names or ["er"])
    plain = {name: catalogue.learner(name) for name in names}
    if unused := [key for key in given if not any(_has(learner, key) for learner in plain.values())]:
        raise InvalidInput(f"None of the methods has a setting {unused[0]!r}.", "See: halflife learn --list --json")
    found: list[tuple[str, Results]] = []
    with progress("learn") as tick, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", UserWarning)
        for number, name in enumerate(names):
            mine = {key: value for key, value in given.items() if _has(plain[name], key)}
            results = run(
                scenario, catalogue.learner(name, mine), seeds, model=model or plain[name].suggested_model,
                epochs=epochs, batch_size=batch_size, evaluate_every=evaluate_every, device=device,
                checkpoint=None if checkpoint is None else checkpoint / f"{number}-{_file(name)}",
                progress=lambda step, share, n=number: tick(round(100 * (n + share)), 100 * len(names)),  # type: ignore[misc]
            )  # fmt: skip
            found.append((name, results))
    for text in dict.fromkeys(str(one.message) for one in said):
        note(f"note: {text}")
    if out is not None:
        _write(out, found, evaluate_every is not None)
    if as_json:
        for name, results in found:
            emit({"method": name, "scenario": scenario.name, "seeds": results.seeds, "config": results.hash,
                  "metrics": results.metrics, "matrix": results.mean_matrix().tolist()})  # fmt: skip
        return
    _table(scenario.name, found)
    if out is not None:
        note(f"Rows, configurations and pictures are in {out}.")


def _has(learner: Any, key: str) -> bool:
    first, _, rest = key.partition(".")
    return hasattr(learner, first) and (not rest or _has(getattr(learner, first), rest))


def _values(pairs: Sequence[str]) -> dict[str, Any]:
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InvalidInput(f"{pair!r} is no NAME=VALUE.", "Write it as capacity=500.")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found


def _table(title: str, found: Sequence[tuple[str, Results]]) -> None:
    shown = [metric for metric in HEADS if any(metric in results.metrics for _, results in found)]
    rows = []
    for name, results in found:
        cells = [name]
        for metric in shown:
            values = results.metrics.get(metric)
            if values is None:
                cells.append("")
                continue
            one = results.interval(metric)
            spread = f" ± {(one.high - one.mean):.3f}" if len(values) > 1 else ""
            cells.append(f"{one.mean:.3f}{spread}")
        passes = results.interval("backward_passes").mean
        rows.append([*cells, f"{passes:,.0f}", f"{results.interval('seconds').mean:.1f}"])
    heads = ["method", *(HEADS[metric] for metric in shown), "examples", "seconds"]
    table(heads, rows, right=heads[1:])
    count = len(found[0][1].runs)
    note(f"{title}, {count} seed{'s' if count > 1 else ''}"
         + (", mean ± half of the 95 % interval" if count > 1 else "")
         + ". `task told`: only the classes of the task may be named.")  # fmt: skip


def _write(out: Path, found: Sequence[tuple[str, Results]], curves: bool) -> None:
    from halflife.papers.style import render

    out.mkdir(parents=True, exist_ok=True)
    for number, (name, results) in enumerate(found):
        stem = f"{number}-{_file(name)}"
        results.write(out / f"{stem}.csv")
        picture = render(results.plot_matrix, f"Accuracy matrix of {name}", (5.0, 4.0))
        (out / f"{stem}-matrix.svg").write_text(picture)

    if curves:

        def draw(axes: Any) -> None:
            for _, results in found:
                results.plot_curve(axes)
            axes.legend()

        (out / "curve.svg").write_text(render(draw, "Accuracy on the first task against updates", (7.0, 4.0)))


def _file(name: str) -> str:
    return name.replace("(", "-").replace(")", "")


def _list(as_json: bool) -> None:
    from halflife.continual import catalogue
    from halflife.continual.data import DATASETS

    rows = []
    for kind, entries in (("method", catalogue.METHODS), ("wrapper", catalogue.WRAPPERS)):
        for name, cls in entries.items():
            fields = [key for key, field in cls.__dataclass_fields__.items() if field.init and key != "method"]  # type: ignore[attr-defined]
            rows.append((kind, name, (cls.__doc__ or "").split("\n")[0], ", ".join(fields)))
    rows += [("scenario", f"{kind}-DATA", about, "") for kind, (_, about) in catalogue.KINDS.items()]
    rows += [("before it", f"{prefix}-", about, "") for prefix, (_, about) in catalogue.PREFIXES.items()]
    rows += [("data", name, "", "") for name in DATASETS]
    if as_json:
        for kind, name, about, settings in rows:
            emit({"kind": kind, "name": name, "about": about, "settings": settings.split(", ") if settings else []})
        return
    table(["kind", "name", "what it is"], [list(row[:3]) for row in rows])
    say()
    note("A wrapper goes around a method: fpf(er). Settings: --list --json.")
