"""The Triton kernels' tests run on a card where there is one, else in Triton's interpreter, on the CPU."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np
import pytest
import torch

IS_INTERPRETED = not torch.cuda.is_available()

if find_spec("triton") is None:  # it is there on Linux alone
    collect_ignore_glob = ["test_*.py"]
elif IS_INTERPRETED:
    # Whether a function is interpreted is settled as it is defined; for Triton's own, tests/conftest.py has done it.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        package = importlib.import_module("pennyweight.kernels.triton")
        for module in pkgutil.iter_modules(package.__path__, "pennyweight.kernels.triton."):
            importlib.import_module(module.name)


@pytest.fixture(scope="session")
def device() -> torch.device:
    return torch.device("cpu" if IS_INTERPRETED else "cuda")


@pytest.fixture(scope="module", autouse=True)
def _interpreted() -> Iterator[None]:
    """Triton asks again now and then. Only while these tests run, so that what others start doesn't inherit it.

    Numbers that overflow or aren't any are as quiet in the interpreter as on a card.
    """
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        if IS_INTERPRETED:
            patch.setenv("TRITON_INTERPRET", "1")
        yield


@pytest.fixture(scope="module", autouse=True)
def _poisoned_memory() -> Iterator[None]:
    """What ``torch.empty`` gives is filled with NaN or the largest whole numbers: whoever reads it shows."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)
