"""From hidden states to vectors, by numbers that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pennyweight.server.engines.encoder.pooling import finish, pool
from pennyweight.server.engines.encoder.sentence_head import Pooling

HIDDEN = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [100.0, 100.0]], [[5.0, 5.0], [7.0, 1.0], [0.0, 3.0]]])
MASK = torch.tensor([[True, True, False], [True, True, True]])


def test_the_mean_is_over_tokens_and_not_over_padding() -> None:
    assert pool(HIDDEN, MASK, Pooling.MEAN).tolist() == [[2.0, 4.0], [4.0, 3.0]]


def test_cls_is_the_first_token() -> None:
    assert pool(HIDDEN, MASK, Pooling.CLS).tolist() == [[1.0, 2.0], [5.0, 5.0]]


def test_vectors_are_cut_before_they_are_scaled() -> None:
    vector = np.array([3.0, 4.0, 12.0], dtype=np.float32)
    assert finish(vector, dimensions=2, normalize=True) == pytest.approx([0.6, 0.8])
    assert finish(vector, dimensions=None, normalize=True) == pytest.approx([3 / 13, 4 / 13, 12 / 13])
    assert finish(vector, dimensions=2, normalize=False).tolist() == [3.0, 4.0]
    assert finish(vector, dimensions=None, normalize=True).dtype == np.float32


def test_nothing_stays_nothing() -> None:
    assert finish(np.zeros(2, dtype=np.float32), dimensions=None, normalize=True).tolist() == [0.0, 0.0]
