"""ER-ACE: new insights on reducing abrupt representation change (Caccia et al. 2022, arXiv 2104.05025)."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F

from halflife.continual.distillation import masked
from halflife.continual.method import Batch
from halflife.continual.methods.er import Replay


@dataclass(eq=False, kw_only=True)
class ERACE(Replay):
    """Asymmetric cross-entropy: new examples compete with the classes of their batch alone, old ones with all.

    So the first examples of a new class do not push down the outputs of all old ones.
    """

    def observe(self, batch: Batch) -> dict[str, float]:
        """See `Learner`."""
        if len(self.buffer):
            old = self.buffer.sample(self.minibatch or len(batch))
            new, again = self.each(batch.x, self.augment(old.x))
            loss = F.cross_entropy(masked(new, batch.y.unique()), batch.y) + F.cross_entropy(again, old.y)
        else:
            loss = F.cross_entropy(masked(self.model(batch.x), batch.y.unique()), batch.y)
        logged = self.step(loss)
        self.buffer.add(x=batch.raw, y=batch.y)
        return logged
