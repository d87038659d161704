"""LoRA adapters as peft saves them: which of its options are understood, and the names and shapes of their tensors.

An adapter that says more than is understood is refused: leaving an option out would give other answers than its makers saw.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pennyweight.server.errors import ModelError

from .model_json import read_json_object
from .weights_digest import weights_digest

T = TypeVar("T")

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
# A header is a line of JSON for each tensor; larger ones are none.
MAX_HEADER_BYTES = 64 << 20

# What changes nothing in what an adapter computes: where it came from, how it was trained, and where its tensors show it anyway.
_WITHOUT_EFFECT = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "ensure_weight_tying",
        "eva_config",
        "exclude_modules",
        "inference_mode",
        "layers_pattern",
        "layers_to_transform",
        "lora_dropout",
        "lora_ga_config",
        "megatron_core",
        "peft_version",
        "qalora_group_size",
        "revision",
        "runtime_config",
    }
)
_UNDERSTOOD = frozenset(
    {
        "alpha_pattern",
        "bias",
        "init_lora_weights",
        "lora_alpha",
        "peft_type",
        "r",
        "rank_pattern",
        "target_modules",
        "task_type",
        "use_rslora",
    }
)
# Other ways to start from (PiSSA, OLoRA, CorDA, LoftQ, ...) have changed the model's own weights too.
_PLAIN_STARTS = (True, False, "gaussian", "eva", "orthogonal", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeftAdapter:
    """What adapter_config.json says. Patterns are regular expressions over the ends of modules' names, the first fit counts."""

    rank: int
    alpha: float
    use_rslora: bool
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    target_modules: tuple[str, ...]

    @property
    def largest_rank(self) -> int:
        return max((self.rank, *self.rank_pattern.values()))

    def rank_of(self, module: str) -> int:
        return _matching(self.rank_pattern, module, self.rank)

    def scaling_of(self, module: str) -> float:
        """What B (A x) is multiplied with: alpha / rank, or alpha / sqrt(rank) (rsLoRA, arXiv:2312.03732)."""
        rank = self.rank_of(module)
        return _matching(self.alpha_pattern, module, self.alpha) / (math.sqrt(rank) if self.use_rslora else rank)


def read_peft_adapter(directory: Path, *, max_rank: int) -> PeftAdapter:
    """The configuration of the adapter in a directory. Raises ModelError where it isn't plain LoRA, or of too high a rank."""
    given = read_json_object(directory / CONFIG_FILE)
    if given.get("peft_type") != "LORA":
        raise ModelError(f"its peft_type is {given.get('peft_type')!r}; only LORA is supported")
    if given.get("task_type") not in (None, "CAUSAL_LM"):
        raise ModelError(f"its task_type is {given['task_type']!r}; only CAUSAL_LM is supported")
    if given.get("bias", "none") != "none":
        raise ModelError(f"it trains biases (bias: {given['bias']!r}), which is not supported")
    if given.get("init_lora_weights") not in _PLAIN_STARTS:
        raise ModelError(
            f"it was started by {given['init_lora_weights']!r}, which changes the model's own weights: have peft convert it "
            "to plain LoRA when saving it (path_initial_model_for_weight_conversion)"
        )
    for option, value in sorted(given.items()):
        if value and option not in _WITHOUT_EFFECT | _UNDERSTOOD:
            raise ModelError(f"it uses peft's option {option}, which is not supported")
    adapter = PeftAdapter(
        rank=_rank(given.get("r"), "r"),
        alpha=_number(given.get("lora_alpha"), "lora_alpha"),
        use_rslora=given.get("use_rslora") is True,
        rank_pattern={key: _rank(value, "rank_pattern") for key, value in _pattern(given, "rank_pattern").items()},
        alpha_pattern={key: _number(value, "alpha_pattern") for key, value in _pattern(given, "alpha_pattern").items()},
        target_modules=_target_modules(given.get("target_modules")),
    )
    if adapter.largest_rank > max_rank:
        raise ModelError(
            f"its rank is {adapter.largest_rank}, but at most {max_rank} is allowed (engine.max_lora_rank)"
        )
    return adapter


def adapter_digest(directory: Path) -> str:
    """A hexadecimal digest that changes with the adapter. Raises ModelError where a file is not there or no safetensors file."""
    weights = directory / WEIGHTS_FILE
    try:
        digest = hashlib.sha256((directory / CONFIG_FILE).read_bytes())
        digest.update(weights_digest([(weights, _header_bytes(weights))]).encode())
    except OSError as error:
        raise ModelError(f"{Path(error.filename or weights).name} can't be read: {error.strerror}") from error
    return digest.hexdigest()[:32]


def _header_bytes(weights: Path) -> int:
    """The header's size, once the header is known to fit the file."""
    with weights.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        length = 8 + int.from_bytes(file.read(8), "little")
        if length > min(size, MAX_HEADER_BYTES):
            raise ModelError(f"{WEIGHTS_FILE} is truncated or no safetensors file")
        try:
            header: dict[str, Any] = json.loads(file.read(length - 8))
            end = max((one["data_offsets"][1] for name, one in header.items() if name != "__metadata__"), default=0)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise ModelError(f"{WEIGHTS_FILE} is no safetensors file") from error
    if length + end != size:
        raise ModelError(f"{WEIGHTS_FILE} has {size} bytes where its header says {length + end}")
    return length


def _pattern(given: Mapping[str, Any], option: str) -> Mapping[str, Any]:
    pattern = given.get(option) or {}
    if not isinstance(pattern, dict):
        raise ModelError(f"its {option} is no object")
    for key in pattern:
        try:
            re.compile(key)
        except re.error as error:
            raise ModelError(f"its {option} has a key that is no regular expression: {key!r}") from error
    return pattern


def _matching(pattern: Mapping[str, T], module: str, default: T) -> T:
    """As peft's ``get_pattern_key`` has it."""
    return next((value for key, value in pattern.items() if re.match(rf"(.*\.)?({key})$", module)), default)


def _rank(value: Any, option: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelError(f"its {option} is {value!r}; a rank must be a positive integer")
    return value


def _number(value: Any, option: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ModelError(f"its {option} is {value!r}, which is no number")
    return float(value)


def _target_modules(value: Any) -> tuple[str, ...]:
    """The names that are given; none for a pattern, which the tensors' own names make plain."""
    if value is None or isinstance(value, str):
        return ()
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ModelError("its target_modules are no list of names")
    return tuple(value)
