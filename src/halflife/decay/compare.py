"""Compare laws on one review log: what each learns from the earlier part, and how it predicts the later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from halflife.decay.fit import Fit, fit
from halflife.decay.law import DAY, Array, Law
from halflife.decay.likelihood import log_likelihood
from halflife.decay.reviews import Reviews, Rows
from halflife.errors import InvalidInput


@dataclass(frozen=True)
class Candidate:
    """A law to compare, under a label, and what of it is fitted (see `fit`)."""

    label: str
    law: Law
    free: tuple[str, ...] | None = None
    own: bool = False


@dataclass(frozen=True)
class Reliability:
    """Predicted against observed recall in bins of prediction; bins without reviews are left out.

    Parameters
    ----------
    predicted, observed: means in each bin.
    count: reviews in each bin.
    """

    predicted: Array
    observed: Array
    count: Array


@dataclass(frozen=True)
class Row:
    """How one candidate did.

    Parameters
    ----------
    k: parameters fitted.
    train, test: log-loss in nats a review.
    aic, bic: on the training part.
    auc: chance that a recalled review was given a higher retention than a failed one (test).
    rmse_bins: calibration error over bins of interval, reviews and lapses (test). It can be gamed: a
        constant per bin scores well, so never read it alone.
    gain: test log-loss of the constant less this one's, with a 95% interval from a bootstrap over items.
    reliability: predicted against observed recall (test).
    fit: the fit, None for the constant.
    predicted: recall of each test review, in order of time.
    """

    label: str
    k: int
    train: float
    test: float
    aic: float
    bic: float
    auc: float
    rmse_bins: float
    gain: float
    gain_low: float
    gain_high: float
    reliability: Reliability
    fit: Fit | None
    predicted: Array


@dataclass(frozen=True)
class Comparison:
    """The rows, best on the test part first, and how the log was split.

    Parameters
    ----------
    items, recalled: item and outcome of each test review, in order of time.
    """

    rows: tuple[Row, ...]
    n_train: int
    n_test: int
    items: NDArray[np.int64]
    recalled: Array

    def __getitem__(self, label: str) -> Row:
        for row in self.rows:
            if row.label == label:
                return row
        raise InvalidInput(f"No candidate is called {label!r}.", f"There are: {[r.label for r in self.rows]}.")

    def difference(self, a: str, b: str, resamples: int = 1000, seed: int = 0) -> tuple[float, float, float]:
        """Test log-loss of `a` less that of `b`, with a 95% interval from a paired bootstrap over items."""
        losses = [-log_likelihood(self[label].predicted, self.recalled) for label in (a, b)]
        return bootstrap(losses[0] - losses[1], self.items, resamples, seed)

    def markdown(self) -> str:
        """The rows as a Markdown table."""
        head = "| law | k | train | test | gain over AVG (95%) | AIC | BIC | AUC | RMSE(bins) |"
        lines = [head, "|---|---:|---:|---:|---|---:|---:|---:|---:|"]
        for r in self.rows:
            gain = f"{r.gain:+.4f} ({r.gain_low:+.4f} to {r.gain_high:+.4f})"
            lines.append(
                f"| {r.label} | {r.k} | {r.train:.4f} | {r.test:.4f} | {gain} | {r.aic:.1f} | {r.bic:.1f} "
                f"| {r.auc:.3f} | {r.rmse_bins:.4f} |"
            )
        return "\n".join(lines)


def compare(
    laws: Sequence[Law | Candidate],
    reviews: Reviews,
    *,
    train: float = 0.8,
    minimum: float = DAY,
    resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Fit each law to the earliest part of a log and score it on the rest, beside a constant (AVG).

    Parameters
    ----------
    laws: laws with their usual free parameters, or candidates that say what to fit.
    reviews: the log.
    train: share of the scored reviews, by time, that is fitted to.
    minimum: only reviews at least this many seconds after the last are scored.
    resamples: of the bootstrap; seed: of it and of the fits' starts.

    Raises InvalidInput where a part would be empty, or two candidates share a label.

    >>> from halflife.decay.curves import Exponential, Power
    >>> rng = np.random.default_rng(0)
    >>> time = np.concatenate([np.arange(500.0), np.arange(500) * 60 + 3 * DAY])
    >>> grade = np.where(rng.random(1000) < 0.4, 1, 3)
    >>> table = compare([Exponential(), Power()], Reviews(np.tile(np.arange(500), 2), time, grade))
    >>> sorted(row.label for row in table.rows), table.n_train, table.n_test
    (['AVG', 'exponential', 'power'], 400, 100)
    """
    candidates = [one if isinstance(one, Candidate) else Candidate(one.name, one) for one in laws]
    labels = ["AVG", *(one.label for one in candidates)]
    if len(set(labels)) < len(labels):
        raise InvalidInput(f"Two candidates share a label: {labels}.", "Give each Candidate its own.")
    rows = reviews.scored(minimum)
    cut = int(train * len(rows))
    if not 0 < cut < len(rows):
        raise InvalidInput(f"Cannot split {len(rows)} scored reviews at {train}.", "Use a longer log.")
    y = reviews.recalled[rows]
    average = np.full(len(rows), y[:cut].mean())
    split = _Split(reviews, rows, cut, y, log_likelihood(average, y), resamples, seed)
    until = float(reviews.time[rows[cut]])
    found = [split.row("AVG", 1, average, None)]
    for one in candidates:
        fitted = fit(
            one.law,
            reviews,
            free=one.free,
            own=one.own,
            until=until,
            minimum=minimum,
            intervals=False,
            seed=seed,
        )
        found.append(split.row(one.label, fitted.k, fitted.predict(reviews), fitted))
    ordered = sorted(found, key=lambda row: row.test)
    return Comparison(tuple(ordered), cut, len(rows) - cut, reviews.item[rows[cut:]], y[cut:])


@dataclass(frozen=True)
class _Split:
    """The scored reviews, and how a prediction of them is scored."""

    reviews: Reviews
    rows: Rows
    cut: int
    y: Array
    baseline: Array
    resamples: int
    seed: int

    def row(self, label: str, k: int, predicted: Array, fitted: Fit | None) -> Row:
        scores = log_likelihood(predicted, self.y)
        test = slice(self.cut, None)
        p, y, rows = predicted[test], self.y[test], self.rows[test]
        gains = scores[test] - self.baseline[test]
        gain, low, high = bootstrap(gains, self.reviews.item[rows], self.resamples, self.seed)
        total = float(scores[: self.cut].sum())
        return Row(
            label=label,
            k=k,
            train=-total / self.cut,
            test=-float(scores[test].mean()),
            aic=2.0 * k - 2.0 * total,
            bic=k * float(np.log(self.cut)) - 2.0 * total,
            auc=auc(p, y),
            rmse_bins=rmse_bins(p, y, self.reviews, rows),
            gain=gain,
            gain_low=low,
            gain_high=high,
            reliability=reliability(p, y),
            fit=fitted,
            predicted=p,
        )


def auc(p: Array, y: Array) -> float:
    """Area under the ROC curve, ties counted half; 0.5 where only one outcome occurs.

    >>> auc(np.array([0.9, 0.4, 0.6]), np.array([1.0, 0.0, 1.0]))
    1.0
    """
    from scipy.stats import rankdata

    positive = float(y.sum())
    negative = len(y) - positive
    if not positive or not negative:
        return 0.5
    ranks = float(rankdata(p)[y > 0.0].sum())
    return (ranks - positive * (positive + 1.0) / 2.0) / (positive * negative)


def rmse_bins(p: Array, y: Array, reviews: Reviews, rows: Rows) -> float:
    """RMSE of mean prediction against mean recall in geometric bins of interval, reviews and lapses.

    Source: srs-benchmark, whose bins grow by factors of 3.62, 1.89 and 1.73.
    """
    history = reviews.history
    days, seen = history.elapsed[rows] / DAY, history.rank[rows] + 1.0
    lapses = np.maximum(history.wrong[rows], 0.5)  # no lapse is a bin of its own
    keys = [np.floor(np.log(v) / np.log(b)) for v, b in ((days, 3.62), (seen, 1.89), (lapses, 1.73))]
    bins = np.unique(np.stack(keys, axis=1), axis=0, return_inverse=True)[1].ravel()
    counts = np.bincount(bins)
    gaps = np.bincount(bins, weights=p - y) / counts
    return float(np.sqrt((counts * gaps**2).sum() / counts.sum()))


def reliability(p: Array, y: Array, bins: int = 10) -> Reliability:
    """Predicted and observed recall in bins of about equal count."""
    order = np.argsort(p, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    means = [[float(v[part].mean()) for part in parts] for v in (p, y)]
    return Reliability(np.array(means[0]), np.array(means[1]), np.array([float(len(part)) for part in parts]))


def bootstrap(differences: Array, items: NDArray[np.int64], resamples: int, seed: int) -> tuple[float, float, float]:
    """The mean of differences, with a 95% interval from resampling whole items.

    >>> mean, low, high = bootstrap(np.array([1.0, 1.0, 3.0]), np.array([0, 0, 1]), 200, 0)
    >>> round(mean, 3), low, high
    (1.667, 1.0, 3.0)
    """
    codes = np.unique(items, return_inverse=True)[1]
    sums, counts = np.bincount(codes, weights=differences), np.bincount(codes)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(sums), np.full(len(sums), 1.0 / len(sums)), size=resamples)
    low, high = np.quantile((draws @ sums) / (draws @ counts), [0.025, 0.975])
    return float(differences.mean()), float(low), float(high)
