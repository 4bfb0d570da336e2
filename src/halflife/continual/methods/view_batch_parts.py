"""The loss of the view-batch model (arXiv 2503.18371), and how a step of a method is led and watched for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from halflife.continual.buffer import Buffer, Rows
from halflife.continual.method import Batch
from halflife.errors import InvalidInput


def one_to_many_kl(logits: Tensor, group_ids: Tensor, weak_mask: Tensor, detach: bool = True) -> Tensor:
    """The mean over strong views j of `KL(p_weak || p_j)`, each within its group (equation 4); 0 without strong views.

    Parameters
    ----------
    logits: [B, C], of the classes that may be named. group_ids: int64 [B], equal for views of one example.
    weak_mask: bool [B], one in each group: the teacher. detach: whether no gradient goes to it.

    >>> logits, ids = torch.tensor([[0.0, 0.0], [0.0, 2.0]]), torch.tensor([5, 5])
    >>> round(float(one_to_many_kl(logits, ids, torch.tensor([True, False]))), 4)
    0.4338
    """
    log_p = logits.log_softmax(1)
    own = group_ids[~weak_mask][:, None] == group_ids[weak_mask]
    if not len(own):
        return logits.new_zeros(())
    if not bool((own.sum(1) == 1).all()):
        raise InvalidInput("A group of views has not exactly one weak view.", "Mark one row of each group.")
    teacher = log_p[weak_mask][own.int().argmax(1)]
    teacher = teacher.detach() if detach else teacher
    return (teacher.exp() * (teacher - log_p[~weak_mask])).sum(1).mean()


def copies(x: Tensor, views: int) -> bool:
    """Whether inputs [B, ...] are groups of so many equal ones, one after another."""
    if len(x) % views:
        return False
    groups = x.unflatten(0, (-1, views))
    return bool((groups == groups[:, :1]).all())


class Grouped:
    """A buffer as a method sees it during a step: draws are V copies of 1 / V of the rows, and a visit offers one."""

    def __init__(self, buffer: Buffer, views: int) -> None:
        self.buffer, self.views = buffer, views

    def __len__(self) -> int:
        return len(self.buffer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["buffer"], name)

    def sample(self, count: int) -> Rows:
        """See `Buffer`."""
        return self._copied(self.buffer.sample(self._few(count)))

    def balanced(self, count: int) -> Rows:
        """See `Buffer`."""
        return self._copied(self.buffer.balanced(self._few(count)))

    def _few(self, count: int) -> int:
        if count % self.views:
            raise InvalidInput(f"{self.views} views do not divide a draw of {count}.", "Set minibatch to a multiple.")
        return count // self.views

    def _copied(self, rows: Rows) -> Rows:
        return self.buffer.rows(rows.slots.repeat_interleave(self.views))

    def add(self, **fields: Tensor) -> None:
        """See `Buffer`; of V copies of an example the first alone is offered, or it would fill the room V times."""
        step = self.views if copies(fields["x"], self.views) else 1
        self.buffer.add(**{name: value[::step] for name, value in fields.items()})


class Watch:
    """Finds in what a model says, during one step, the views of one example. A hook of its forward passes."""

    def __init__(self, model: nn.Module, batch: Batch) -> None:
        self.model = model
        again = (batch.index[:, None] == batch.index).tril(-1).any(1)
        self.parts = [(batch.x, batch.index, ~again)]
        self.found: list[tuple[Tensor, Tensor, Tensor]] = []
        self.used = False

    def __deepcopy__(self, memo: dict[int, Any]) -> Watch:
        return self

    def shown(self, x: Tensor, views: int) -> Tensor:
        """Remember inputs that are groups of views; gives them back."""
        place = torch.arange(len(x), device=x.device)
        self.parts.append((x, place // views, place % views == 0))
        return x

    def __call__(self, module: nn.Module, inputs: Sequence[Tensor], logits: Tensor) -> None:
        x, start = inputs[0], 0
        if module is not self.model or not logits.requires_grad:
            return
        for part, ids, weak in self.parts:
            stop = start + len(part)
            if len(part) and torch.equal(x[start:stop], part):
                self.found.append((logits[start:stop], ids, weak))
                start = stop

    def loss(self, classes: Sequence[int]) -> Tensor:
        """The mean over all pairs found since the last call, among these classes; 0 if there are none."""
        found, self.found = self.found, []
        if not found:
            return torch.zeros(())
        self.used = True
        pairs = torch.stack([(~weak).sum() for _, _, weak in found])
        losses = [one_to_many_kl(logits[:, list(classes)], ids, weak) for logits, ids, weak in found]
        return (pairs * torch.stack(losses)).sum() / pairs.sum()
