"""Importances that know which state of which model they were measured on, and how; kept in a safetensors file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from halflife.continual.examples import Examples
from halflife.continual.files import replacing
from halflife.continual.importance import ByName, importance, trainable
from halflife.continual.seeds import generator
from halflife.errors import InvalidInput

FORMAT = "halflife-importances-1"


@dataclass(frozen=True, eq=False)
class Importances:
    """How much each parameter matters for some examples, measured on one state of one model.

    Parameters
    ----------
    values: by the name of the parameter, of its shape. fingerprint: of the model's state then (`fingerprint`).
    examples: how many there were. batch_size: of the batches whose gradients were squared, 1 for single examples.
    by_class: whether they were sorted by class. label_free: whether measured from the outputs instead of the loss.
    carried: how often they were taken over for a later state of the model without measuring anew.
    """

    values: ByName
    fingerprint: str
    examples: int
    batch_size: int
    by_class: bool
    label_free: bool
    carried: int = 0

    @property
    def how(self) -> str:
        """The way they were measured, in words: only importances that agree in it may be compared."""
        of = "outputs" if self.label_free else "loss"
        batches = f"batches of {self.batch_size}" + (" sorted by class" if self.by_class else "")
        return f"gradients of the {of}, " + (batches if self.batch_size > 1 else "each example")

    def carried_to(self, model: nn.Module) -> Importances:
        """The same importances, accepted for another state of the model: after an earlier request, say.

        They drift: they still count what was forgotten before, and the gradients of the changed model are others. Count
        the requests in `carried`, and measure anew from time to time.
        """
        fits = {name: tuple(p.shape) for name, p in trainable(model).items()}
        if fits != {name: tuple(value.shape) for name, value in self.values.items()}:
            raise InvalidInput("These importances are of another kind of model.", "Measure them on this one.")
        return replace(self, fingerprint=fingerprint(model), carried=self.carried + 1)

    def save(self, path: str | Path) -> None:
        """Write them to a safetensors file, all or nothing."""
        about = {"format": FORMAT} | {k: v for k, v in vars(self).items() if k != "values"}
        values = {name: value.detach().contiguous() for name, value in self.values.items()}
        with replacing(path) as part:
            save_file(values, part, {"halflife": json.dumps(about)})

    @classmethod
    def load(cls, path: str | Path) -> Importances:
        """Read what `save` wrote.

        Raises
        ------
        InvalidInput: there is no such file, or it holds something else.
        """
        try:
            with safe_open(path, "pt") as file:
                about: dict[str, Any] = json.loads((file.metadata() or {}).get("halflife", "{}"))
                values = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, ValueError) as error:
            raise InvalidInput(f"{path} cannot be read: {error}.", "Measure and save the importances anew.") from None
        if about.pop("format", None) != FORMAT:
            raise InvalidInput(f"{path} holds no importances.", "Give a file that `Importances.save` wrote.")
        return cls(values, **about)


def measure(
    model: nn.Module,
    examples: Examples,
    *,
    batch_size: int = 64,
    per_sample: bool = False,
    by_class: bool = False,
    label_free: bool = False,
    seed: int = 0,
) -> Importances:
    """How much each parameter matters for some examples: squared gradients of the loss, averaged.

    One pass forward and back over the examples, in evaluation mode; nothing is learned.

    Parameters
    ----------
    examples: training examples. batch_size: examples whose mean gradient is squared. The ratio of two importances
        depends on it: noise of gradients shrinks with it, what the examples have in common does not.
    per_sample: square the gradient of each example instead (the paper's definition); `batch_size` then only bounds
        memory. No ratio of a part to the whole is above |D| / |D_f|.
    by_class: sort the examples by class, so that nearly every batch has one class, as the official script for whole
        classes does; no ratio of a class to the whole is then much above |D| / |D_f| either. Otherwise they are mixed.
    label_free: LFSSD: mean absolute gradients of the squared norm of the outputs.
    seed: of the mixing.

    Raises
    ------
    InvalidInput: there are no examples, or the batch size is below 1.

    >>> from halflife.continual import MLP, load
    >>> data = load("digits")
    >>> model = MLP((8,)).build(data.shape, data.n_classes)
    >>> found = measure(model, data.train)
    >>> found.examples == len(data.train), found.values["head.bias"].shape, found.how
    (True, torch.Size([10]), 'gradients of the loss, batches of 64')
    """
    if not len(examples):
        raise InvalidInput("There are no examples to measure importance on.", "Give at least one.")
    if batch_size < 1:
        raise InvalidInput(f"The batch size is {batch_size}.", "Use 1 or more.")
    if by_class:
        examples = examples.only(examples.labels.argsort(stable=True))
    else:
        examples = examples.shuffled(generator(seed, "importance"))
    values = importance(
        model, examples.batches(batch_size), _norm if label_free else F.cross_entropy, per_sample=per_sample,
        reduce="abs" if label_free else "square",
    )  # fmt: skip
    size = 1 if per_sample else batch_size
    return Importances(values, fingerprint(model), len(examples), size, by_class and size > 1, label_free)


def _norm(logits: Tensor, y: Tensor) -> Tensor:
    """The squared L2 norm of the outputs, the mean over the batch."""
    return logits.square().sum(1).mean()


def fingerprint(model: nn.Module) -> str:
    """A hash of all parameters and buffers of a model, the same on every device.

    Buffers count: the running statistics of a norm layer change the gradients.

    >>> model = nn.Linear(2, 1)
    >>> before = fingerprint(model)
    >>> _ = model.weight.data.mul_(2)
    >>> fingerprint(model) == before
    False
    """
    found = hashlib.blake2b(digest_size=16)
    for name, value in sorted(model.state_dict().items()):
        found.update(f"{name} {tuple(value.shape)} {value.dtype} ".encode())
        found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
