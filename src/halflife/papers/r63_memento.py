"""Reproduction of Memento (arXiv 2508.16153): does a case memory help, does learning to choose, and from what."""

from __future__ import annotations

from halflife.agent.cases_mdp import Online
from halflife.errors import InvalidInput
from halflife.papers.data import data_file, missing, read_json
from halflife.papers.embedding import cached_embedder
from halflife.papers.r63_parts import Parts, Scale, beside, learning, released, sweep
from halflife.papers.r63_rows import FILES, read_rows
from halflife.papers.registry import paper
from halflife.papers.report import Report
from halflife.papers.run import Progress, Size

SPLIT_SEEDS = 3


def run(size: Size, seed: int, progress: Progress) -> Report:
    """All three CPU parts; `smoke` in miniature, with a hashing embedder."""
    if size == "gpu":
        raise InvalidInput("Memento has no gpu size here.", "Use cpu.")
    if size == "smoke":
        scale = Scale((seed, seed + 1), 12, Online(every=10, updates=3, batch=16, after=20), few=1)
    else:
        scale = Scale(tuple(range(seed, seed + 5)), 300, Online(), few=3)
    (tables, claims, figures), curves = learning(scale, lambda what, share: progress(what, 0.3 * share))
    tables.append(beside(scale, curves, lambda what, share: progress(what, 0.3 + 0.2 * share)))
    (rows_parts, note) = _released(size, seed, progress)
    for more in (rows_parts, sweep(scale, curves, lambda what, share: progress(what, 0.7 + 0.3 * share))):
        tables += more[0]
        claims += more[1]
        figures += more[2]
    return Report(
        paper=paper(63),
        size=size,
        seeds=scale.seeds,
        claim=(
            "An agent whose language model stays as it is gets better with experience, by recalling cases of what it "
            "tried and how that turned out; more so if which case to recall is learned. Over five iterations on "
            "DeepResearcher: no cases 78.65 to 84.47 %, similarity 79.84 to 84.85 %, learned choice 80.46 to 85.44 % "
            "(recalled); case memory gains 4.7 to 9.6 points on data of another kind (abstract)."
        ),
        setup=(
            "A (simulated): 1,500 tasks in five iterations. A task is a unit vector of a skill part (4 numbers, one of "
            "six classes, with noise) and a topic part (12 numbers, one of 40 directions, twice as long); the right "
            "plan is the class. The simulated model follows a good case in view with probability 0.9, and otherwise is "
            "right with 0.3 + 0.7/6. Cases are kept in the real store, K = 1. The learned choice is an MLP on [x, c, "
            "|x - c|, reward] with 64 units, trained online (20 steps of 128 rows every 10 tasks, Adam at 2e-3, after "
            "200 rows, similarity until then), and draws from softmax(Q / 0.5), Q in logits. B: the released 7,000 "
            "rows of 874 queries; a head like the released one (512 units) on fixed MiniLM vectors, split by row and "
            "by query. C: A with K = 1, 2, 4, 8; every case in view is credited with the outcome, as released."
        ),
        tables=tables,
        figures=figures,
        claims=claims,
        notes=[
            *note,
            "The bounds of A were set from a calibration of another implementation (similarity 0.41 to 0.57, learned "
            "choice 0.40 to 0.69, with a spread of 0.15 between seeds). It leaves open how long the two parts of a "
            "task are; the reading here was chosen for the similarity curve alone, before a policy was trained. Where "
            "skill is about as long as topic, the learned choice comes out ahead (other settings of A).",
            "Where topics dominate, 1,300 rows of experience, few of them with a case that helped, are not enough for "
            "the network to find the skill: it knows no better than similarity which cases help (the areas of A). "
            "Taking the best case instead of drawing one changes little.",
            "With several cases in view the simulated model follows any of the good ones, nearest or not, which is why "
            "a large K hurts here; a model that weighs its examples would suffer less.",
            "In B no query has rows of both labels, since all cases recalled for a query were given its outcome. Such "
            "rows can teach which queries are hard, and nothing about cases: a head that sees the query alone does "
            "better still. To rank cases, collect experience with K = 1.",
            "The paper fine-tunes the encoder along with the head; here it is fixed. Its gains were measured with "
            "GPT-4.1, o3 and o4-mini on the web, which is not repeated here.",
            "Not run: the full encoder (optional, on a GPU), and questions of another kind with real models.",
        ],
    )


def _released(size: Size, seed: int, progress: Progress) -> tuple[Parts, list[str]]:
    path = data_file("memento", FILES[0])
    if path is None:
        return ([], [], []), ["B: " + missing("memento", *FILES)]
    progress("B: vectors of queries and cases", 0.5)
    data = read_json(path)
    rows = read_rows(data[:400] if size == "smoke" else data, cached_embedder(size))
    seeds = range(seed, seed + (1 if size == "smoke" else SPLIT_SEEDS))
    return released(rows, seeds, lambda what, share: progress(what, 0.5 + 0.2 * share)), []
