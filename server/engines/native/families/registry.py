"""The families that the native engine has. A new one is a file beside this and a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from pennyweight.kernels.ops import Ops
from pennyweight.server.engines.native.checkpoint import Checkpoint
from pennyweight.server.engines.native.layers import Decoder
from pennyweight.server.engines.native.model_config import ModelConfig

from .llama import Llama
from .mistral import Mistral
from .qwen2 import Qwen2
from .qwen3 import Qwen3

# By ``ModelConfig.family``.
FAMILIES: Mapping[str, Callable[[ModelConfig, Ops, Checkpoint], Decoder]] = MappingProxyType(
    {"llama": Llama, "mistral": Mistral, "qwen2": Qwen2, "qwen3": Qwen3}
)
