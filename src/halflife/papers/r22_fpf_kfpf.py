"""Does Continual Learning Equally Forget All Parameters? (arXiv 2304.04158): reproduction of FPF and k-FPF.

What is run: where a network changes when the task changes; fine-tuning of those parts on the buffer after SGD, ER and
DER++, against fine-tuning of other parts and against the same passes spent otherwise; k-FPF with and without logits.
What is not: MedMNIST, Tiny ImageNet and PACS (not at hand), and the other hosts. No code of the paper is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from halflife.continual.groups import Dynamics
from halflife.continual.metrics import paired
from halflife.papers.r22_parts import AMOUNTS, Amount, Arm, Outcome, outcomes
from halflife.papers.registry import paper
from halflife.papers.report import Claim, Figure, Report
from halflife.papers.run import Progress, Size
from halflife.papers.style import PALETTE, label_ends
from halflife.papers.table import Table, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HOSTS = ("SGD", "ER", "DER++")
STREAMS = {"class": "new classes", "domain": "rotated pictures"}


def run(size: Size, seed: int, progress: Progress) -> Report:
    """All parts at one size."""
    amount = AMOUNTS[size]
    seeds = tuple(range(seed, seed + amount.seeds))
    done = outcomes(amount, seeds, progress)
    return Report(
        paper=paper(22),
        size=size,
        seeds=seeds,
        claim=(
            "Only few parameters change much when the task changes: those of norm layers and the last layer. To "
            "fine-tune these alone on a small buffer once after any method (FPF) raises its final accuracy by a large "
            "margin; to do so k times in place of replay at every step (k-FPF) is as accurate as the best replay "
            "methods at a fraction of their compute (abstract; the paper's numbers are not known here)."
        ),
        setup=_setup(amount),
        tables=[_arms_table(done), _dynamics_table(done), _steps_table(done)],
        claims=_claims(done, size),
        figures=_figures(done),
        notes=_notes(amount, done),
    )


def _setup(amount: Amount) -> str:
    s = amount.setting
    return (
        f"Class-incremental {amount.data}{', halved in height and width' if amount.half else ''}: 5 tasks of 2 "
        f"classes, {amount.per_class} training pictures a class, {amount.epochs} epochs a task, batches of "
        f"{amount.batch_size}, {amount.updates} updates. {amount.model}. Buffer: a reservoir of {amount.capacity}. "
        f"Hosts: plain SGD (lr {s.sgd}; it keeps the buffer and does not replay it), ER (lr {s.er}), DER++ (lr "
        f"{s.derpp}, alpha {s.alpha}, beta {s.beta}). FPF: {amount.steps} steps of {amount.batch_size} on balanced "
        f"batches, cosine from {', '.join(f'{s.fpf[h]} ({h})' for h in HOSTS)}; arms that train "
        f"hidden layers and leave the norm layers, {s.frozen_norm}. k-FPF-SGD: lr {s.k_sgd}, k times "
        f"{amount.k_steps} steps from {s.k_fpf}; + KD: alpha {s.kd}. Controls: every other choice of layers; ER's own "
        "step repeated as often as FPF's; ER with as many more replayed examples in each step; GDumb (a fresh network "
        f"fitted to a balanced buffer of {amount.capacity}, lr {s.gdumb}). Changes of parameters are also measured on "
        f"pictures rotated by {', '.join(f'{a:.0f}' for a in amount.angles)} degrees, a task each, by plain SGD."
    )


# -- tables -----------------------------------------------------------------------------------------------------------


def _of(done: Sequence[Outcome], arm: str, what: Callable[[Arm], float] = lambda one: one.accuracy) -> list[float]:
    return [what(one.arms[arm]) for one in done]


def _arms_table(done: Sequence[Outcome]) -> Table:
    rows: list[tuple[Any, ...]] = []
    for arm in done[0].arms:
        accuracy = _of(done, arm)
        host, _, change = arm.partition(" + ")
        gain = str(paired(accuracy, _of(done, host))) if change and host in HOSTS else None
        share = _mean(done, arm, lambda one: one.trained)
        rows.append((
            arm, spread(accuracy), gain, f"{100 * share:.1f}" if share else None,
            *(round(_mean(done, arm, what)) for what in (lambda one: one.stream, replayed, lambda one: one.extra)),
            _mean(done, arm, lambda one: one.flops) / 1e9 or None,
            f"{_mean(done, arm, lambda one: one.seconds):.1f}",
        ))  # fmt: skip
    return Table(
        f"Final accuracy and cost (mean ± sd over {len(done)} seeds; gains with 95% intervals, paired)",
        ("arm", "accuracy", "gain over its host", "% of parameters fine-tuned", "stream passes", "replay passes",
         "fine-tuning passes", "fine-tuning GFLOP", "seconds"),
        rows,
    )  # fmt: skip


def replayed(arm: Arm) -> float:
    """Examples passed from the buffer in training."""
    return float(arm.replay)


def _mean(done: Sequence[Outcome], arm: str, what: Callable[[Arm], float]) -> float:
    return float(np.mean(_of(done, arm, what)))


def _dynamics_table(done: Sequence[Outcome]) -> Table:
    rows = []
    for stream, name in STREAMS.items():
        for i, row in enumerate(done[0].dynamics[stream]):
            each = [one.dynamics[stream][i] for one in done]
            values = [
                float(np.mean([getattr(one, what) for one in each]))
                for what in ("sensitivity", "across", "within", "ratio", "raw_across", "raw_within")
            ]
            rows.append((name, row.group, row.size, *values))
    return Table(
        "Where the network changes under plain SGD (means over seeds)",
        ("stream", "group", "numbers", "S", "X (across tasks)", "W (within)", "X / W", "X raw", "W raw"),
        rows,
    )


def _steps_table(done: Sequence[Outcome]) -> Table:
    counts = list(next(iter(done[0].steps.values())))
    rows = [
        (f"{host} + norm + head", *(float(np.mean([one.steps[host][n] for one in done])) for n in counts))
        for host in done[0].steps
    ]
    return Table("Final accuracy by the number of FPF steps", ("arm", *(f"{n} steps" for n in counts)), rows)


# -- claims -----------------------------------------------------------------------------------------------------------


def _lead(table: Sequence[Dynamics], what: str, *groups: str) -> float:
    """How far the highest of some groups is above the highest of the others."""
    values = {row.group: getattr(row, what) for row in table}
    return float(max(values[g] for g in groups) - max(v for g, v in values.items() if g not in groups))


def _claims(done: Sequence[Outcome], size: Size) -> list[Claim]:
    def lead(stream: str, what: str, *groups: str) -> float:
        return float(np.mean([_lead(one.dynamics[stream], what, *groups) for one in done]))

    def gain(a: str, b: str) -> float:
        return paired(_of(done, a), _of(done, b)).mean

    fpf = "norm + head"
    finding = "norm layers and the last layer change most"
    claims = [
        Claim("A: S of the head over the largest of another group", lead("class", "sensitivity", "head"), 0.0, ">",
              finding),
        Claim("A: X / W of the head over the largest of another group", lead("class", "ratio", "head"), 0.0, ">",
              finding),
        Claim("B: accuracy of SGD + FPF over SGD", gain(f"SGD + {fpf}", "SGD"), 0.25, paper="a large margin"),
        Claim("B: accuracy of FPF over ER and over DER++, mean",
              (gain(f"ER + {fpf}", "ER") + gain(f"DER++ + {fpf}", "DER++")) / 2, 0.01, paper="a large margin"),
        Claim("C: FPF of norm + head over FPF of hidden layers, on ER", gain(f"ER + {fpf}", "ER + hidden"), 0.01),
        Claim("C: FPF of norm + head over fine-tuning all, on ER", gain(f"ER + {fpf}", "ER + all"), -0.01),
    ]  # fmt: skip
    if size == "gpu":
        norm = lead("domain", "sensitivity", "norm", "norm statistics")
        claims.append(
            Claim("A: S of norm over the largest of another group, rotated pictures", norm, 0.0, ">", "norm dominates")
        )
    return claims


def _notes(amount: Amount, done: Sequence[Outcome]) -> list[str]:
    def against(a: str, b: str) -> str:
        return str(paired(_of(done, a), _of(done, b)))

    more = next(arm for arm in done[0].arms if arm.startswith("ER, "))
    fpf = "ER + norm + head"
    ks = [arm for arm in done[0].arms if arm.startswith("k-FPF")]
    both = "; ".join(
        f"{arm}: {against(arm, 'ER')} with {_mean(done, arm, lambda one: one.extra + one.replay):,.0f} passes"
        for arm in ks
    )
    parameters = [[row for row in one.dynamics["class"] if row.trainable] for one in done]
    ahead = [float(np.mean([_lead(table, what, "head") for table in parameters])) for what in ("sensitivity", "ratio")]
    along = {arm: np.mean([np.mean([a for _, a in one.curves[arm]]) for one in done]) for arm in done[0].curves}
    return [
        f"D (reported, not claimed): accuracy against ER, which replays {_mean(done, 'ER', replayed):,.0f} examples. "
        f"{both}. The shorter the tasks, the cheaper is replay at every step.",
        f"Fair controls: {fpf} against ER with its own step repeated as often {against(fpf, 'ER + its own steps')}; "
        f"against ER that replays as much more during training {against(fpf, more)}.",
        f"SGD + norm + head against GDumb, which uses the buffer alone: {against('SGD + norm + head', 'GDumb')}; the "
        f"head alone, a linear probe fitted to the buffer: {against('SGD + head', 'GDumb')}.",
        f"Part of the gain on ER corrects the bias of the head, as balanced batches do: the head alone gives "
        f"{against('ER + head', 'ER')}, the norm layers alone {against('ER + norm', 'ER')}.",
        "Accuracy on the tasks seen so far, mean over tests all along the run: "
        + ", ".join(f"{arm} {value:.3f}" for arm, value in along.items())
        + ". Between two fine-tunings k-FPF forgets as SGD does.",
        "A counts running statistics as a group, as the paper does. Among parameters alone the head leads the next "
        f"group by {ahead[0]:+.3f} in S and by {ahead[1]:+.2f} in X / W.",
        "The normalisation of the paper's measure was not verified. Here a change is divided by the mean size of a "
        "number of the group; X / W does not depend on it. The columns without it are in the table.",
        "Settings of the cpu size were chosen on a fifth of the training pictures held out, on a seed that is not "
        "reported, by grids of learning rates for hosts, FPF and controls alike (`halflife.papers.r22_choose`). The "
        "other sizes use one learning rate for all: they are not tuned.",
        "All fine-tunings of a host start from copies of one trained network. An arm's seconds include its host's.",
        "What k-FPF-SGD + KD has under replay are the passes that give the logits to be stored.",
        "GDumb's passes are those of fitting its buffer, without those over the stream, of which it learns nothing.",
    ]  # fmt: skip


# -- figures ----------------------------------------------------------------------------------------------------------


def _figures(done: Sequence[Outcome]) -> list[Figure]:
    return [
        Figure(
            "sensitivity",
            "Share of a group in the change across tasks (S, log scale), mean over seeds, where tasks bring new "
            "classes and where they rotate the same pictures.",
            lambda axes: _draw_sensitivity(axes, done),
            "Bars of sensitivity by group of parameters, for new classes and for rotated pictures",
            (7.0, 3.8),
        ),
        Figure(
            "cost",
            "Final accuracy against the examples passed from the buffer, in training and in fine-tuning. Arrows lead "
            "from a host to the host with FPF.",
            lambda axes: _draw_cost(axes, done),
            "Scatter of accuracy against replayed passes",
            (7.0, 4.6),
        ),
        Figure(
            "anytime",
            "Accuracy on the tasks seen so far while learning, mean over seeds. k-FPF rises with each "
            "fine-tuning and falls until the next.",
            lambda axes: _draw_anytime(axes, done),
            "Curves of accuracy against updates for ER and k-FPF",
            (7.0, 3.8),
        ),
    ]


def _draw_sensitivity(axes: Axes, done: Sequence[Outcome]) -> None:
    groups = [row.group for row in done[0].dynamics["class"]]
    places = np.arange(len(groups))[::-1].astype(float)
    for shift, (stream, name), color in zip((0.2, -0.2), STREAMS.items(), PALETTE, strict=False):
        means = [np.mean([one.dynamics[stream][i].sensitivity for one in done]) for i in range(len(groups))]
        axes.barh(places + shift, means, height=0.36, color=color, label=name)
        for place, value in zip(places + shift, means, strict=True):
            axes.annotate(f"{value:.2g}", (value, place), (4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.set_yticks(places, groups)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False)
    axes.set_xlabel("S: share of the change across tasks")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.14), ncols=2)


def _draw_cost(axes: Axes, done: Sequence[Outcome]) -> None:
    def point(arm: str) -> tuple[float, float]:
        return _mean(done, arm, lambda one: one.replay + one.extra) / 1000, float(np.mean(_of(done, arm)))

    for host, color in zip(HOSTS, PALETTE, strict=False):
        start, end = point(host), point(f"{host} + norm + head")
        axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": color, "shrinkA": 5, "shrinkB": 5})
        axes.plot(*start, "o", color=color, markerfacecolor="white", label=host)
        axes.plot(*end, "o", color=color, label=f"{host} + FPF")
    others = [arm for arm in done[0].arms if arm == "GDumb" or arm.startswith("k-FPF")]
    for arm, color in zip(others, PALETTE[3:], strict=False):
        axes.plot(*point(arm), "s", color=color, label=arm)
    axes.legend(loc="lower right", ncols=2)
    axes.margins(x=0.05, y=0.1)
    axes.set_xlabel("examples passed from the buffer, thousands")
    axes.set_ylabel("final accuracy")


def _draw_anytime(axes: Axes, done: Sequence[Outcome]) -> None:
    ends = {}
    for name in done[0].curves:
        curves = [one.curves[name] for one in done]
        updates = [update for update, _ in curves[0]]
        mean = np.mean([[a for _, a in curve] for curve in curves], axis=0)
        axes.plot(updates, mean, linewidth=1.5)
        ends[name] = float(mean[-1])
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("update")
    axes.set_ylabel("accuracy, tasks seen so far")
    label_ends(axes, updates[-1], ends)
