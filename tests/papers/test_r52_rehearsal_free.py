"""The worlds and choices of the rehearsal-free reproduction."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("torch")
from halflife.errors import InvalidInput
from halflife.papers import r52_rehearsal_free as r52
from halflife.papers.run import quiet


def test_the_two_worlds_have_no_picture_in_common():
    amount = r52.AMOUNTS["smoke"]
    base, stream = r52.worlds("digits", amount, 3)
    assert base.n_classes == stream.n_classes == 20
    assert base.train.classes == stream.train.classes == tuple(range(20))
    a, b = (set(map(tuple, data.train.all()[0].flatten(1).tolist())) for data in (base, stream))
    assert not a & b
    train, test = (set(map(tuple, part.all()[0].flatten(1).tolist())) for part in (stream.train, stream.test))
    assert not train & test


def test_the_four_changes_keep_the_pixels():
    x = torch.rand(2, 1, 8, 8)
    same, inverted, transposed, swapped = r52.changes(x)
    assert torch.equal(same, x)
    assert torch.allclose(1 - inverted, x)
    assert torch.equal(transposed.transpose(2, 3), x)
    assert torch.equal(swapped[..., :4, :4], x[..., 4:, 4:])


def test_every_arm_with_a_term_has_five_decades_to_choose_from():
    for arm in r52.ARMS:
        grid = r52.grid_of(arm)
        assert len(grid) == (1 if arm in (r52.SEEN, r52.NEW, r52.KD) else 5)
        held = r52.learner(arm, 1.0, "pre-trained").held
        assert bool(held) == (len(grid) == 5)


def test_there_is_no_gpu_size():
    with pytest.raises(InvalidInput, match="no gpu size"):
        r52.run("gpu", 0, quiet)
