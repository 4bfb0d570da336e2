"""What a method is: settings, a few hooks, and one training step that can be read whole.

A method is a dataclass of its settings. `setup` gives it a model and what else a run has; `observe` is its training
step. A wrapper is a learner around a learner: `Refresh(DERpp(capacity=200))`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from halflife.continual.scenario import Experience, Kind
from halflife.continual.seeds import derive
from halflife.errors import Diverged, HalflifeError, InvalidInput


@dataclass(frozen=True, eq=False)
class Batch:
    """What a learner is shown in one step.

    Parameters
    ----------
    x: inputs after augmentation, [B, ...]. raw: before it. y: labels, int64 [B].
    index: the rows of the data set, int64 [B]: the same number is the same example.
    task: the experience it comes from; None where a learner is not told.
    """

    x: Tensor
    y: Tensor
    raw: Tensor
    index: Tensor
    task: int | None = None

    def __len__(self) -> int:
        return len(self.y)


@dataclass(eq=False)
class Context:
    """What a run gives to a learner.

    Parameters
    ----------
    model: the network to train. n_classes: its outputs. kind: of the scenario. boundaries: whether tasks are told.
    batch_size: examples of a step. epochs: passes over an experience. generator: of the learner's own draws.
    augment: [B, ...] -> [B, ...], random, from that generator; the identity without augmentation.
    fresh: makes another network of the same kind with new weights, drawn from the seed it is given.
    """

    model: nn.Module
    n_classes: int
    kind: Kind
    boundaries: bool
    batch_size: int
    epochs: int
    generator: torch.Generator
    augment: Callable[[Tensor], Tensor]
    fresh: Callable[[int], nn.Module]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


class Learner:
    """The hooks that a run calls, in this order: `setup`; for each experience `before_task`, `observe` for each batch,
    `after_task`; `before_evaluation` before the tests of that moment; `finish` before the last.

    Without boundaries `before_task` and `after_task` are not called.
    """

    needs_boundaries: ClassVar[bool] = False
    """Whether it works only where it is told when a task begins and ends."""
    trains_on: ClassVar[Literal["task", "seen"]] = "task"
    """The examples of each experience, or all since the first."""
    expected: ClassVar[Mapping[Kind, str]] = {}
    """What to expect of it in a kind of scenario, where users take it for a bug."""
    suggested_model: ClassVar[str] = "mlp"
    """A network that it works with, for those who name none."""

    @property
    def model(self) -> nn.Module:
        """The network that is trained."""
        raise NotImplementedError

    def setup(self, context: Context) -> None:
        """Take what a run gives. Called once, first."""
        raise NotImplementedError

    def before_task(self, task: Experience) -> None:
        """A new task begins."""

    def observe(self, batch: Batch) -> dict[str, float]:
        """One training step. Returns what is logged of it, `loss` first."""
        raise NotImplementedError

    def after_task(self, task: Experience) -> None:
        """The task has ended."""

    def before_evaluation(self) -> None:
        """The tests of an experience follow. What is done here must not change the training."""

    def finish(self) -> None:
        """Training has ended; the last tests follow."""

    def logits(self, x: Tensor) -> Tensor:
        """Scores of the classes, [B, C], for predictions: the highest wins. The model is in evaluation mode."""
        found: Tensor = self.model(x)
        return found

    def order(self, count: int, epochs: int, batch_size: int, rng: torch.Generator, shuffle: bool) -> Iterator[Tensor]:
        """The positions of each batch of an experience of `count` examples, over all epochs."""
        for _ in range(epochs):
            positions = torch.randperm(count, generator=rng) if shuffle else torch.arange(count)
            yield from positions.split(batch_size)

    def views(self, raw: Tensor) -> Tensor:
        """What is made of the inputs of a batch before `observe`: their augmentation."""
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """The settings as plain data, with the name of the class."""
        settings = {name: getattr(self, name) for name in self._settings()}
        return {"learner": type(self).__name__} | {
            name: value.config() if isinstance(value, Learner) else value for name, value in settings.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything that training changed, as plain data."""
        given = {*self._settings(), *_GIVEN}
        return {name: _kept(value) for name, value in vars(self).items() if name not in given}

    def _settings(self) -> list[str]:
        return [one.name for one in fields(self) if one.init] if is_dataclass(self) else []

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave, after `setup`."""
        for name, value in state.items():
            setattr(self, name, _restored(getattr(self, name, None), value, self))


_GIVEN = {"context", "terms"}


@dataclass(eq=False, kw_only=True)
class Method(Learner):
    """A learner with a model and one optimiser, and the settings that all have.

    Parameters
    ----------
    lr, momentum, weight_decay: of the optimiser. optimizer: `sgd` or `adam`. clip: gradients are cut to this norm.
    """

    lr: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0
    optimizer: Literal["sgd", "adam"] = "sgd"
    clip: float | None = None

    def __post_init__(self) -> None:
        if not (self.lr > 0 and math.isfinite(self.lr)) or self.momentum < 0 or self.weight_decay < 0:
            raise InvalidInput(
                f"lr {self.lr}, momentum {self.momentum}, weight_decay {self.weight_decay}: they cannot train.",
                "Use lr > 0, and the others >= 0.",
            )
        if self.optimizer not in ("sgd", "adam"):
            raise InvalidInput(f"There is no optimiser {self.optimizer!r}.", "Use sgd or adam.")

    @property
    def model(self) -> nn.Module:
        """The network that is trained."""
        return self.net

    @property
    def rng(self) -> torch.Generator:
        """The generator of the method's own draws."""
        return self.context.generator

    def setup(self, context: Context) -> None:
        """Take the model and make the optimiser; then `start`."""
        self.context = context
        self.net = context.model
        self.optim = self.make_optimizer()
        self.apart = any(isinstance(part, _BatchNorm) for part in self.net.modules())
        self.terms: list[Callable[[], Tensor]] = []  # of wrappers, added to the loss of each step
        self.start()

    def start(self) -> None:
        """Make what the method needs besides: a buffer, a copy of the model. Called by `setup`."""

    def make_optimizer(self) -> torch.optim.Optimizer:
        """The optimiser of all parameters, with the settings of the method."""
        parameters = [p for p in self.net.parameters() if p.requires_grad]
        if self.optimizer == "adam":
            return torch.optim.Adam(parameters, lr=self.lr, weight_decay=self.weight_decay)
        return torch.optim.SGD(parameters, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)

    def each(self, *inputs: Tensor) -> list[Tensor]:
        """The logits of several batches: in one pass where no example depends on the others, which is faster; one pass
        each where the network has batch statistics, which are those of each batch alone."""
        if self.apart:
            return [self.net(x) for x in inputs]
        found: Tensor = self.net(torch.cat(inputs))
        return list(found.split([len(x) for x in inputs]))

    def step(self, loss: Tensor) -> dict[str, float]:
        """Descend on a loss: gradients, then `update`. Returns what is logged."""
        for term in self.terms:
            loss = loss + term()
        logged = self.checked(loss)
        self.optim.zero_grad()
        loss.backward()
        self.update()
        return logged

    def checked(self, loss: Tensor) -> dict[str, float]:
        """What is logged of a loss. Raises `Diverged` if it is no finite number."""
        value = float(loss.detach())
        if not math.isfinite(value):
            raise Diverged(
                f"The loss of {type(self).__name__} is {value}.", "Lower the learning rate or the weights of the loss."
            )
        return {"loss": value}

    def update(self) -> None:
        """Move the parameters along the gradients that they have."""
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.net.parameters(), self.clip)
        self.optim.step()

    def augment(self, x: Tensor) -> Tensor:
        """A random augmentation of inputs; the identity if the run has none."""
        return self.context.augment(x)

    def views(self, raw: Tensor) -> Tensor:
        """See `Learner`."""
        return self.augment(raw)


@dataclass(eq=False)
class Wrapper(Learner):
    """A learner around a learner. It passes every hook on; a mechanism overrides those that it is about."""

    method: Learner

    @property
    def inner(self) -> Method:
        """The method at the heart of all wrappers."""
        return self.method.inner if isinstance(self.method, Wrapper) else self.method  # type: ignore[return-value]

    @property
    def needs_boundaries(self) -> bool:  # type: ignore[override]
        """As the learner within."""
        return self.method.needs_boundaries

    @property
    def trains_on(self) -> Literal["task", "seen"]:  # type: ignore[override]
        """As the learner within."""
        return self.method.trains_on

    @property
    def expected(self) -> Mapping[Kind, str]:  # type: ignore[override]
        """As the learner within."""
        return self.method.expected

    @property
    def suggested_model(self) -> str:  # type: ignore[override]
        """As the learner within."""
        return self.method.suggested_model

    @property
    def model(self) -> nn.Module:
        """The network that is trained."""
        return self.method.model

    @property
    def rng(self) -> torch.Generator:
        """The generator of the learner's own draws."""
        return self.inner.rng

    def setup(self, context: Context) -> None:
        """See `Learner`."""
        self.context = context
        self.method.setup(context)
        self.start()

    def start(self) -> None:
        """Make what the mechanism needs besides. Called by `setup`."""

    def before_task(self, task: Experience) -> None:
        """See `Learner`."""
        self.method.before_task(task)

    def observe(self, batch: Batch) -> dict[str, float]:
        """See `Learner`."""
        return self.method.observe(batch)

    def after_task(self, task: Experience) -> None:
        """See `Learner`."""
        self.method.after_task(task)

    def before_evaluation(self) -> None:
        """See `Learner`."""
        self.method.before_evaluation()

    def finish(self) -> None:
        """See `Learner`."""
        self.method.finish()

    def logits(self, x: Tensor) -> Tensor:
        """See `Learner`."""
        return self.method.logits(x)

    def order(self, count: int, epochs: int, batch_size: int, rng: torch.Generator, shuffle: bool) -> Iterator[Tensor]:
        """See `Learner`."""
        return self.method.order(count, epochs, batch_size, rng, shuffle)

    def views(self, raw: Tensor) -> Tensor:
        """See `Learner`."""
        return self.method.views(raw)

    def state_dict(self) -> dict[str, Any]:
        """See `Learner`."""
        return {"method": self.method.state_dict(), "own": super().state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Learner`."""
        self.method.load_state_dict(state["method"])
        super().load_state_dict(state["own"])


def frozen(model: nn.Module) -> nn.Module:
    """A copy of a model that does not learn, in evaluation mode: a teacher."""
    return copy.deepcopy(model).requires_grad_(False).eval()


def fork(learner: Learner, name: str) -> torch.Generator:
    """A generator of its own for one purpose, derived from a learner's without drawing from it."""
    seed = int(learner.context.generator.initial_seed())  # type: ignore[attr-defined]
    return torch.Generator().manual_seed(derive(seed, name))


# -- state ------------------------------------------------------------------------------------------------------------

_PLAIN = (bool, int, float, str, type(None))


def _kept(value: Any) -> Any:
    """Plain data of whatever a learner holds, with a mark of what it was."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, torch.Generator):
        return {"is": "generator", "state": value.get_state()}
    if hasattr(value, "state_dict"):
        return {"is": "module" if isinstance(value, nn.Module) else "state", "state": copy.deepcopy(value.state_dict())}
    if isinstance(value, Mapping):
        return {"is": "dict", "items": [[_kept(k), _kept(v)] for k, v in value.items()]}
    if isinstance(value, (list, tuple, set)):
        return {"is": type(value).__name__, "items": [_kept(v) for v in value]}
    raise HalflifeError(f"A {type(value).__name__} cannot be kept in a checkpoint.", "Give it a state_dict.")


def _restored(now: Any, kept: Any, learner: Learner) -> Any:
    if not isinstance(kept, dict):
        return kept
    kind = kept["is"]
    if kind == "generator":
        rng = now if isinstance(now, torch.Generator) else torch.Generator()
        return rng.set_state(kept["state"].cpu())
    if kind == "module":
        module = now if isinstance(now, nn.Module) else frozen(learner.model)
        module.load_state_dict(kept["state"])
        return module
    if kind == "state":
        if now is None:
            raise HalflifeError("A checkpoint holds a part that the method did not make.", "Make it in `start`.")
        now.load_state_dict(kept["state"])
        return now
    if kind == "dict":
        old = now if isinstance(now, Mapping) else {}
        items = [(_restored(None, k, learner), v) for k, v in kept["items"]]
        return {k: _restored(old.get(k), v, learner) for k, v in items}
    values = [_restored(None, v, learner) for v in kept["items"]]
    return {"list": list, "tuple": tuple, "set": set}[kind](values)
