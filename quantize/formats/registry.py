"""The formats that are read. A new one is a file beside this and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from .awq import AWQ
from .base import Format, FormatError, MakeFormat
from .bitsandbytes import BitsAndBytes
from .compressed_tensors import CompressedTensors
from .fp8 import FP8
from .gptq import GPTQ

# By quantization_config's quant_method.
FORMATS: Mapping[str, MakeFormat] = MappingProxyType(
    {
        "gptq": GPTQ,
        "awq": AWQ,
        "compressed-tensors": CompressedTensors,
        "bitsandbytes": BitsAndBytes,
        "fp8": FP8,
    }
)


def checkpoint_format(config: Mapping[str, Any]) -> Format:
    """The format that config.json's quantization_config names. Raises FormatError for one that is not read here."""
    method = config.get("quant_method")
    if not isinstance(method, str) or method not in FORMATS:
        raise FormatError(f"weights quantised by {method!r} are not read here; {', '.join(FORMATS)} are")
    return FORMATS[method](config)
