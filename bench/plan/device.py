"""Devices as the planner counts with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from pennyweight.server.telemetry.gpu.device_book import read_book

MIB = 1 << 20
# Between two cards of a machine that have no link of their own: PCIe 4.0 x16 as it is reached, bytes per second.
PCIE_BYTES_PER_SECOND = 25e9
# Tokens in a step by default: the native engine's on each kind of device, and near to vLLM's on cards.
STEP_TOKENS = {"gpu": 2048, "cpu": 128}


class Device(msgspec.Struct, frozen=True):
    """One device. Bytes, bytes per second, FLOP per second. ``card`` is its name in the price book."""

    name: str
    kind: Literal["gpu", "cpu"]
    card: str | None
    memory: int
    bandwidth: float
    flops: Mapping[str, float]
    link: float

    def flops_of(self, dtype: str) -> float:
        """The peak for a type; where the device has no units for it, that of bfloat16 (or float32), which it is converted to."""
        return self.flops.get(dtype) or self.flops.get("bfloat16") or self.flops["float32"]


def read_devices(file: Path | None) -> dict[str, Device]:
    """The devices of a book by name; the packaged book's where no file is given. Raises ConfigError."""
    return {
        name: Device(
            name=name,
            kind=entry.kind,
            card=entry.card,
            memory=entry.memory_mib * MIB,
            bandwidth=entry.bandwidth * 1e9,
            flops={dtype: peak * 1e12 for dtype, peak in entry.flops.items()},
            link=entry.link * 1e9 if entry.link else PCIE_BYTES_PER_SECOND,
        )
        for name, entry in read_book(file).items()
    }
