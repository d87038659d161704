"""Shapes whose figures can be worked out by hand, and devices to put them on."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.model_shapes import LLAMA_3_8B, MIXTRAL_8X7B, SMALL, write_config

from pennyweight.bench.plan.device import Device, read_devices
from pennyweight.bench.plan.model_shape import ModelShape, read_model_shape


@pytest.fixture
def llama(tmp_path: Path) -> ModelShape:
    return read_model_shape(write_config(tmp_path, LLAMA_3_8B, "llama-3-8b"))


@pytest.fixture
def mixtral(tmp_path: Path) -> ModelShape:
    return read_model_shape(write_config(tmp_path, MIXTRAL_8X7B, "mixtral"))


@pytest.fixture
def small(tmp_path: Path) -> ModelShape:
    return read_model_shape(write_config(tmp_path, SMALL, "small"))


@pytest.fixture(scope="session")
def devices() -> dict[str, Device]:
    return read_devices(None)
