"""The sampler of the view-batch model (arXiv 2503.18371): V views of an example at once, then V epochs of rest."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from halflife.continual.seeds import generator
from halflife.errors import InvalidInput


class ViewBatchSampler:
    """The steps of an epoch: V views of B / V examples in each, and every example once in V epochs.

    A pass over all n examples takes V epochs and their V ceil(n / B) steps, over which the examples are spread evenly:
    B / V in each where B divides n, otherwise a few less, so that none is left out or torn between two steps.

    Parameters
    ----------
    n: examples. views: V. batch_size: B, images of a step. shuffle: whether each pass has its own order.
    seed: of the orders. n_epochs: a multiple of V, so that all examples are shown equally often.

    Raises
    ------
    InvalidInput: V does not divide B or the epochs, or there are fewer examples than steps in a pass.

    >>> sampler = ViewBatchSampler(4, views=2, batch_size=4, shuffle=False, n_epochs=4)
    >>> [(index.tolist(), view.tolist()) for index, view in sampler]
    [([0, 0, 1, 1], [0, 1, 0, 1])]
    >>> sampler.recall_intervals().tolist()
    [2, 2, 2, 2]
    """

    def __init__(
        self, n: int, views: int = 4, batch_size: int = 32, shuffle: bool = True, seed: int = 0, n_epochs: int = 4
    ) -> None:
        check_views(views, batch_size, n_epochs)
        self.views, self.batch_size, self.shuffle, self.seed, self.n_epochs = views, batch_size, shuffle, seed, n_epochs
        self.set_epoch(0)
        self.set_length(n)

    def set_epoch(self, epoch: int) -> None:
        """The epoch that comes next, from 0."""
        self.epoch = epoch

    def set_length(self, n: int) -> None:
        """Another number of examples, where a task or a buffer has grown."""
        self.n = n
        if n < self.views * len(self):
            raise InvalidInput(
                f"{n} examples cannot fill the {self.views * len(self)} steps of {self.views} epochs.",
                "Use fewer views or smaller batches.",
            )

    def __len__(self) -> int:
        return -(-self.n // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """For each step the examples, int64 [b], and which view of it each is, int64 [b]; 0 is the weak one."""
        turn, part = divmod(self.epoch, self.views)
        rng = generator(self.seed, "pass", turn)
        order = torch.randperm(self.n, generator=rng) if self.shuffle else torch.arange(self.n)
        steps = len(self)
        for examples in order.tensor_split(self.views * steps)[part * steps : (part + 1) * steps]:
            yield examples.repeat_interleave(self.views), torch.arange(self.views).repeat(len(examples))

    def recall_intervals(self) -> Tensor:
        """Steps between two visits of an example, int64: all those of `n_epochs` epochs, as they are dealt."""
        kept, last, found, step = self.epoch, torch.full((self.n,), -1), [torch.empty(0, dtype=torch.long)], 0
        for epoch in range(self.n_epochs):
            self.set_epoch(epoch)
            for index, _ in self:
                visited = index.unique()
                again = visited[last[visited] >= 0]
                found.append(step - last[again])
                last[visited] = step
                step += 1
        self.set_epoch(kept)
        return torch.cat(found)


def check_views(views: int, batch_size: int, epochs: int) -> None:
    """Raise `InvalidInput` where views do not divide the batch size and the epochs."""
    if views < 1 or batch_size % views or epochs % views:
        raise InvalidInput(
            f"{views} views do not divide batches of {batch_size} and {epochs} epochs.",
            "Use a batch size and epochs that are multiples of the views: all examples are shown equally often.",
        )
