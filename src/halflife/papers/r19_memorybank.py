"""Reproduction of MemoryBank (arXiv 2305.10250): retrieval, who survives forgetting, and what that does to answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from halflife.agent.forgetting import CurveKind, ForgetMode, ForgettingCurve
from halflife.errors import InvalidInput
from halflife.papers.data import data_file, missing, read_json
from halflife.papers.embedding import cached_embedder
from halflife.papers.r19_retrieval import KS, dated_questions, hit_rates
from halflife.papers.r19_simulations import POLICIES, Policy, Survival, answers, stream, survival
from halflife.papers.registry import paper
from halflife.papers.report import Claim, Figure, Report
from halflife.papers.run import Progress, Size
from halflife.papers.style import bars, heatmap, label_ends, retention_curves
from halflife.papers.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FILES = ("memory_bank_en.json.gz", "probing_questions_en.jsonl")
CURVES: tuple[tuple[str, CurveKind, ForgetMode], ...] = (
    ("5 S", "ebbinghaus", "hazard"),
    ("5 S, drawn anew each day", "ebbinghaus", "draw"),
    ("code as written", "code_as_written", "hazard"),
    ("paper, t in days", "paper", "hazard"),
)


def run(size: Size, seed: int, progress: Progress) -> Report:
    """All three CPU parts; `smoke` in miniature, with a hashing embedder and three users."""
    if size == "gpu":
        raise InvalidInput("MemoryBank has no gpu size here.", "Use cpu.")
    seeds = tuple(range(seed, seed + (2 if size == "smoke" else 20)))
    progress("retrieval on the released chats", 0.0)
    tables, claims, figures, notes = _retrieval(size)
    progress("who survives", 0.4)
    for more_tables, more_claims, more_figures in (_survival(size, seeds), _answers(size, seeds, progress)):
        tables += more_tables
        claims += more_claims
        figures += more_figures
    return Report(
        paper=paper(19),
        size=size,
        seeds=seeds,
        claim=(
            "A memory bank that recalls by similarity, and fades by the Ebbinghaus curve unless recalled, lets an "
            "assistant answer about past days. The paper rates this by hand (retrieval accuracy 0.763 to 0.840 in "
            "English and Chinese) and gives no ablation of forgetting."
        ),
        setup=(
            "A: the paper's own chats (15 users, 10 days, 566 turns); the 35 of its 100 questions that name a day, "
            "asked of the turns of that user; a hit is a turn of the day named. Baselines: BM25, the last turns, and "
            "random turns (exact expectation). B (simulated): 30 days, 10 memories a day, one in ten recalled every "
            "second day; survival at day 30 of those older than 5 days. C (simulated): 60 days of drifting topics; "
            "policies of the same size each day answer questions about the core memories from the 6 nearest."
        ),
        tables=tables,
        figures=figures,
        claims=claims,
        notes=[
            *notes,
            "Retrieval accuracy in the paper is a human judgement a question, not a hit rate.",
            "Paper and released code disagree on the unit of time, and the code as written inverts the role of "
            "strength (operator precedence); the default here is the code's evident intent, R = exp(-t / (5 S)).",
            "Drawing against R anew at each check compounds: a memory checked daily survives with the product of "
            "all R. The mode `hazard` draws against R now over R at the last check.",
            "Keeping everything is the upper bound of C: forgetting gains size, not recall.",
            "LRU (keep what was written or recalled last) needs no strength and no curve, and beats MemoryBank in C: "
            "a memory recalled every second day still faces a draw each day, and one unlucky draw is final. It is our "
            "baseline, not the paper's.",
            "Not run: answers by a language model, with and without retrieved turns (optional, on a GPU).",
        ],
    )


Parts = tuple[list[Table], list[Claim], list[Figure]]


def _retrieval(size: Size) -> tuple[list[Table], list[Claim], list[Figure], list[str]]:
    paths = [data_file("memorybank", name) for name in FILES]
    if paths[0] is None or paths[1] is None:
        return [], [], [], ["A: " + missing("memorybank", *FILES)]
    data, questions = read_json(paths[0]), dated_questions(read_json(paths[1]))
    if size == "smoke":
        users = {question.user for question in questions[:3]}
        data = {user: document for user, document in data.items() if user.strip() in users}
        questions = [question for question in questions if question.user in users]
    rates = hit_rates(data, questions, cached_embedder(size))
    dense, random = rates["dense"][-1], rates["random"][-1]
    table = Table(
        f"A: day hit@k on {len(questions)} questions that name a day",
        ("method", *(f"hit@{k}" for k in KS)),
        [(name, *values) for name, values in rates.items()],
    )
    claims = [
        Claim("A: hit@6 of dense retrieval", dense, 0.80, paper="retrieval accuracy 0.763 to 0.814 (en, by hand)"),
        Claim("A: hit@6 of dense retrieval over random turns", dense - random, 0.25),
    ]
    return [table], claims, [], []


def _survival(size: Size, seeds: tuple[int, ...]) -> Parts:
    runs: dict[str, list[Survival]] = {
        name: [survival(ForgettingCurve(kind), seed, mode=mode) for seed in seeds] for name, kind, mode in CURVES
    }
    means = {
        name: [float(np.mean([getattr(one, what) for one in of])) for what in ("core", "other")]
        + [float(np.mean([one.size[-1] for one in of]))]
        for name, of in runs.items()
    }
    written = 300
    table = Table(
        f"B: survival at day 30 of memories older than 5 days (mean of {len(seeds)} seeds)",
        ("curve", "core", "other", "alive", "written"),
        [(name, *values, written) for name, values in means.items()],
    )
    core, other, alive = means["5 S"]
    as_written = means["code as written"]
    claims = [
        Claim("B: survival of core over other memories, 5 S", core - other, 0.20),
        Claim("B: survival of core over other, code as written", as_written[0] - as_written[1], 0.0, "<"),
        Claim("B: share of the memories that is stored at the end, 5 S", alive / written, 0.25, "<="),
    ]
    share = np.mean([one.share for one in runs["5 S"]], axis=0)
    figures = [
        Figure(
            "retention",
            "Retention of three memories by R = exp(-t / (5 S)). Each recall lifts it to 1 and adds 1 to S, so that "
            "the next fall is slower.",
            _draw_retention,
            "Retention over 30 days of a memory never recalled, recalled twice, and recalled every third day",
        ),
        Figure(
            "survival",
            "Of the memories of each day (upwards), the share that is left on each later day (to the right). Each row "
            "fades towards the one memory in ten that is recalled, and what chance has spared.",
            lambda axes: _draw_survival(axes, share),
            "Heat map of the share of memories left, by the day written and the day now",
            (7.0, 4.6),
        ),
    ]
    return [table], claims, figures


def _answers(size: Size, seeds: tuple[int, ...], progress: Progress) -> Parts:
    days = 20 if size == "smoke" else 60
    hits: dict[Policy, list[float]] = {policy: [] for policy in POLICIES}
    sizes: dict[Policy, list[Any]] = {policy: [] for policy in POLICIES}
    for i, seed in enumerate(seeds):
        progress("answers after forgetting", 0.5 + 0.5 * i / len(seeds))
        said = stream(seed, days=days)
        bank = answers(said, "memorybank", seed)
        for policy in POLICIES:
            same = None if policy in ("memorybank", "none") else bank.size
            result = bank if policy == "memorybank" else answers(said, policy, seed, sizes=same)
            hits[policy].append(result.hit)
            sizes[policy].append(result.size)
    mean = {policy: float(np.mean(values)) for policy, values in hits.items()}
    spread = {policy: float(np.std(values)) for policy, values in hits.items()}
    table = Table(
        f"C: hit@6 on questions about core memories (mean and standard deviation over {len(seeds)} seeds)",
        ("policy", "hit@6", "sd", "stored at the end"),
        [(policy, mean[policy], spread[policy], float(np.mean([s[-1] for s in sizes[policy]]))) for policy in POLICIES],
    )
    claims = [
        Claim("C: hit@6 of MemoryBank over FIFO of the same size", mean["memorybank"] - mean["fifo"], 0.05),
        Claim("C: hit@6 of MemoryBank over LRU of the same size", mean["memorybank"] - mean["lru"], 0.0),
    ]
    series = {
        "MemoryBank": np.mean(sizes["memorybank"], axis=0),
        "keeps all": np.mean(sizes["none"], axis=0),
    }
    figures = [
        Figure(
            "answers",
            "Answers about core memories from the six nearest, by what was kept. All but `none` keep as many memories "
            "as MemoryBank does; bars show one standard deviation.",
            lambda axes: _draw_answers(axes, mean, spread),
            "Bars of hit@6 by policy",
            (7.0, 3.0),
        ),
        Figure(
            "store-size",
            "Memories stored when each day's questions are asked: forgetting bounds the store.",
            lambda axes: _draw_sizes(axes, series),
            "Number of stored memories by day, with and without forgetting",
        ),
    ]
    return [table], claims, figures


def _draw_retention(axes: Axes) -> None:
    days = np.linspace(0, 30, 601)
    recalled: dict[str, list[int]] = {"never recalled": [], "twice": [4, 10], "every third day": list(range(3, 31, 3))}
    retention_curves(axes, days, {label: _with_recalls(days, on) for label, on in recalled.items()})
    axes.set_xlabel("days since it was written")
    axes.set_xlim(0, 30)


def _with_recalls(days: Any, recalls: list[int]) -> Any:
    events = np.array([0, *recalls])
    strength = np.searchsorted(events, days, side="right")
    return ForgettingCurve().retention(days - events[strength - 1], strength)


def _draw_survival(axes: Axes, share: Any) -> None:
    days = share.shape[0]
    heatmap(axes, share, "share left", (-0.5, days + 0.5, -0.5, days - 0.5))
    axes.set_xlabel("day now")
    axes.set_ylabel("day written")


def _draw_answers(axes: Axes, mean: dict[Policy, float], spread: dict[Policy, float]) -> None:
    names = {"memorybank": "MemoryBank", "none": "none: keeps all", "fifo": "FIFO", "random": "random", "lru": "LRU"}
    order = sorted(mean, key=lambda policy: -mean[policy])
    bars(axes, [names[p] for p in order], [mean[p] for p in order], [spread[p] for p in order], ["MemoryBank"])
    axes.set_xlabel("hit@6 on core memories")


def _draw_sizes(axes: Axes, series: dict[str, Any]) -> None:
    for values in series.values():
        axes.plot(np.arange(len(values)), values)
    axes.set_ylim(0, None)
    axes.set_xlabel("day")
    axes.set_ylabel("memories stored")
    label_ends(axes, len(next(iter(series.values()))) - 1, {name: float(v[-1]) for name, v in series.items()})
