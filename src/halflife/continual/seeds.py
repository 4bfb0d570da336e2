"""Random generators that are independent of each other, named by what they are for."""

from __future__ import annotations

import zlib

import numpy as np
import torch


def derive(seed: int, *names: int | str) -> int:
    """A seed of 63 bits for one purpose of one run.

    >>> derive(0, "order", 3) == derive(0, "order", 3) != derive(0, "order", 4)
    True
    """
    words = [seed, *(zlib.crc32(name.encode()) if isinstance(name, str) else name for name in names)]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)


def generator(seed: int, *names: int | str) -> torch.Generator:
    """A generator (on the CPU) for one purpose of one run.

    >>> float(torch.rand((), generator=generator(0, "a"))) != float(torch.rand((), generator=generator(0, "b")))
    True
    """
    return torch.Generator().manual_seed(derive(seed, *names))
