"""The device book (configs/devices.yaml): what each device's memory, bandwidth and arithmetic come to on paper."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Literal

import msgspec

from pennyweight.server.errors import ConfigError


class DeviceEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One device as the book has it: MiB, GB/s, TFLOP/s by precision; ``link`` is GB/s to its neighbours, one way.

    ``card`` is its name in the price book, ``nvml`` a part of what the driver calls it.
    """

    memory_mib: int
    bandwidth: float
    flops: Mapping[str, float]
    source: str
    kind: Literal["gpu", "cpu"] = "gpu"
    card: str | None = None
    nvml: str | None = None
    link: float | None = None


class _Book(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    devices: Mapping[str, DeviceEntry]


def read_book(file: Path | None = None) -> Mapping[str, DeviceEntry]:
    """The entries of a book by name; the packaged book's where no file is given. Raises ConfigError."""
    try:
        text = (files("pennyweight") / "devices.yaml" if file is None else file).read_bytes()
        entries = msgspec.yaml.decode(text, type=_Book).devices
    except OSError as error:
        raise ConfigError(f"the device book {file} can't be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise ConfigError(f"the device book {file or 'devices.yaml'} is not valid: {error}") from None
    for name, entry in entries.items():
        figures = (entry.memory_mib, entry.bandwidth, *entry.flops.values(), entry.link or 1.0)
        if min(figures) <= 0 or not {"bfloat16", "float32"} & entry.flops.keys():
            raise ConfigError(
                f"the device book's {name} needs figures above 0, and flops for bfloat16 or float32 at least"
            )
    return entries
