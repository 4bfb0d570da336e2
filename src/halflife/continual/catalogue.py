"""Methods, wrappers and scenarios by name: what the command line offers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from halflife.continual import methods
from halflife.continual.data import DATASETS, Dataset, load
from halflife.continual.method import Learner
from halflife.continual.scenario import (
    Scenario,
    blurry,
    class_incremental,
    online,
    permuted,
    rotated,
    task_free,
    zipf,
)
from halflife.continual.scole import scole
from halflife.errors import InvalidInput

METHODS: Mapping[str, type[Learner]] = {
    "naive": methods.Naive, "joint": methods.Joint, "l2": methods.L2, "ewc": methods.EWC, "si": methods.SI,
    "mas": methods.MAS, "lwf": methods.LwF, "er": methods.ER, "der": methods.DER, "der++": methods.DERpp,
    "er-ace": methods.ERACE, "a-gem": methods.AGEM, "icarl": methods.ICaRL, "gdumb": methods.GDumb,
    "weighted-er": methods.WeightedER, "pcr": methods.PCR, "hpcr": methods.HPCR, "prd": methods.PRD,
    "napa-vq": methods.NAPAVQ, "rehearsal-free": methods.RehearsalFree, "multihead": methods.MultiHead,
    "group-masking": methods.GroupMasking,
}  # fmt: skip

WRAPPERS: Mapping[str, type[Learner]] = {
    "view-batch": methods.ViewBatch, "fpf": methods.FPF, "k-fpf": methods.KFPF, "refresh": methods.Refresh,
    "frequency-replay": methods.FrequencyReplay,
}  # fmt: skip

KINDS: Mapping[str, tuple[Callable[..., Scenario], str]] = {
    "split": (class_incremental, "new classes with every task (per_task, first)"),
    "permuted": (permuted, "the pixels in another order with every task (tasks)"),
    "rotated": (rotated, "turned by another angle with every task (tasks, angles)"),
    "blurry": (blurry, "new classes with every task, a share of each in the others (per_task, mixed)"),
    "scole": (scole, "hundreds of short tasks in which classes come again (tasks, per_task, mode)"),
    "zipf": (zipf, "one stream, classes as often as a power law says (a, length)"),
}
"""Kind -> what makes it of a data set, and what it is with its settings."""

PREFIXES: Mapping[str, tuple[Callable[[Scenario], Scenario], str]] = {
    "online": (online, "each example once"),
    "task-free": (task_free, "each example once, and not a word on where a task ends"),
}

SHORT = {"fashion": "fashion-mnist", "cifar": "cifar10"}


def learner(name: str, settings: Mapping[str, Any] | None = None) -> Learner:
    """A method by name, or wrapped: `fpf(er)`; `settings` are its own, or `method.` those of what is wrapped.

    Raises
    ------
    InvalidInput: there is no such method, or it has no such setting.

    >>> learner("er", {"capacity": 50}).capacity
    50
    """
    outer, _, rest = name.partition("(")
    own = {k: v for k, v in (settings or {}).items() if not k.startswith("method.")}
    if rest:
        if outer not in WRAPPERS or not rest.endswith(")"):
            raise InvalidInput(f"There is no method {name!r}.", f"Wrappers are {', '.join(WRAPPERS)}.")
        within = {k.removeprefix("method."): v for k, v in (settings or {}).items() if k.startswith("method.")}
        return _made(WRAPPERS[outer], (learner(rest[:-1], within),), own)
    if name not in METHODS:
        raise InvalidInput(f"There is no method {name!r}.", f"There are {', '.join(METHODS)}.")
    return _made(METHODS[name], (), own)


def _made(cls: type[Learner], args: tuple[Learner, ...], settings: Mapping[str, Any]) -> Learner:
    unknown = set(settings) - set(getattr(cls, "__dataclass_fields__", {}))
    if unknown:
        known = [one for one, field in cls.__dataclass_fields__.items() if field.init and one != "method"]  # type: ignore[attr-defined]
        raise InvalidInput(f"{cls.__name__} has no setting {sorted(unknown)[0]!r}.", f"It has {', '.join(known)}.")
    return cls(*args, **settings)


def scenario(
    name: str, settings: Mapping[str, Any] | None = None, data: Callable[[Dataset], Dataset] | None = None
) -> Scenario:
    """A scenario by name, such as `split-fashion`, `permuted-mnist`, `online-split-cifar10`.

    Parameters
    ----------
    settings: of its kind. data: what is done to the data set first, such as taking a part.

    Raises
    ------
    InvalidInput: there is no such scenario, or it has no such setting.

    >>> scenario("split-digits", {"per_task": 5}).name
    'split-digits'
    """
    for prefix, (change, _) in PREFIXES.items():
        if name.startswith(f"{prefix}-"):
            return change(scenario(name.removeprefix(f"{prefix}-"), settings, data))
    kind, _, which = name.partition("-")
    which = SHORT.get(which, which)
    if kind not in KINDS or which not in DATASETS:
        raise InvalidInput(
            f"There is no scenario {name!r}.",
            f"Name one as KIND-DATA: kinds are {', '.join(KINDS)}; data {', '.join(DATASETS)}; before them may stand "
            f"{' or '.join(f'{one}-' for one in PREFIXES)}.",
        )
    source = load(which)
    make = KINDS[kind][0]
    try:
        return make(source if data is None else data(source), **(settings or {}))
    except TypeError as error:
        raise InvalidInput(f"{kind} does not take these settings ({error}).", f"It is {KINDS[kind][1]}.") from error
