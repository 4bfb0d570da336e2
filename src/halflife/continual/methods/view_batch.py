"""View-batch: do your best and get enough rest for continual learning (arXiv 2503.18371), a schedule for any method.

Each step shows V views of B / V examples, and an example rests V times longer before it returns; a loss brings the
strong views near the weak one. Rehearsal is shown in the same way: a draw takes 1 / V of the examples, V views of each,
so that an example of the buffer too returns V times more seldom, at random moments as in the method within.

Paper and released code (hankyul2/ViewBatchModel) differ; what is done here:
- The code takes neighbours with equal labels for views of one example; here examples have numbers.
- The code's KL is a mean over classes as well; here it is the paper's sum. `ssl_weight = 1 / seen classes` is the code.
- The code cuts an epoch at a multiple of 256 entries; here nothing is left out, nor torn between two steps.
- The code restarts its seed with every task; here each task has its own orders.
- Rehearsal examples in the code join the data of the task (iCaRL). Here the method draws them as it always does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from halflife.continual.method import Batch, Wrapper
from halflife.continual.methods.view_batch_parts import Grouped, Watch, copies, one_to_many_kl
from halflife.continual.methods.view_batch_sampler import ViewBatchSampler, check_views
from halflife.continual.scenario import Experience
from halflife.continual.transforms import Augment
from halflife.errors import InvalidInput

__all__ = ["ViewBatch", "ViewBatchSampler", "one_to_many_kl"]


@dataclass(eq=False)
class ViewBatch(Wrapper):
    """`L = L_method + ssl_weight * L_ssl` on V views of each example, with as many steps and images as without.

    Parameters
    ----------
    n_views: V; it divides the batch size and the epochs. 1 is the method as it is.
    strong: of all views but the first, after the augmentation of the run, which is the weak one; None: all are weak.
    ssl_weight: see above; 0 where a method does not learn by `step` (A-GEM).
    ssl_start_epoch: the first epoch of each task, from 0, with L_ssl (the code: `epoch > 5` of 50).

    >>> from halflife.continual import ER, class_incremental, load, run
    >>> method = ViewBatch(ER(capacity=100, lr=0.1), n_views=2, ssl_start_epoch=1)
    >>> run(class_incremental(load("digits")), method, epochs=4, batch_size=16)["accuracy"][0] > 0.5
    True
    """

    n_views: int = 4
    strong: Augment | None = None
    ssl_weight: float = 1.0
    ssl_start_epoch: int = 6

    def start(self) -> None:
        """Check the sizes, and take part in the loss of each step."""
        check_views(self.n_views, self.context.batch_size, self.context.epochs)
        if not self.ssl_weight >= 0 or self.ssl_start_epoch < 0:
            raise InvalidInput(f"ssl_weight {self.ssl_weight}, ssl_start_epoch {self.ssl_start_epoch}: use 0 or more.")
        self.epoch = 0
        self.seen: list[int] = []
        self.watch: Watch | None = None
        self.inner.terms.append(self._ssl)

    def order(self, count: int, epochs: int, batch_size: int, rng: torch.Generator, shuffle: bool) -> Iterator[Tensor]:
        """V views of each example in one step, once in V epochs."""
        if self.n_views == 1:
            yield from self.method.order(count, epochs, batch_size, rng, shuffle)
            return
        seed = int(torch.randint(2**62, (), generator=rng))
        sampler = ViewBatchSampler(count, self.n_views, batch_size, shuffle, seed, epochs)
        for self.epoch in range(epochs):
            sampler.set_epoch(self.epoch)
            yield from (positions for positions, _ in sampler)

    def views(self, raw: Tensor) -> Tensor:
        """The first view of each example weak, the others weak and then strong."""
        return self._stronger(self.method.views(raw))

    def _stronger(self, x: Tensor) -> Tensor:
        late = torch.arange(len(x), device=x.device) % self.n_views > 0
        if self.strong is None or not bool(late.any()):
            return x
        x = x.clone()
        x[late] = self.strong(x[late], self.rng)
        return x

    def before_task(self, task: Experience) -> None:
        """The classes that predictions may name."""
        self.seen = sorted({*self.seen, *task.seen})
        super().before_task(task)

    def observe(self, batch: Batch) -> dict[str, float]:
        """The method's own step, with draws from its buffer as views."""
        if self.n_views == 1:
            return super().observe(batch)
        if batch.task is None:
            self.seen = sorted({*self.seen, *batch.y.tolist()})
        self.watch = watch = Watch(self.model, batch)
        active = self.ssl_weight > 0 and self.epoch >= self.ssl_start_epoch
        with self._shown(watch, active):
            logged = super().observe(batch)
        if active and not watch.used:
            raise InvalidInput(
                f"{type(self.inner).__name__} does not learn by `step` from what the model says of the batch.",
                "Use ssl_weight=0 with it: the schedule works without L_ssl.",
            )
        return logged

    @contextmanager
    def _shown(self, watch: Watch, active: bool) -> Iterator[None]:
        """Within, the method draws views from its buffer, and what the model says is watched."""
        inner, context = self.inner, self.inner.context
        weak, buffer = context.augment, getattr(inner, "buffer", None)

        def augment(x: Tensor) -> Tensor:
            return watch.shown(self._stronger(weak(x)), self.n_views) if copies(x, self.n_views) else weak(x)

        context.augment = augment
        if buffer is not None:
            inner.buffer = Grouped(buffer, self.n_views)  # type: ignore[attr-defined]
        hook = self.model.register_forward_hook(watch) if active else None
        try:
            yield
        finally:
            context.augment, self.watch = weak, None
            if buffer is not None:
                inner.buffer = buffer  # type: ignore[attr-defined]
            if hook is not None:
                hook.remove()

    def _ssl(self) -> Tensor:
        return torch.zeros(()) if self.watch is None else self.ssl_weight * self.watch.loss(self.seen)
