"""The device book: what each accelerator's memory, bandwidth and arithmetic come to on paper."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Literal

import msgspec

from pennyweight.server.errors import ConfigError

MIB = 1 << 20
# Between two cards of a machine that have no link of their own: PCIe 4.0 x16 as it is reached, bytes per second.
PCIE_BYTES_PER_SECOND = 25e9
# Tokens in a step by default: the native engine's on each kind of device, and near to vLLM's on cards.
STEP_TOKENS = {"gpu": 2048, "cpu": 128}


class DeviceEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One device as the book has it: MiB, GB/s, TFLOP/s."""

    memory_mib: int
    bandwidth: float
    flops: Mapping[str, float]
    source: str
    kind: Literal["gpu", "cpu"] = "gpu"
    card: str | None = None
    link: float | None = None


class DeviceBook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    devices: Mapping[str, DeviceEntry]


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
        """The peak for a type; where the device has no units for it, that of bfloat16, which it is converted to."""
        return self.flops.get(dtype, self.flops["bfloat16"])


def read_devices(file: Path | None) -> dict[str, Device]:
    """The devices of a book by name; the packaged book's where no file is given. Raises ConfigError."""
    try:
        text = (files("pennyweight") / "devices.yaml" if file is None else file).read_bytes()
        entries = msgspec.yaml.decode(text, type=DeviceBook).devices
    except OSError as error:
        raise ConfigError(f"the device book {file} can't be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise ConfigError(f"the device book {file or 'devices.yaml'} is not valid: {error}") from None
    for name, entry in entries.items():
        figures = (entry.memory_mib, entry.bandwidth, *entry.flops.values(), entry.link or 1.0)
        if min(figures) <= 0 or "bfloat16" not in entry.flops:
            raise ConfigError(f"the device book's {name} needs figures above 0, and flops for bfloat16 at least")
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
        for name, entry in entries.items()
    }
