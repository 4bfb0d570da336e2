"""The parts that rehearsal-free losses are put together from: a classification, and terms that hold what was learned.

A term is asked for its value in each step and told when a task begins and ends. It keeps copies of parameters or of the
model, never an example. Source of the terms: arXiv 2203.17269, section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from halflife.continual.distillation import feature_distance, sigmoid_targets, soft_targets
from halflife.continual.examples import Examples
from halflife.continual.importance import ByName, importance, penalty, snapshot
from halflife.errors import InvalidInput

Filter: TypeAlias = Literal["all", "attention", "qkv"] | Callable[[str], bool]
"""Which parameters a term is about, by their names."""

_ATTENTION = ("attn", "attention", "in_proj", "out_proj", "q_proj", "k_proj", "v_proj", "qkv")
_QKV = ("in_proj", "q_proj", "k_proj", "v_proj", "qkv", "query", "key", "value")


def chosen(names: Sequence[str], which: Filter) -> list[str]:
    """The names that a filter lets through.

    `qkv` takes the projections of self-attention, fused (`in_proj_weight`, `qkv.weight`) or one each (`q_proj`,
    `query`); `attention` also that of its output.

    Raises
    ------
    InvalidInput: there is no such filter, or it lets nothing through.

    >>> chosen(["attn.in_proj_weight", "attn.out_proj.weight", "mlp.weight"], "qkv")
    ['attn.in_proj_weight']
    """
    if callable(which):
        kept = [name for name in names if which(name)]
    elif which == "all":
        kept = list(names)
    elif which in ("attention", "qkv"):
        marks = _ATTENTION if which == "attention" else _QKV
        kept = [name for name in names if any(mark in name.lower() for mark in marks)]
    else:
        raise InvalidInput(f"There is no filter {which!r}.", "Use all, attention, qkv, or a function of the name.")
    if not kept:
        raise InvalidInput(
            f"The filter {which!r} lets none of {len(names)} parameters through.", "Look at their names."
        )
    return kept


@dataclass(eq=False)
class Moment:
    """What a term can see of a step.

    Parameters
    ----------
    model: the network. teacher: its copy from the end of the last task; None in the first.
    x: inputs [B, ...]. features: [B, d]. logits: [B, C]. teacher_features, teacher_logits: of the teacher, or None.
    old: the classes of earlier tasks. new: those of this task.
    """

    model: nn.Module
    teacher: nn.Module | None
    x: Tensor
    features: Tensor
    logits: Tensor
    teacher_features: Tensor | None
    teacher_logits: Tensor | None
    old: list[int]
    new: list[int]


class Term:
    """Something that is added to the classification loss."""

    lam: float = 1.0

    def begin(self, model: nn.Module) -> None:
        """The run begins; the model is as it starts."""

    def value(self, moment: Moment) -> Tensor | None:
        """The term, or None where it does not apply."""
        raise NotImplementedError

    def end(self, model: nn.Module, examples: Examples, rng: torch.Generator) -> None:
        """A task has ended."""

    def state_dict(self) -> dict[str, Any]:
        """What training changed."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""


@dataclass(eq=False)
class PredKD(Term):
    """Distillation of predictions on the old classes.

    Parameters
    ----------
    lam: its weight. form: `softmax` with a temperature, or `bce`: the old model's sigmoids. In `BCE` classification
        the latter is a part of the targets, as in LwF.MC; use `BCE(distil=True)` there instead of this term.
    """

    lam: float = 1.0
    form: Literal["bce", "softmax"] = "softmax"
    temperature: float = 2.0

    def value(self, moment: Moment) -> Tensor | None:
        """See `Term`."""
        if moment.teacher_logits is None:
            return None
        student, teacher = moment.logits[:, moment.old], moment.teacher_logits[:, moment.old]
        if self.form == "bce":
            return sigmoid_targets(student, teacher)
        return soft_targets(student, teacher, self.temperature)


@dataclass(eq=False)
class FeatKD(Term):
    """Squared distance of the features from the old model's."""

    lam: float = 0.03

    def value(self, moment: Moment) -> Tensor | None:
        """See `Term`."""
        if moment.teacher_features is None:
            return None
        return feature_distance(moment.features, moment.teacher_features)


@dataclass(eq=False)
class L2Anchor(Term):
    """Squared distance of the parameters from where they were.

    Parameters
    ----------
    lam: its weight. anchor: `previous`, the end of the last task; `pretrained` too, and in the first task the
        weights that the run began with: what a pre-trained start makes possible. which: of the parameters.
    """

    lam: float = 0.1
    anchor: Literal["previous", "pretrained"] = "previous"
    which: Filter = "all"

    def begin(self, model: nn.Module) -> None:
        """See `Term`."""
        self.held: ByName = self._part(snapshot(model)) if self.anchor == "pretrained" else {}

    def _part(self, values: ByName) -> ByName:
        return {name: values[name] for name in chosen(list(values), self.which)}

    def value(self, moment: Moment) -> Tensor | None:
        """See `Term`."""
        return penalty(moment.model, self.held) if self.held else None

    def end(self, model: nn.Module, examples: Examples, rng: torch.Generator) -> None:
        """See `Term`."""
        self.held = self._part(snapshot(model))

    def state_dict(self) -> dict[str, Any]:
        """See `Term`."""
        return {"held": self.held}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Term`."""
        self.held = state["held"]


@dataclass(eq=False)
class EWCAnchor(Term):
    """Distance of the parameters from where they were, weighed by the Fisher diagonal.

    Parameters
    ----------
    lam: its weight. mode: `sum` adds the Fishers of all tasks at the last anchor, `online` lets the old ones fade by
        one half. fisher: by the `true_label`, or labels `sampled` from the predictions. samples: for the estimate.
    """

    lam: float = 1000.0
    mode: Literal["sum", "online"] = "sum"
    fisher: Literal["true_label", "sampled"] = "true_label"
    samples: int = 200
    which: Filter = "all"

    def begin(self, model: nn.Module) -> None:
        """See `Term`."""
        self.held: ByName = {}
        self.weights: ByName = {}

    def value(self, moment: Moment) -> Tensor | None:
        """See `Term`."""
        return penalty(moment.model, self.held, self.weights) if self.held else None

    def end(self, model: nn.Module, examples: Examples, rng: torch.Generator) -> None:
        """See `Term`."""
        part = examples.shuffled(rng, self.samples)
        labels: Literal["true", "sampled"] = "true" if self.fisher == "true_label" else "sampled"
        new = importance(model, part.batches(64), per_sample=True, labels=labels, generator=rng)
        keep = 1.0 if self.mode == "sum" else 0.5
        names = chosen(list(new), self.which)
        self.weights = {n: new[n] + keep * self.weights[n] if n in self.weights else new[n] for n in names}
        now = snapshot(model)
        self.held = {name: now[name] for name in names}

    def state_dict(self) -> dict[str, Any]:
        """See `Term`."""
        return {"held": self.held, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Term`."""
        self.held, self.weights = state["held"], state["weights"]


@dataclass(eq=False)
class BCE:
    """Binary cross-entropy of every class seen: the form of the paper (LwF.MC).

    Parameters
    ----------
    distil: targets of old classes are the old model's sigmoids (the paper's PredKD); otherwise they are 0, which
        pushes the old classes down.
    """

    distil: bool = True

    def loss(self, moment: Moment, y: Tensor) -> Tensor:
        """Summed over classes, the mean over the batch."""
        target = F.one_hot(y, moment.logits.shape[1]).to(moment.logits)
        if self.distil and moment.teacher_logits is not None:
            target[:, moment.old] = moment.teacher_logits[:, moment.old].sigmoid()
        seen = [*moment.old, *moment.new]
        each = F.binary_cross_entropy_with_logits(moment.logits[:, seen], target[:, seen], reduction="none")
        return each.sum(1).mean()


@dataclass(eq=False)
class SoftmaxCE:
    """Cross-entropy over the classes `seen` so far, or over the `new` ones alone, which leaves old outputs alone."""

    active: Literal["new", "seen"] = "new"

    def loss(self, moment: Moment, y: Tensor) -> Tensor:
        """The mean over the batch."""
        classes = moment.new if self.active == "new" else [*moment.old, *moment.new]
        kept = torch.tensor(classes, device=y.device)
        return F.cross_entropy(moment.logits[:, kept], (y[:, None] == kept).int().argmax(1))
