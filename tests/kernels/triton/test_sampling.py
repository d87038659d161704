"""Sampling without a sort chooses what the reference chooses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pennyweight.kernels.sampling import SamplingBatch, sample_reference
from pennyweight.kernels.triton.sampling import sample_rows

ROWS, VOCAB = 4, 1200


def batch(**changes: Any) -> SamplingBatch:
    columns: dict[str, Any] = {
        "temperature": np.full(ROWS, 0.8, np.float32),
        "top_k": np.zeros(ROWS, np.int32),
        "top_p": np.ones(ROWS, np.float32),
        "min_p": np.zeros(ROWS, np.float32),
        "seed": np.arange(ROWS, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15),
        "position": np.arange(ROWS, dtype=np.int64) + (1 << 33),
        "num_top": np.full(ROWS, -1, np.int32),
    }
    given = {name: np.resize(np.asarray(value, columns[name].dtype), ROWS) for name, value in changes.items()}
    return SamplingBatch(**(columns | given))


def logits(*, ties: bool = False) -> Tensor:
    drawn = torch.randn(ROWS, VOCAB, generator=torch.Generator().manual_seed(1)) * 3
    return drawn.round() if ties else drawn


@pytest.mark.parametrize(
    ("changes", "ties"),
    [
        ({"temperature": [0.0, 0.7]}, True),
        ({"temperature": [0.5, 1.5]}, False),
        ({"top_k": [1, 7, 40, VOCAB + 5]}, True),
        ({"top_p": [0.0, 0.1, 0.5, 0.93]}, True),
        ({"min_p": [0.02, 0.5]}, False),
        ({"top_k": [50, 3, 0, 20], "top_p": [0.9, 0.4, 0.7], "min_p": [0.0, 0.05]}, False),
    ],
    ids=str,
)
def test_it_chooses_what_the_reference_chooses(device: torch.device, changes: dict[str, Any], ties: bool) -> None:
    one = batch(**changes)
    found, wanted = sample_rows(logits(ties=ties).to(device), one), sample_reference(logits(ties=ties), one)
    assert found.token_ids.tolist() == wanted.token_ids.tolist()


def test_logprobs_are_those_of_the_reference(device: torch.device) -> None:
    one = batch(temperature=[0.0, 1.0], num_top=[0, 3, 5, -1])
    found, wanted = sample_rows(logits().to(device), one), sample_reference(logits(), one)
    asked = one.num_top >= 0
    np.testing.assert_allclose(found.logprobs[asked], wanted.logprobs[asked], atol=1e-5)
    for row, count in enumerate(np.maximum(one.num_top, 0)):
        assert found.top_ids[row, :count].tolist() == wanted.top_ids[row, :count].tolist()
        np.testing.assert_allclose(found.top_logprobs[row, :count], wanted.top_logprobs[row, :count], atol=1e-5)


def test_forbidden_tokens_are_never_chosen(device: torch.device) -> None:
    few = torch.full((ROWS, VOCAB), -torch.inf)
    few[:, [5, 1100]] = torch.tensor([0.0, 0.1])
    one = batch(top_p=[1.0, 0.9], top_k=[0, 10])
    found, wanted = sample_rows(few.to(device), one), sample_reference(few.clone(), one)
    assert found.token_ids.tolist() == wanted.token_ids.tolist()
    assert set(found.token_ids.tolist()) <= {5, 1100}


def test_a_row_chooses_alone_what_it_chooses_in_a_batch(device: torch.device) -> None:
    one = batch(top_k=[0, 20], top_p=[0.9, 0.5])
    found = sample_rows(logits().to(device), one)
    columns = {name: getattr(one, name)[2:3] for name in one.__slots__ if name not in ("mask", "masked")}
    assert sample_rows(logits()[2:3].to(device), SamplingBatch(**columns)).token_ids[0] == found.token_ids[2]
