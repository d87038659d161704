"""How many bits weights and KV cache take, what they are multiplied in, and how good the answers are afterwards."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pennyweight.server.errors import ConfigError

from .model_shape import ModelShape

# A 16-bit scale and a 4-bit zero point for each group of 128 weights.
BITS_OF_4_IN_GROUPS = 4 + (16 + 4) / 128


@dataclass(frozen=True)
class Quantisation:
    """``weight_bits`` of the layers' weights with their scales; embeddings and head stay at ``head_bits``.

    ``compute`` is the type that is multiplied, as the device book names it. ``quality`` is the measured share of answers
    that are as good as they have to be, 0 to 1; None where nobody has measured it.
    """

    name: str
    weight_bits: float
    compute: str
    head_bits: float = 16
    kv_bits: int = 16
    quality: float | None = None

    def weight_bytes(self, shape: ModelShape) -> int:
        """Bytes of all weights."""
        head = shape.parameters - shape.layer_parameters
        return round((shape.layer_parameters * self.weight_bits + head * self.head_bits) / 8)


QUANTISATIONS = (
    Quantisation("bfloat16", 16, "bfloat16"),
    Quantisation("fp8", 8, "fp8"),
    Quantisation("fp8-kv8", 8, "fp8", kv_bits=8),
    Quantisation("w8a8", 8, "int8"),
    Quantisation("w4a16", BITS_OF_4_IN_GROUPS, "bfloat16"),
)


def choose_quantisations(names: Iterable[str], quality: Mapping[str, float]) -> list[Quantisation]:
    """Those of the names, in their order, with their measured quality. Raises ConfigError."""
    known = {one.name: one for one in QUANTISATIONS}
    if unknown := [name for name in (*names, *quality) if name not in known]:
        raise ConfigError(f"no quantisation is called {unknown[0]!r}; there are {', '.join(known)}")
    return [dataclasses.replace(known[name], quality=quality.get(name)) for name in dict.fromkeys(names)]


def read_quality(file: Path) -> dict[str, float]:
    """Measured quality by quantisation, from a YAML or JSON file of ``name: share``. Raises ConfigError."""
    try:
        found = msgspec.yaml.decode(file.read_bytes(), type=dict[str, float])
    except OSError as error:
        raise ConfigError(f"the quality file {file} can't be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise ConfigError(f"the quality file {file} is not a mapping of names to numbers: {error}") from None
    if wrong := [name for name, share in found.items() if not 0 < share <= 1]:
        raise ConfigError(f"{file} has a quality of {found[wrong[0]]} for {wrong[0]}: it must be above 0 and at most 1")
    return found
