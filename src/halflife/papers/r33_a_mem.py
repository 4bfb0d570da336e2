"""Reproduction of A-MEM (arXiv 2502.12110): notes found by what they are about, links, and evolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from halflife.errors import InvalidInput
from halflife.papers.embedding import Cached, cached_embedder
from halflife.papers.r33_parts import (
    ARMS,
    CONTROL,
    FEW,
    KS,
    RAW,
    SUMMED,
    WORDS,
    Floats,
    Found,
    arms,
    build,
    found,
    joined,
    plain,
)
from halflife.papers.r33_talks import CHOSEN, FILE, Talk, invented, shipped
from halflife.papers.registry import paper
from halflife.papers.report import Claim, Figure, Report
from halflife.papers.run import Progress, Size
from halflife.papers.style import PALETTE
from halflife.papers.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

K = 10
EVOLVED, UNCHANGED = "evolution", "no evolution"
SYSTEM, RULES = "the system, observations as contexts", "the system, rules alone"
PLAIN = "the plain memory, no notes"
LINKS = 3  # of the ten places, where links take part in a recall
BY_LINK = f", {LINKS} of {K} by links"
LINKED, ADJACENT = "cosine links", "adjacent turns"
OLDER = 0.5  # evidence is old when all of it stands in this first share of a conversation


def run(size: Size, seed: int, progress: Progress) -> Report:
    """Parts A, B and C on two conversations of LoCoMo, A also on all there are; `smoke` on small invented ones."""
    if size == "gpu":
        raise InvalidInput("A-MEM has no gpu size here.", "Use cpu.")
    talks = invented(seed) if size == "smoke" else shipped(seed)
    chosen = [talk for talk in talks if talk.history.id in CHOSEN] or talks[:2]
    embedder = cached_embedder(size)
    of: dict[str, Found] = {}
    for n, talk in enumerate(talks):
        progress(f"keys of {talk.history.id}", 0.5 * n / len(talks))
        of[talk.history.id] = arms(talk, embedder, ARMS if talk in chosen else FEW)
    main = joined([of[talk.history.id] for talk in chosen])
    systems = _systems(chosen, embedder, progress)
    old = np.array(systems.found.when) <= OLDER
    change = systems.found.recall(EVOLVED, K) - systems.found.recall(UNCHANGED, K)
    names = " and ".join(talk.history.id for talk in chosen)
    return Report(
        paper=paper(33),
        size=size,
        seeds=(seed,),
        claim=(
            "An agent's memory of notes, in which a language model gives each message keywords, tags and a context, "
            "links it to its neighbours and lets these evolve, answers questions about long conversations better than "
            "one of raw turns (LoCoMo, multi-hop F1 27.0 against 25.0 with the whole conversation in view and 26.7 "
            "for MemGPT, temporal 45.9 against 18.4 and 25.5), from an eighth of the text; without links and evolution "
            "it does worse (all as recalled from the paper)."
        ),
        setup=_setup(size, chosen, talks, names),
        tables=[
            _arms_table(main, names),
            _kinds_table(main, names),
            _links_table(main, names),
            _evolution_table(change, old, seed),
            _system_table(systems.found, main),
            _every_table(of),
        ],
        claims=_claims(main),
        figures=_figures(main, systems, chosen, names),
        notes=_notes(main, systems, talks, size),
    )


@dataclass(frozen=True)
class Systems:
    """What the memory system itself found, and of the last conversation each note's strongest link, and all links."""

    found: Found
    edges: Sequence[tuple[int, int]]
    links: int
    evolved: int
    notes: int


def _systems(talks: Sequence[Talk], embedder: Cached, progress: Progress) -> Systems:
    """Part C and the system as it stands: three memories of each conversation."""
    parts, edges, links, evolved, notes = [], list[tuple[int, int]](), 0, 0, 0
    for n, talk in enumerate(talks):
        progress(f"the system on {talk.history.id}", 0.5 + 0.5 * n / len(talks))
        told = build(talk, embedder, contexts=True)
        still = build(talk, embedder, contexts=True, evolve=False)
        rules = build(talk, embedder, contexts=False)
        rankings = {SYSTEM: told.rankings(talk, K), RULES: rules.rankings(talk, K), PLAIN: plain(talk, embedder, K)}
        rankings |= {
            f"{SYSTEM}{BY_LINK}": told.rankings(talk, K, LINKS),
            f"{RULES}{BY_LINK}": rules.rankings(talk, K, LINKS),
        }
        for name, built in ((EVOLVED, told), (UNCHANGED, still)):
            built.by_meaning_alone()
            rankings[name] = built.rankings(talk, K)
        parts.append(found(talk, rankings))
        made = told.notes()
        (edges, links), evolved = told.edges(), evolved + sum(note.version > 1 for note in made)
        notes += len(made)
        for built in (told, still, rules):
            built.memory.close()
    return Systems(joined(parts), edges, links, evolved, notes)


# -- claims and tables -------------------------------------------------------------------------------------------------


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _claims(main: Found) -> list[Claim]:
    at = {(arm, k): _mean(main.recall(arm, k)) for arm in (RAW, SUMMED, LINKED) for k in (5, K)}
    return [
        Claim("A: recall@10, enriched (summed) less raw", at[SUMMED, 10] - at[RAW, 10], 0.12),
        Claim("A: recall@5 of enriched (summed) less recall@10 of raw", at[SUMMED, 5] - at[RAW, 10], 0.0),
        Claim("B: recall of 5 direct and 5 linked notes less that of the 5", at[LINKED, 10] - at[SUMMED, 5], 0.03),
    ]


def _arms_table(main: Found, names: str) -> Table:
    rows = [(arm, *(_mean(main.recall(arm, k)) for k in KS)) for arm in ARMS]
    return Table(f"A: evidence recall@k, {names}", ("key", *(f"@{k}" for k in KS)), rows)


def _kinds_table(main: Found, names: str) -> Table:
    kinds = np.array(main.kinds)
    rows = [
        (kind, int((kinds == kind).sum()), *(_mean(main.recall(arm, K)[kinds == kind]) for arm in ARMS))
        for kind in sorted(set(main.kinds))
    ]
    return Table(f"A: evidence recall@{K} by type of question, {names}", ("type", "questions", *ARMS), rows)


def _links_table(main: Found, names: str) -> Table:
    multi = np.array(main.kinds) == "multi-hop"
    ways = (
        ("5 direct", SUMMED, 5),
        ("5 direct and their best cosine links", LINKED, K),
        ("5 direct and an adjacent turn of each", ADJACENT, K),
        ("10 direct", SUMMED, K),
    )
    rows = [(name, _mean(main.recall(way, k)), _mean(main.recall(way, k)[multi])) for name, way, k in ways]
    return Table(f"B: links under enriched (summed) keys, {names}", ("notes read", "recall", "multi-hop"), rows)


def _evolution_table(change: Floats, old: np.ndarray, seed: int) -> Table:
    rows = []
    for name, some in (("older half", change[old]), ("the rest", change[~old]), ("all", change)):
        low, high = interval(some, seed)
        rows.append((name, len(some), _mean(some), low, high, int((some > 0).sum()), int((some < 0).sum())))
    columns = ("evidence in the", "questions", "change", "low", "high", "better", "worse")
    return Table(f"C: change of evidence recall@{K} by evolution, with a 95% bootstrap interval", columns, rows)


def interval(values: Floats, seed: int, draws: int = 2000) -> tuple[float, float]:
    """A 95% bootstrap interval of the mean.

    >>> interval(np.ones(5), seed=0)
    (1.0, 1.0)
    """
    if not len(values):
        return float("nan"), float("nan")
    means = np.random.default_rng(seed).choice(values, (draws, len(values))).mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def _system_table(systems: Found, main: Found) -> Table:
    rows = [
        ("enriched (summed) vectors, for comparison", _mean(main.recall(SUMMED, 5)), _mean(main.recall(SUMMED, K))),
        ("the system by meaning alone", _mean(systems.recall(EVOLVED, 5)), _mean(systems.recall(EVOLVED, K))),
        *(
            (f"{way}, by its own search", _mean(systems.recall(way, 5)), _mean(systems.recall(way, K)))
            for way in (SYSTEM, f"{SYSTEM}{BY_LINK}", RULES, f"{RULES}{BY_LINK}", PLAIN)
        ),
    ]
    return Table("The memory system", ("what searches", "recall@5", f"recall@{K}"), rows)


def _every_table(of: dict[str, Found]) -> Table:
    few = {name: replace(one, rankings={arm: one.rankings[arm] for arm in FEW}) for name, one in of.items()}
    few["all"] = joined(list(few.values()))
    rows = [(name, len(one.gold), *(_mean(one.recall(arm, K)) for arm in FEW)) for name, one in few.items()]
    return Table(f"A on every conversation there is: evidence recall@{K}", ("conversation", "questions", *FEW), rows)


# -- words -------------------------------------------------------------------------------------------------------------


def _setup(size: Size, chosen: Sequence[Talk], talks: Sequence[Talk], names: str) -> str:
    turns = sum(len(talk.history.items) for talk in chosen)
    asked = sum(len(talk.questions) for talk in chosen)
    data = "Invented conversations in LoCoMo's schema" if size == "smoke" else f"LoCoMo (`locomo/{FILE}`)"
    return (
        f"{data}: {names}, {turns} turns and {asked} questions of categories 1 to 4 that have evidence; the last table "
        f"has all {len(talks)} conversations that are there. Measure: evidence recall@k, the share of a question's "
        "gold turns among the k found, averaged over questions. No language model is run: the observations that the "
        "data ship for a turn stand in for the context that a model would write. A: the raw turn, the normalised sum "
        "of its vector and those of its observations, one vector of both texts, and BM25. Control: the same turns, and "
        "as many sentences as they have observations, drawn from the summary of the session. B: five direct hits and "
        f"the nearest note of each with a cosine of 0.5 or more. C: `halflife.agent.amem` with the observations given "
        "as contexts and the rule that appends shared keywords to a neighbour's context, against the same without "
        f"evolution, searched by meaning alone; older evidence stands in the first {OLDER:.0%} of a conversation. "
        f"Vectors are {'hashed' if size == 'smoke' else 'of all-MiniLM-L6-v2'}; turns hold the caption of an image."
    )


def _notes(main: Found, systems: Systems, talks: Sequence[Talk], size: Size) -> list[str]:
    raw, summed, control, words = (_mean(main.recall(arm, K)) for arm in (RAW, SUMMED, CONTROL, WORDS))
    linked, ten = _mean(main.recall(LINKED, K)), summed
    notes = [
        f"At an equal budget of ten notes, five direct hits with five linked ones have recall {linked:.3f}, ten direct "
        f"hits {ten:.3f}: {_verdict(linked, ten)} Links here are of similarity; those that a language model chooses "
        "may differ.",
        f"Control: observations change recall@{K} by {summed - raw:+.3f}, as many sentences of the session's summary "
        f"on the same turns by {control - raw:+.3f}. So much can come from marking which turns matter and from "
        "what the session was about.",
        f"BM25 over raw turns has recall@{K} {words:.3f}, against {summed:.3f} for enriched vectors and {raw:.3f} for "
        "raw ones: much of what enrichment adds to vectors, words find without it. The memory's own search uses both.",
        "Observations were written from the conversations, not from the questions. Turns with evidence mostly have "
        "one, others often not, so that enrichment tells salient turns apart.",
        f"C: {systems.evolved} of {systems.notes} notes evolved. The rule appends only words that both notes have as "
        "keywords; a model that rewrites contexts may change more, for better or worse.",
        "Not run: answers and their F1, LLM-written notes and links, and the paper's ablation. The paper's figures are "
        "of answers, so none stands beside these.",
        "The paper tunes k by category and model on the test questions, chooses the prompt by the question's category, "
        "and shows the adversarial answer in its prompt. Category 5 is left out here.",
    ]
    if size != "smoke" and not {talk.history.id for talk in talks} >= set(CHOSEN):
        notes.append(f"{' and '.join(CHOSEN)} are not both in the data: the conversations that are stand in for them.")
    return notes


def _verdict(linked: float, direct: float) -> str:
    return "links do better." if linked > direct else "links of similarity do not beat more direct hits."


# -- figures -----------------------------------------------------------------------------------------------------------


def _figures(main: Found, systems: Systems, chosen: Sequence[Talk], names: str) -> list[Figure]:
    last = chosen[-1]
    return [
        Figure(
            "recall-k",
            f"Evidence recall@k by type of question, {names}: the raw turn, the turn enriched by its observations, the "
            "control, and words.",
            partial(_draw_recall, main=main),
            "Evidence recall against k for five kinds of key, in one panel a type of question",
            (10.0, 3.9),
        ),
        Figure(
            "links",
            f"The link graph of {last.history.id}: its turns clockwise from the top, coloured by session, with the "
            f"strongest link of each note, {len(systems.edges)} of {systems.links} links.",
            partial(_draw_links, talk=last, edges=systems.edges),
            "Notes of one conversation on a circle, with chords for their links, coloured by session",
            (6.4, 6.4),
        ),
    ]


def _draw_recall(axes: Axes, main: Found) -> None:
    figure, kinds = axes.figure, np.array(main.kinds)
    axes.remove()
    names = sorted(set(main.kinds))
    panels = np.atleast_1d(figure.subplots(1, len(names), sharey=True))
    for panel, name in zip(panels, names, strict=True):
        some = kinds == name
        for arm, color in zip(ARMS, PALETTE, strict=False):
            values = [_mean(main.recall(arm, k)[some]) for k in KS]
            style = "--" if arm in (CONTROL, WORDS) else "-"
            panel.plot(KS, values, color=color, marker="o", markersize=3.5, linestyle=style, label=arm)
        panel.set_title(f"{name} ({int(some.sum())})")
        panel.set_xticks(KS, [str(k) for k in KS])
        panel.set_ylim(0, 1)
        panel.set_xlabel("k")
    panels[0].set_ylabel("evidence recall@k")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(ARMS))


def _draw_links(axes: Axes, talk: Talk, edges: Sequence[tuple[int, int]]) -> None:
    from matplotlib import colormaps
    from matplotlib.collections import PathCollection
    from matplotlib.path import Path

    curve = [Path.MOVETO, Path.CURVE3, Path.CURVE3]
    items = talk.history.items
    sessions = list(dict.fromkeys(item.session for item in items))
    shade = colormaps["viridis"](np.linspace(0.0, 0.95, len(sessions)))
    color = np.array([shade[sessions.index(item.session)] for item in items])
    angle = np.pi / 2 - 2 * np.pi * np.arange(len(items)) / len(items)
    place = np.column_stack([np.cos(angle), np.sin(angle)])
    chords = [Path([place[a], (place[a] + place[b]) / 4, place[b]], curve) for a, b in edges]
    shades = color[[min(edge) for edge in edges]]
    axes.add_collection(PathCollection(chords, facecolors="none", edgecolors=shades, linewidths=0.8, alpha=0.6))
    axes.scatter(place[:, 0], place[:, 1], s=14, c=color, zorder=3)
    for n, session in enumerate(sessions):
        middle = angle[[i for i, item in enumerate(items) if item.session == session]].mean()
        axes.text(1.09 * np.cos(middle), 1.09 * np.sin(middle), str(n + 1), ha="center", va="center", fontsize=8)
    axes.set_aspect("equal")
    axes.set_xlim(-1.18, 1.18)
    axes.set_ylim(-1.18, 1.18)
    axes.axis("off")
