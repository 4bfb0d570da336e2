"""Reproduction of Think-in-Memory (arXiv 2311.08719): consistency, organisation, and what hashing costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from halflife.errors import InvalidInput
from halflife.papers.data import data_file, missing, read_json
from halflife.papers.embedding import Cached, cached_embedder
from halflife.papers.r35_parts import (
    Hashed,
    Organised,
    Setting,
    consistency,
    conversations,
    organise,
    recall_and_scanned,
)
from halflife.papers.r35_speed import Timing, speed
from halflife.papers.r35_worlds import statements
from halflife.papers.registry import paper
from halflife.papers.report import Claim, Figure, Report
from halflife.papers.run import Progress, Size
from halflife.papers.style import INK, PALETTE
from halflife.papers.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FILE = "locomo5.json.gz"
BUCKETS = (2, 4, 8, 16)
FAMILIES: dict[str, tuple[Setting, ...]] = {
    "one table": tuple(Setting(b) for b in BUCKETS),
    "one table, centred": tuple(Setting(b, centred=True) for b in BUCKETS),
    "several tables": (Setting(8, 4), Setting(16, 8), Setting(32, 8)),
    "16 buckets, centred, 1 to 8 probes": tuple(Setting(16, probes=p, centred=True) for p in (1, 2, 4, 8)),
}
Parts = tuple[list[Table], list[Claim], list[Figure]]


def run(size: Size, seed: int, progress: Progress) -> Report:
    """All three CPU parts; `smoke` in miniature, with a hashing embedder and parts of two conversations."""
    if size == "gpu":
        raise InvalidInput("Think-in-Memory has no gpu size here.", "Use cpu.")
    seeds = tuple(range(seed, seed + (2 if size == "smoke" else 20)))
    embedder = cached_embedder(size)
    progress("consistency", 0.0)
    parts = [_consistency(size, seeds, embedder)]
    progress("organisation", 0.2)
    parts.append(_organisation(size, seeds, embedder))
    progress("hashing on real text", 0.5)
    hashing, notes = _hashing(size, seed, embedder)
    progress("speed", 0.8)
    parts += [hashing, _speed(size, seed)]
    return Report(
        paper=paper(35),
        size=size,
        seeds=seeds,
        claim=(
            "An agent that keeps the conclusions it has drawn, in the buckets of a hash, and forgets and merges within "
            "buckets, answers more consistently than one that draws them anew from raw history, and finds them faster "
            "(paper: 0.6287 ms pairwise against 0.5305 ms)."
        ),
        setup=(
            "A (generated): 40 people, 30 events each; the same quantity is asked for 10 times; a reasoner errs in 15% "
            "of its derivations; the ten nearest thoughts are looked at. B (generated): 300 statements, 30% contradict "
            "and 30% repeat what was said; thoughts are kept as they come, or forgotten and merged by rule in the "
            "bucket (of 8) that each touches; questions search all thoughts exactly, so that only the organisation is "
            "tested. C: the observations of five LoCoMo conversations as thoughts, their questions as queries, a store "
            "each; recall@5 is against exact search, among the buckets probed alone. Speed: clustered unit vectors of "
            "128 dimensions, one query at a time on one process; the setting is chosen on half of the queries and "
            "measured on the other half."
        ),
        tables=[table for part in parts for table in part[0]],
        claims=[claim for part in parts for claim in part[1]],
        figures=[figure for part in parts for figure in part[2]],
        notes=[
            *notes,
            "A: keeping a conclusion removes disagreement, not error: a wrong thought is wrong ten times. That "
            "accuracy stays equal in expectation is therefore a claim of its own. A question and the thought that "
            "answers it need not fall into one bucket: what is not found there is derived again, and may differ.",
            "B: forget and merge see one bucket. Contradicting thoughts in different buckets survive; hashing the head "
            "entity instead of the sentence puts them together.",
            "C: that hashing keeps retrieval quality does not hold with a single table; the plot of recall against the "
            "share scanned is what it costs.",
            "The speed-up is against an exact product in numpy and for 100,000 vectors; at a few hundred thoughts the "
            "exact product is the faster one, and the paper's difference of 0.1 ms is within timing noise.",
            "Not run: extraction of triples by a language model (optional, on a GPU).",
        ],
    )


def _consistency(size: Size, seeds: tuple[int, ...], embedder: Cached) -> Parts:
    people = 8 if size == "smoke" else 40
    runs = [consistency(seed, embedder, people=people) for seed in seeds]
    names = {
        "raw": "derives each answer anew",
        "thoughts": "keeps its thought",
        "one bucket": "keeps its thought, looks into one bucket of 8",
    }
    means = {name: np.mean([run[name] for run in runs], axis=0).tolist() for name in names}
    table = Table(
        f"A: ten answers to one question (mean of {len(seeds)} seeds, {people} people each)",
        ("agent", "pairs that differ", "accuracy"),
        [(label, *means[name]) for name, label in names.items()],
    )
    raw, kept, bucket = means.values()
    claims = [
        Claim("A: inconsistency with kept thoughts", kept[0], 0.02, "<="),
        Claim("A: inconsistency when deriving anew", raw[0], 0.20),
        Claim("A: difference in accuracy, either way", abs(kept[1] - raw[1]), 0.05, "<="),
        Claim("A: inconsistency with kept thoughts, found through one bucket", bucket[0], 0.02, "<="),
    ]
    return [table], claims, []


def _organisation(size: Size, seeds: tuple[int, ...], embedder: Cached) -> Parts:
    streams = [statements(seed, 60 if size == "smoke" else 300) for seed in seeds]
    ways: tuple[tuple[str, Hashed, bool], ...] = (
        ("insert only", "sentence", False),
        ("forget and merge", "sentence", True),
        ("forget and merge, head hashed", "head", True),
    )
    runs: dict[str, list[Organised]] = {
        name: [
            organise(said, embedder, seed, hashed=hashed, tidy=tidy) for seed, said in zip(seeds, streams, strict=True)
        ]
        for name, hashed, tidy in ways
    }
    columns = ("stale", "answered", "size", "shared")
    mean = {name: {c: float(np.mean([getattr(one, c) for one in of])) for c in columns} for name, of in runs.items()}
    bare, full, head = mean.values()
    table = Table(
        f"B: after a stream with contradictions and repeats (mean of {len(seeds)} seeds)",
        ("store", "stale answers", "answered", "thoughts", "contradictions in one bucket"),
        [(name, *(row[c] for c in columns)) for name, row in mean.items()],
    )
    before, after = max((one.example for one in runs["forget and merge"]), key=lambda pair: len(pair[0]))
    rows = [(text, text if text in after else "–") for text in before]
    rows += [("–", text) for text in after if text not in before]
    example = Table("B: one bucket before and after forget and merge", ("before", "after"), rows)
    claims = [
        Claim("B: stale answers with forget and merge", full["stale"], 0.05, "<="),
        Claim("B: stale answers of insert-only, less 0.15", bare["stale"] - 0.15, 0.05, ">"),
        Claim("B: thoughts kept, over insert-only", full["size"] / bare["size"], 0.75, "<="),
        Claim("B: stale answers with the head entity hashed", head["stale"], 0.05, "<="),
    ]
    return [table, example], claims, []


def _hashing(size: Size, seed: int, embedder: Cached) -> tuple[Parts, list[str]]:
    path = data_file("locomo", FILE)
    if path is None:
        return ([], [], []), ["C: " + missing("locomo", FILE)]
    samples = read_json(path)
    if size == "smoke":
        samples = [{**sample, "qa": sample["qa"][:15]} for sample in samples[:2]]
    talks = conversations(samples, embedder)
    found = {
        family: [(setting, *recall_and_scanned(talks, setting, seed)) for setting in settings]
        for family, settings in FAMILIES.items()
    }
    rows = [
        (family, s.n_buckets, s.n_tables, s.probes, recall, scanned, largest)
        for family, of in found.items()
        for s, recall, scanned, largest in of
    ]
    count = sum(len(talk.thoughts) for talk in talks)
    table = Table(
        f"C: {count} observations of {len(talks)} conversations, {sum(len(t.questions) for t in talks)} questions",
        ("hashing", "buckets", "tables", "probes", "recall@5", "scanned", "largest bucket"),
        rows,
    )
    single = found["one table"]
    claims = [
        Claim(f"C: recall@5 over share scanned, {s.n_buckets} buckets", recall - scanned, 0.0, ">")
        for s, recall, scanned, _ in single
    ]
    shares = [scanned for _, _, scanned, _ in single]
    claims.append(Claim("C: largest rise of the share scanned as buckets double", max(np.diff(shares)), 0.0, "<"))
    claims.append(
        Claim(
            "C: recall@5 of one table with 8 buckets (keeps retrieval quality)",
            single[2][1],
            0.90,
            paper="retrieval accuracy 0.820 against 0.809 without the hash (en, by hand)",
        )
    )
    curves = {family: [(scanned, recall) for _, recall, scanned, _ in of] for family, of in found.items()}
    figure = Figure(
        "recall-scanned",
        "Recall@5 against exact search, by the share of the store that was looked at. On the dashed line a look at "
        "random rows would do as well.",
        lambda axes: _draw_curves(axes, curves),
        "Recall against share scanned for one table, centred, several tables and several probes",
        (7.0, 4.6),
    )
    return ([table], claims, [figure]), []


def _speed(size: Size, seed: int) -> Parts:
    n = 3_000 if size == "smoke" else 100_000
    timings = speed(seed, n, m=20 if size == "smoke" else 60)
    chosen = timings[-1]
    table = Table(
        f"Speed: {n:,} clustered vectors",
        ("buckets", "probes", "recall@5", "time over exact"),
        [
            *((t.n_buckets, t.probes, t.recall, t.ratio) for t in timings[:-1]),
            (f"{chosen.n_buckets} (chosen)", chosen.probes, chosen.recall, chosen.ratio),
        ],
    )
    claims = [
        Claim("Speed: recall@5 of the setting chosen", chosen.recall, 0.70),
        Claim(
            "Speed: time of hashing over exact search",
            chosen.ratio,
            0.50,
            "<=",
            paper="0.5305 ms / 0.6287 ms = 0.84, on a small store",
        ),
    ]
    figure = Figure(
        "speed",
        f"Time of hashed search over exact search among {n:,} vectors, by its recall. Lines join 1, 2, 4 and 8 probes.",
        lambda axes: _draw_speed(axes, timings[:-1]),
        "Time ratio against recall for 16 to 128 buckets",
    )
    return [table], claims, [figure]


def _draw_curves(axes: Axes, curves: dict[str, list[tuple[float, float]]]) -> None:
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=(0, (4, 4)))
    for (family, points), marker in zip(curves.items(), "osD^", strict=True):
        x, y = np.array(sorted(points)).T
        axes.plot(x, y, marker=marker, markersize=5, label=family)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("share of the store scanned")
    axes.set_ylabel("recall@5 against exact search")
    axes.legend(loc="lower right")


def _draw_speed(axes: Axes, timings: list[Timing]) -> None:
    for color, n_buckets in zip(PALETTE, sorted({t.n_buckets for t in timings}), strict=False):
        of = [t for t in timings if t.n_buckets == n_buckets]
        axes.plot([t.recall for t in of], [t.ratio for t in of], marker="o", color=color, label=f"{n_buckets} buckets")
    axes.axhline(0.5, color=INK, linewidth=0.8, linestyle=(0, (4, 4)))
    axes.axvline(0.7, color=INK, linewidth=0.8, linestyle=(0, (4, 4)))
    axes.set_xlim(0, 1)
    axes.set_ylim(0, None)
    axes.set_xlabel("recall@5")
    axes.set_ylabel("time over exact search")
    axes.legend(loc="upper left")
