"""Groups of parameters, and how much each changes within a task and across tasks.

The measurement of Does Continual Learning Equally Forget All Parameters? (arXiv 2304.04158); the fine-tuning that it
leads to is in `finetuning` and `methods.fpf`. No code of the paper is known and its exact normalisation could not be
verified: the definitions here are this project's, and the table has the changes without normalisation beside them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from halflife.errors import InvalidInput

Scheme: TypeAlias = Literal["type", "module"] | Callable[[str, nn.Module], str]
"""How parameters are grouped: by what their layer is, by layer, or by a function of a name and the module it is of."""
Groups: TypeAlias = dict[str, list[str]]

STATISTICS = ("running_mean", "running_var")
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)
_SHORTCUTS = ("shortcut", "downsample")


def group_parameters(model: nn.Module, scheme: Scheme = "type") -> Groups:
    """Every parameter in exactly one group, and the running statistics of norm layers in groups of their own.

    Parameters
    ----------
    scheme: `type`: `first` (the first layer), `conv N` (convolutions with N channels out: those of a stage),
        `shortcut` (convolutions around a block), `linear` (hidden layers of units), `norm` (scale and shift),
        `norm statistics` (running mean and variance, which are no parameters), `head` (the module of that name, or
        the last layer) and `other`.
        `module`: one for each layer, by its name; its statistics are `NAME statistics`.
        A function of the full name and of the module it belongs to gives the name of the group.

    Returns
    -------
    group -> full names, in the order of the model.

    >>> from halflife.continual import MLP
    >>> group_parameters(MLP((5,), norm=True).build((1, 2, 2), 3))["norm statistics"]
    ['body.2.running_mean', 'body.2.running_var']
    """
    if scheme == "type":
        scheme = _by_type(model)
    elif scheme == "module":
        scheme = _by_module
    elif not callable(scheme):
        raise InvalidInput(f"There is no scheme {scheme!r}.", "Use type, module, or a function of name and module.")
    groups: Groups = {}
    known: set[int] = set()
    for path, module in model.named_modules():
        found = [(name, p) for name, p in module.named_parameters(recurse=False) if id(p) not in known]
        known |= {id(p) for _, p in found}  # a parameter that two layers share counts once
        if isinstance(module, _NORMS):
            found += [(name, b) for name, b in module.named_buffers(recurse=False) if name in STATISTICS]
        for name, _ in found:
            full = f"{path}.{name}" if path else name
            groups.setdefault(scheme(full, module), []).append(full)
    return groups


def _by_module(name: str, module: nn.Module) -> str:
    path, _, last = name.rpartition(".")
    return f"{path} statistics" if last in STATISTICS else path or "model"


def _by_type(model: nn.Module) -> Callable[[str, nn.Module], str]:
    layers = [m for m in model.modules() if not isinstance(m, _NORMS) and list(m.parameters(recurse=False))]
    head = getattr(model, "head", None)
    heads = set(head.modules()) if isinstance(head, nn.Module) and list(head.parameters()) else set(layers[-1:])
    first = next((layer for layer in layers if layer not in heads), None)

    def group(name: str, module: nn.Module) -> str:
        if module in heads:
            return "head"
        if isinstance(module, _NORMS):
            return "norm statistics" if name.rpartition(".")[2] in STATISTICS else "norm"
        if module is first:
            return "first"
        if isinstance(module, nn.modules.conv._ConvNd):
            return "shortcut" if any(word in name for word in _SHORTCUTS) else f"conv {module.out_channels}"
        return "linear" if isinstance(module, nn.Linear) else "other"

    return group


def names_of(groups: Mapping[str, Sequence[str]], chosen: Iterable[str]) -> list[str]:
    """The names in some groups.

    Raises
    ------
    InvalidInput: a group that there is not.

    >>> names_of({"a": ["x"], "b": ["y", "z"]}, ["b"])
    ['y', 'z']
    """
    wanted = list(chosen)
    unknown = [group for group in wanted if group not in groups]
    if unknown or not wanted:
        what = f"There is no group {unknown[0]!r} in this model." if unknown else "No group was chosen."
        raise InvalidInput(what, f"There are {', '.join(groups)}.")
    return [name for group in wanted for name in groups[group]]


# -- measuring --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dynamics:
    """How a group changed.

    Parameters
    ----------
    group: its name. size: numbers in it. trainable: parameters among them.
    within: mean change of a number from the end of an epoch to that of the next of the same task, over the mean size
        of a number (W_g). across: the same from the end of a task to that of the next (X_g).
    raw_within, raw_across: the same without the division.
    sensitivity: X_g over the sum of all groups (S_g). ratio: X_g / W_g; NaN where a task has one epoch.
    """

    group: str
    size: int
    trainable: int
    within: float
    across: float
    raw_within: float
    raw_across: float
    sensitivity: float
    ratio: float


class DynamicsRecorder:
    """Compares a model with itself at the end of every epoch and of every task.

    It holds two copies of what it watches, in float32 on the CPU: of the last epoch and of the last task.

    Parameters
    ----------
    groups: see `group_parameters`; None groups by type. limit: watch at most so many numbers of a group, drawn once.
    generator: of that draw.

    >>> from halflife.continual import MLP
    >>> model = MLP((5,)).build((1, 2, 2), 3)
    >>> recorder = DynamicsRecorder(model)
    >>> for _ in range(2):
    ...     for _ in range(3):
    ...         _ = model.head.weight.data.add_(1)
    ...         recorder.epoch()
    ...     recorder.task()
    >>> [(one.group, one.raw_across, one.sensitivity) for one in recorder.table()]
    [('first', 0.0, 0.0), ('head', 2.5, 1.0)]
    """

    def __init__(
        self, model: nn.Module, groups: Groups | None = None, limit: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        if limit is not None and limit < 1:
            raise InvalidInput(f"At most {limit} numbers of a group cannot be watched.", "Use at least 1, or None.")
        self.model = model
        self.groups = group_parameters(model) if groups is None else groups
        rng = generator or torch.Generator().manual_seed(0)
        self._picked: dict[str, Tensor] = {}
        for group, size in self._sizes(dict(model.state_dict())).items():
            if limit is not None and size > limit:
                self._picked[group] = torch.randperm(size, generator=rng)[:limit]
        self._epoch: dict[str, Tensor] | None = None
        self._task: dict[str, Tensor] | None = None
        self._within = dict.fromkeys(self.groups, 0.0)
        self._across = dict.fromkeys(self.groups, 0.0)
        self._scale = dict.fromkeys(self.groups, 0.0)
        self.epochs = self.tasks = self.snapshots = 0  # pairs compared, and snapshots taken

    def _sizes(self, state: Mapping[str, Tensor]) -> dict[str, int]:
        return {group: sum(state[name].numel() for name in names) for group, names in self.groups.items()}

    def _snapshot(self) -> dict[str, Tensor]:
        state = self.model.state_dict()
        found = {}
        for group, names in self.groups.items():
            flat = torch.cat([state[name].detach().flatten().float() for name in names])
            picked = self._picked.get(group)
            found[group] = (flat if picked is None else flat[picked.to(flat.device)]).cpu()
            self._scale[group] += float(found[group].abs().mean())
        self.snapshots += 1
        return found

    def epoch(self) -> None:
        """An epoch has ended."""
        now = self._snapshot()
        if self._epoch is not None:
            _add_changes(self._within, self._epoch, now)
            self.epochs += 1
        self._epoch = now

    def task(self) -> None:
        """A task has ended, after its last `epoch`."""
        now = self._snapshot() if self._epoch is None else self._epoch
        if self._task is not None:
            _add_changes(self._across, self._task, now)
            self.tasks += 1
        self._task, self._epoch = now, None

    def table(self) -> list[Dynamics]:
        """One row for each group, in the order of the model.

        Raises
        ------
        InvalidInput: fewer than two tasks have ended.
        """
        if not self.tasks:
            raise InvalidInput("A change across tasks needs two tasks that have ended.", "Call `task` at each end.")
        state = dict(self.model.state_dict())
        parameters = {name for name, _ in self.model.named_parameters()}
        across = {g: self._across[g] / self.tasks for g in self.groups}
        within = {g: self._within[g] / self.epochs if self.epochs else math.nan for g in self.groups}
        scale = {g: self._scale[g] / self.snapshots + 1e-12 for g in self.groups}
        total = sum(across[g] / scale[g] for g in self.groups) or 1.0
        return [
            Dynamics(
                group=g,
                size=size,
                trainable=sum(state[name].numel() for name in self.groups[g] if name in parameters),
                within=within[g] / scale[g],
                across=across[g] / scale[g],
                raw_within=within[g],
                raw_across=across[g],
                sensitivity=across[g] / scale[g] / total,
                ratio=across[g] / within[g] if within[g] else math.nan,
            )
            for g, size in self._sizes(state).items()
        ]


def _add_changes(total: dict[str, float], before: Mapping[str, Tensor], now: Mapping[str, Tensor]) -> None:
    for group, value in now.items():
        total[group] += float((value - before[group]).abs().mean())


def select_sensitive(
    table: Sequence[Dynamics], max_fraction: float = 0.02, top: int | None = None, ratio: float | None = None
) -> list[str]:
    """The groups to fine-tune: the first by sensitivity.

    Parameters
    ----------
    table: of a `DynamicsRecorder`. max_fraction: as many of the first as have no more than this share of the
        parameters together (running statistics have none). top: so many instead. ratio: instead, those whose change
        across tasks is at least so many times that within.

    Raises
    ------
    InvalidInput: none would be chosen.

    >>> row = dict(within=1, raw_within=1, raw_across=1)
    >>> table = [Dynamics("first", 90, 90, across=1, sensitivity=0.1, ratio=1, **row),
    ...          Dynamics("head", 10, 10, across=9, sensitivity=0.9, ratio=9, **row)]
    >>> select_sensitive(table, max_fraction=0.1), select_sensitive(table, top=2), select_sensitive(table, ratio=2)
    (['head'], ['head', 'first'], ['head'])
    """
    ranked = sorted(table, key=lambda one: -one.sensitivity)
    if top is not None:
        chosen = ranked[:top]
    elif ratio is not None:
        chosen = [one for one in ranked if one.ratio >= ratio]
    else:
        room = max_fraction * sum(one.trainable for one in table)
        chosen = []
        for one in ranked:
            room -= one.trainable
            if room < 0:
                break
            chosen.append(one)
    if not chosen:
        raise InvalidInput(
            f"No group is within these limits; the most sensitive is {ranked[0].group} with "
            f"{ranked[0].trainable:,} parameters." if ranked else "The table is empty.",
            "Raise max_fraction, or use top=1.",
        )  # fmt: skip
    return [one.group for one in chosen]
