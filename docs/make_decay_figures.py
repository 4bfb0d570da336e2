"""Make the tables and figures of decay.md from the review log: python docs/make_decay_figures.py LOG [--recovery]

LOG is the FSRS review log of py-fsrs (tests/review_logs_*.csv, gzip or not).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt

from halflife.decay import (
    DAY,
    FSRS5,
    FSRS6,
    ActR,
    Candidate,
    Comparison,
    Exponential,
    HalfLifeRegression,
    Pavlik,
    Power,
    PowerExponential,
    PurePower,
    Reviews,
    Savings,
    State,
    Stretched,
    compare,
    spacing,
)

FIGURES = Path(__file__).parent / "figures"
CANDIDATES = [
    Candidate("exponential", Exponential()),
    Candidate("exponential x constant", Exponential(), free=("ceiling",)),
    Candidate("power, d = 1", Power(exponent=1.0), free=()),
    Candidate("power, d = 0.5", Power(exponent=0.5), free=()),
    Candidate("power, d = 0.1542", Power(exponent=0.1542), free=()),
    Candidate("power, free d", Power()),
    Candidate("pure power", PurePower()),
    Candidate("stretched exponential", Stretched()),
    Candidate("power-exponential", PowerExponential()),
    Candidate("savings", Savings()),
    Candidate("ACT-R", ActR()),
    Candidate("half-life regression", HalfLifeRegression()),
    Candidate("Leitner", HalfLifeRegression.leitner(), own=True),
    Candidate("FSRS-5, default weights", FSRS5(), own=True),
    Candidate("FSRS-5, tuned", FSRS5()),
    Candidate("FSRS-6, default weights", FSRS6(), own=True),
    Candidate("FSRS-6, default, whole days", FSRS6(whole_days=True), own=True),
    Candidate("FSRS-6, tuned", FSRS6()),
]
SHOWN = {
    "AVG": "#9a9a9a",
    "exponential": "#d1495b",
    "power, free d": "#2e86ab",
    "stretched exponential": "#6a4c93",
    "exponential x constant": "#e09f3e",
    "FSRS-6, default weights": "#2a9d6f",
}


def save(figure: Any, name: str) -> None:
    FIGURES.mkdir(exist_ok=True)
    figure.savefig(FIGURES / f"decay-{name}.svg", metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)


def recall_by_delay(log: Reviews, table: Comparison) -> None:
    """Observed recall of the whole log in bins of delay, and what each fitted law predicts in them."""
    rows = log.scored()
    days, y = log.history.elapsed[rows] / DAY, log.recalled[rows]
    edges = np.geomspace(1.0, days.max() * 1.001, 11)
    bins = np.digitize(days, edges) - 1
    counts = np.bincount(bins, minlength=10)
    kept = counts >= 30  # a handful of reviews makes no point

    def mean(values: np.ndarray) -> np.ndarray:
        return (np.bincount(bins, weights=values, minlength=10) / np.maximum(counts, 1))[kept]

    x, observed = np.exp(mean(np.log(days))), mean(y)
    figure, axis = plt.subplots(figsize=(7.2, 4.2))
    error = 1.96 * np.sqrt(observed * (1 - observed) / counts[kept])
    axis.errorbar(x, observed, error, fmt="o", color="black", capsize=2, label="observed, 95% interval", zorder=5)
    for label, colour in SHOWN.items():
        fitted = table[label].fit
        predicted = np.full(len(rows), y[: table.n_train].mean()) if fitted is None else fitted.predict(log)
        axis.plot(x, mean(predicted), color=colour, lw=1.8, label=label)
    axis.set(xscale="log", xlabel="days since the last review", ylabel="recall", ylim=(0.0, 1.0))
    axis.set_xticks([1, 2, 5, 10, 20, 50], labels=["1", "2", "5", "10", "20", "50"])
    axis.legend(fontsize=8, frameon=False, loc="lower left")
    save(figure, "recall")


def reliability(table: Comparison) -> None:
    """Predicted against observed recall on the later part of the log."""
    figure, axes = plt.subplots(1, len(SHOWN) - 1, figsize=(12, 2.9), sharey=True)
    for axis, (label, colour) in zip(axes, list(SHOWN.items())[1:], strict=True):
        bins = table[label].reliability
        error = 1.96 * np.sqrt(bins.observed * (1 - bins.observed) / bins.count)
        axis.plot([0, 1], [0, 1], color="#c0c0c0", lw=1)
        axis.errorbar(bins.predicted, bins.observed, error, fmt="o", ms=4, color=colour, capsize=2)
        axis.set(xlim=(0.3, 1.02), ylim=(0.3, 1.02), xlabel="predicted")
        axis.set_title(f"{label}\nlog-loss {table[label].test:.4f}", fontsize=9)
    axes[0].set_ylabel("observed")
    save(figure, "reliability")


def spacings() -> None:
    """Recall at three retention intervals against the lag between two study events."""
    lags = np.geomspace(0.05, 300.0, 120) * DAY
    laws = {"exponential, S + 1": Exponential(), "ACT-R": ActR(), "Pavlik's ACT-R": Pavlik(), "FSRS-6": FSRS6()}
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.1), layout="constrained")
    for axis, (label, law) in zip(axes, laws.items(), strict=True):
        for days, colour in ((3, "#2e86ab"), (30, "#6a4c93"), (180, "#d1495b")):
            if isinstance(law, Pavlik):
                uses = np.stack([np.zeros_like(lags), lags], axis=1)
                axis.plot(lags / DAY, law.recall(uses, lags + days * DAY), color=colour, label=f"after {days} d")
                continue
            axis.plot(lags / DAY, spacing(law, lags, days * DAY), color=colour, label=f"after {days} d")
            axis.plot(lags / DAY, spacing(law, lags, days * DAY, tested=True), "--", color=colour, lw=1)
        axis.set(xscale="log", xlabel="lag between the events (days)")
        axis.set_ylim(bottom=0.0)
        axis.set_title(label, fontsize=10)
    axes[0].set_ylabel("recall")
    axes[0].legend(fontsize=8, frameon=False)
    save(figure, "spacing")


def recovery(seeds: int = 20, items: int = 500, probes: int = 6) -> str:
    """Which law predicts best on logs drawn from each, delays over three decades: a confusion table."""
    laws = [Exponential(), Power(exponent=0.5), Stretched(shape=0.566)]
    lines = ["| drawn from | " + " | ".join(one.name for one in laws) + " |", "|---|" + "---:|" * len(laws)]
    for truth in laws:
        wins = dict.fromkeys((one.name for one in laws), 0)
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            times, right = np.zeros((items, probes + 1)), np.ones(items)
            grade = np.full((items, probes + 1), 3.0)
            for j in range(1, probes + 1):
                gap = DAY * 10 ** rng.uniform(0.0, 3.0, items)
                times[:, j] = times[:, j - 1] + gap
                recalled = rng.random(items) < truth.retention(gap, State(20 * DAY * np.sqrt(1 + right)))
                grade[:, j], right = np.where(recalled, 3, 1), right + recalled
            log = Reviews(np.repeat(np.arange(items), probes + 1), times.ravel(), grade.ravel())
            table = compare([Candidate(one.name, one, free=()) for one in laws], log, resamples=2)
            wins[next(row.label for row in table.rows if row.label != "AVG")] += 1
        lines.append(f"| {truth.name} | " + " | ".join(str(n) for n in wins.values()) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path)
    parser.add_argument("--recovery", action="store_true", help="also simulate (minutes)")
    arguments = parser.parse_args()
    mpl.rcParams.update({"svg.hashsalt": "decay", "axes.spines.top": False, "axes.spines.right": False})
    log = Reviews.from_csv(arguments.log)
    start, cpu = time.perf_counter(), time.process_time()
    table = compare(CANDIDATES, log)
    print(
        f"{len(CANDIDATES)} candidates fitted and compared in {time.perf_counter() - start:.1f} s "
        f"({time.process_time() - cpu:.1f} s of processor)"
    )
    print(table.markdown())
    for a, b in (("exponential", "power, d = 0.5"), ("AVG", "FSRS-6, default weights")):
        print(f"{a} less {b}: {table.difference(a, b)}")
    recall_by_delay(log, table)
    reliability(table)
    spacings()
    if arguments.recovery:
        print(recovery())


if __name__ == "__main__":
    main()
