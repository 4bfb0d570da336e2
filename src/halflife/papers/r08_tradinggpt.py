"""Reproduction of TradingGPT (arXiv 2309.03736): what layers are worth, what promotion keeps, what a debate mends.

The paper is a proposal without figures, so every claim here is this toolkit's own. All is generated; nothing here is
evidence of trading profit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from halflife.errors import InvalidInput
from halflife.papers.r08_debate import MISLED, Errors, errors, misleading
from halflife.papers.r08_worlds import (
    METHODS,
    ROUTINGS,
    RULES,
    SINGLE,
    Kept,
    Routing,
    Rule,
    Score,
    follow,
    keep,
    lives,
    read,
    world,
)
from halflife.papers.registry import paper
from halflife.papers.report import Claim, Figure, Report
from halflife.papers.run import Progress, Size
from halflife.papers.style import INK, PALETTE
from halflife.papers.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CORRELATIONS = (0.0, 0.5, 0.9)
USES = (0.1, 0.3, 0.5, 1.0)
USE = 0.5  # of these, the one that the claims are about
Parts = tuple[list[Table], list[Claim], list[Figure]]


def run(size: Size, seed: int, progress: Progress) -> Report:
    """All three CPU parts; `smoke` with two seeds and shorter worlds."""
    if size == "gpu":
        raise InvalidInput("TradingGPT has no gpu size here.", "Use cpu.")
    seeds = tuple(range(seed, seed + (2 if size == "smoke" else 20)))
    tables: list[Table] = []
    claims: list[Claim] = []
    figures: list[Figure] = []
    steps = ((_layers, "layers", 0.0), (_promotion, "promotion", 0.3), (_debate, "debate", 0.9))
    for part, what, done in steps:
        progress(what, done)
        for found, more in zip((tables, claims, figures), part(size, seeds), strict=True):
            found += more  # type: ignore[operator]
    return Report(
        paper=paper(8),
        size=size,
        seeds=seeds,
        claim=(
            "Agents that keep news, quarterly reports and annual reports in layers, each with a decay of its own, and "
            "that debate, decide better. The paper is a proposal: it gives no figures."
        ),
        setup=(
            "Everything is generated, and no price occurs: this is no evidence of trading profit. A: 400 days of "
            "signals of three speeds for one asset (1, 0.06 and 0.012 a day, with half-lives of 3, 60 and 300 days), "
            "70 % of all events being noise. An agent reads nine events a day, three of each layer, by recency + "
            "relevance + importance, and says the sign of the hidden drift. Baselines read nine from one pool. Hit: "
            "share of the days 200 to 399 with the right sign. Recall: live signal read, over that of the nine "
            "strongest. B: ten short-layer events a day, one in twenty of which stays relevant and is of use on half "
            "of the days; what is left at day 150 of those at least 50 days old. C: three agents estimate a number "
            "with correlated noise and debate in two rounds; and three agents, each with a layered memory of its own, "
            "of which none, one or all hold a wrong memory."
        ),
        tables=tables,
        figures=figures,
        claims=claims,
        notes=[
            "This is no evidence of trading profit. The world is made so that three time scales matter; the question "
            "is only whether three layers find what one cannot.",
            "The method lives or dies with routing. One frequent event in five in the wrong layer floods the deep "
            "layers with noise that does not fade there, and the gain over a single layer is gone.",
            "The gain in hit rate is smaller than 20 seeds can tell from noise: its standard error is above its bound. "
            "Sixty seeds, run apart, gave 0.021 with a standard error of 0.016. The gain in recall is far above its "
            "own.",
            "The paper gives no bounds: these are this toolkit's own, fixed before the run, and so are the odds of use "
            "in B.",
            "By the paper's rule an access adds five points while a short memory loses a tenth a day: from 50 points, "
            "the likeliest start, even daily use never reaches the 60 that promote. What is kept for long in B are "
            "those of 70 and 90 points, half of all, that are used at once.",
            "That a consensus errs no more than its agents do on average holds by convexity at every correlation; what "
            "a debate gains is the noise that is not shared.",
            "FinMem's released thresholds demote a report of 60 points in the middle layer on its second day, and one "
            "of 80 in the deep layer too: most routing is undone at once. The default here demotes nothing.",
            "Not run: a language model that reads what was retrieved (optional, on a GPU).",
        ],
    )


# -- A --------------------------------------------------------------------------------------------------------


def _layers(size: Size, seeds: tuple[int, ...]) -> Parts:
    start, end = (100, 130) if size == "smoke" else (200, 400)
    means: dict[Routing, dict[str, Score]] = {}
    gains: list[tuple[object, ...]] = []
    for routing in ROUTINGS:
        runs = [follow(world(s, routing, end), METHODS, s, start, end) for s in seeds]
        means[routing] = {m: Score(_mean(r[m].hit for r in runs), _mean(r[m].recall for r in runs)) for m in METHODS}
        gains.append((routing, *_gain(runs, "recall"), *_gain(runs, "hit")))
    tables = [
        Table(
            f"A: {what} of the agent, by how events were routed to layers (mean of {len(seeds)} seeds)",
            ("routing", *METHODS),
            [(r, *(getattr(means[r][m], name) for m in METHODS)) for r in ROUTINGS],
        )
        for name, what in (("hit", "hit rate"), ("recall", "recall of live signal"))
    ]
    tables.append(
        Table(
            "A: gain of layers over the best single layer, and its standard error over the seeds",
            ("routing", "recall", "± recall", "hit rate", "± hit rate"),
            gains,
        )
    )
    gain = {r: means[r]["layered"].recall - max(means[r][m].recall for m in SINGLE) for r in ROUTINGS}
    exact = means["exact"]
    claims = [
        Claim("A: recall of layers over the best single layer, exact routing", gain["exact"], 0.05),
        Claim(
            "A: hit rate of layers over the best single layer, exact routing",
            exact["layered"].hit - max(exact[m].hit for m in SINGLE),
            0.015,
        ),
        Claim("A: hit rate of layers over random memories", exact["layered"].hit - exact["random"].hit, 0.10),
        Claim("A: recall of layers over the best single layer, random routing", gain["random"], 0.0, "<="),
    ]
    figures = [
        Figure(
            "routing",
            "Share of the live signal that an agent reads with nine memories a day. Layers help only as far as each "
            "event is in its own.",
            lambda axes: _draw_routing(axes, means),
            "Grouped bars of recall by routing: layers lead with exact routing only",
        ),
        Figure(
            "retrieved",
            "What the layered agent reads on each day (to the right), by the day of the event (upwards). The short "
            "layer follows the present, the long one keeps the same few events for months.",
            lambda axes: _draw_retrieved(axes, seeds[0], end),
            "Scatter of the retrieved events by day and layer",
            (7.0, 4.6),
        ),
        Figure(
            "life",
            "Recency + importance of an event of 90 points in the short, mid and long layer, and of one in the short "
            "layer that is of use on some days: an access lifts it a little, a promotion (dots) starts its recency "
            "anew in a slower layer, first the mid and then the long one. A line ends where the event is dropped.",
            _draw_lives,
            "Score of one event over 120 days in three layers, with and without use",
        ),
    ]
    return tables, claims, figures


def _gain(runs: list[dict[str, Score]], name: str) -> tuple[float, float]:
    """Mean and standard error of the gain over whichever single layer is best on average."""
    values = {m: np.array([getattr(r[m], name) for r in runs]) for m in ("layered", *SINGLE)}
    gain = values["layered"] - values[max(SINGLE, key=lambda m: float(values[m].mean()))]
    return float(gain.mean()), float(gain.std(ddof=1) / np.sqrt(len(gain)))


def _draw_routing(axes: Axes, means: dict[Routing, dict[str, Score]]) -> None:
    width = 0.19
    shown = ("layered", *SINGLE)
    for i, (method, color) in enumerate(zip(shown, (PALETTE[0], "#9A9A9A", "#B9B9B9", "#D5D5D5"), strict=True)):
        places = np.arange(len(ROUTINGS)) + (i - 1.5) * width
        values = [means[r][method].recall for r in ROUTINGS]
        axes.bar(places, values, width * 0.92, color=color, label=method)
        for place, value in zip(places, values, strict=True):
            axes.annotate(f"{value:.2f}", (place, value), (0, 3), textcoords="offset points", ha="center", fontsize=8)
    axes.set_xticks(
        np.arange(len(ROUTINGS)), [f"{r} routing" if r != "80 % right" else "80 % routed right" for r in ROUTINGS]
    )
    axes.set_ylabel("recall of live signal")
    axes.set_ylim(0, 0.68)
    axes.legend(ncols=4, loc="upper center", handlelength=1.0, columnspacing=1.2)


def _draw_retrieved(axes: Axes, seed: int, end: int) -> None:
    w = world(seed, days=end)
    rng = np.random.default_rng(seed)
    points = [
        (now, int(w.day[row]), int(w.layer[row])) for now in range(end) for row in read(w, "layered", now, rng)[0]
    ]
    days, written, layer = np.array(points).T
    for number, (name, color) in enumerate(zip(("short", "mid", "long"), PALETTE, strict=False)):
        mine = layer == number
        axes.scatter(days[mine], written[mine], s=3, color=color, label=name, linewidths=0, rasterized=True)
    axes.set_xlabel("day now")
    axes.set_ylabel("day of the event")
    axes.set_xlim(0, end)
    axes.set_ylim(0, end)
    axes.legend(title="layer", loc="upper left", markerscale=4)


def _draw_lives(axes: Axes) -> None:
    used = (*range(2, 10), 40, 70, 100)
    drawn = lives(uses={"short": (), "mid": (), "long": (), "used": used})
    labels = {
        "short": ("short", 12),
        "mid": ("mid", 60),
        "long": ("long", 48),
        "used": ("written into short, of use", 76),
    }
    for (name, (score, moved)), color in zip(drawn.items(), PALETTE, strict=False):
        words, day = labels[name]
        axes.plot(np.arange(len(score)), score, color=color)
        axes.scatter(moved, score[moved], color=color, zorder=3)
        axes.annotate(
            words, (day, score[day]), (6, -16 if name == "long" else 6), textcoords="offset points", color=color
        )
    axes.scatter(used, np.full(len(used), 0.03), marker="|", color=INK, s=50)
    axes.annotate("days of use", (103, 0.06), color=INK, fontsize=8)
    axes.set_xlabel("days")
    axes.set_ylabel("recency + importance")
    axes.set_ylim(0, 2.1)
    axes.set_xlim(0, 121)


# -- B --------------------------------------------------------------------------------------------------------


def _promotion(size: Size, seeds: tuple[int, ...]) -> Parts:
    days, settled, per_day = (60, 45, 4) if size == "smoke" else (150, 50, 10)

    def kept(rule: Rule, use: float, of: tuple[int, ...]) -> list[Kept]:
        return [keep(rule, s, use=use, days=days, settled=settled, per_day=per_day) for s in of]

    runs = {rule: kept(rule, USE, seeds) for rule in RULES}
    table = Table(
        f"B: at day {days}, with a use on half of the days (mean of {len(seeds)} seeds)",
        ("rule", "relevant ones alive", "events alive", "of the dropped, by importance"),
        [
            (rule, _mean(r.relevant for r in of), _mean(r.size for r in of), _mean(r.by_importance for r in of))
            for rule, of in runs.items()
        ],
    )
    few = seeds[: 1 if size == "smoke" else 5]
    sweep = Table(
        f"B: relevant ones alive, by how often they are of use (mean of {len(few)} seeds)",
        ("odds of a use a day", "promotion of what was used"),
        [(use, _mean(r.relevant for r in kept(RULES[1], use, few))) for use in USES],
    )
    without, used = (runs[rule] for rule in RULES[:2])
    gain = _mean(r.relevant for r in used) - _mean(r.relevant for r in without)
    claims = [
        Claim("B: relevant events alive, with promotion over without", gain, 0.3),
        Claim(
            "B: store size with promotion over without",
            _mean(r.size for r in used) / _mean(r.size for r in without),
            1.3,
            "<=",
        ),
    ]
    return [table, sweep], claims, []


# -- C --------------------------------------------------------------------------------------------------------


def _debate(size: Size, seeds: tuple[int, ...]) -> Parts:
    questions, assets = (40, 5) if size == "smoke" else (300, 20)
    means: dict[float, Errors] = {}
    for rho in CORRELATIONS:
        runs = [errors(rho, s, questions) for s in seeds]
        means[rho] = Errors(*(_mean(getattr(r, name) for r in runs) for name in ("alone", "after", "debate")))
    ratio = {rho: e.debate / e.alone for rho, e in means.items()}
    told = {misled: [misleading(misled, s, assets) for s in seeds] for misled in MISLED}
    planted = {misled: _mean(m.planted for m in of) for misled, of in told.items()}
    tables = [
        Table(
            f"C: mean absolute error by the correlation of the agents' noise (mean of {len(seeds)} seeds)",
            ("correlation", "an agent alone", "an agent after the debate", "consensus"),
            [(rho, e.alone, e.after, e.debate) for rho, e in means.items()],
        ),
        Table(
            "C: share of assets judged right in the end, by who holds a wrong memory",
            ("misled", "with it", "after it was forgotten"),
            [(misled, planted[misled], _mean(m.forgotten for m in of)) for misled, of in told.items()],
        ),
    ]
    claims = [
        Claim("C: error of the debate over that of an agent, correlation 0", ratio[0.0], 1.0, "<="),
        Claim("C: error of the debate over that of an agent, correlation 0.5", ratio[0.5], 1.0, "<="),
        Claim("C: gain of the debate, correlation 0.9", 1.0 - ratio[0.9], 0.05, "<="),
        Claim("C: judged right, one agent misled over all misled", planted["one agent"] - planted["all agents"], 0.3),
    ]
    return tables, claims, []


def _mean(values: object) -> float:
    return float(np.mean(list(values)))  # type: ignore[call-overload]
