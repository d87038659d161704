"""The card for tests that need one. $PENNYWEIGHT_TEST_DEVICE=cpu tries the tests themselves where there is none."""

from __future__ import annotations

import os

import pytest
import torch


@pytest.fixture(scope="session")
def device() -> str:
    chosen = os.environ.get("PENNYWEIGHT_TEST_DEVICE", "cuda")
    if chosen == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA card, or this PyTorch is built without CUDA")
    return chosen
