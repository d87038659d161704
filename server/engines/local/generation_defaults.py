"""What a model's makers say of sampling from it: the defaults of generation_config.json, and every end of sequence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pennyweight.server.errors import ModelError

from .gguf import generation_config_of
from .gguf_file import GGUFFile
from .model_json import read_json_if_there

GENERATION_FILE = "generation_config.json"
# Values of the setting generation_config; anything else is a directory or file to read instead. "vllm" is vLLM's name.
FROM_MODEL = "auto"
NEUTRAL = ("neutral", "vllm")


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationDefaults:
    """None where the model has no opinion. ``eos_token_ids`` are all the tokens that end a sequence, ascending."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    eos_token_ids: tuple[int, ...] = ()


def load_generation_defaults(path: Path, source: str = FROM_MODEL) -> GenerationDefaults:
    """The defaults of the model in a directory in Hugging Face format or a .gguf file.

    ``source`` is "auto" for what the model brings, "neutral" for no sampling defaults, or where to read them instead. The
    ends of sequence are the model's in any case. Raises ModelError for a file that can't be used.
    """
    if path.suffix == ".gguf":
        own = generation_config_of(GGUFFile(path))
        ends = _token_ids(own, str(path))
    else:
        own = read_json_if_there(path / GENERATION_FILE)
        ends = _token_ids(own, GENERATION_FILE) | _token_ids(read_json_if_there(path / "config.json"), "config.json")
    if source in NEUTRAL:
        return GenerationDefaults(eos_token_ids=tuple(sorted(ends)))
    if source == FROM_MODEL:
        return _defaults(own, ends, f"{path / GENERATION_FILE}")
    chosen = Path(source).expanduser()
    file = chosen / GENERATION_FILE if chosen.is_dir() else chosen
    if not file.is_file():
        raise ModelError(f"generation_config is {source!r}: there is no {file} (or say auto or neutral)")
    return _defaults(read_json_if_there(file), ends, str(file))


def _token_ids(config: Mapping[str, Any], source: str) -> set[int]:
    given = config.get("eos_token_id")
    ids = given if isinstance(given, list) else [given] if given is not None else []
    if not all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in ids):
        raise ModelError(f"eos_token_id of {source} is {given!r}, where token ids are expected")
    return set(ids)


def _defaults(config: Mapping[str, Any], ends: set[int], source: str) -> GenerationDefaults:
    def number(name: str, least: float, most: float) -> float | None:
        value = config.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise ModelError(f"{name} of {source} is {value!r}; it must be a number from {least:g} to {most:g}")
        return float(value)

    top_k = number("top_k", -1, 2**31 - 1)
    return GenerationDefaults(
        temperature=number("temperature", 0, 100),
        top_p=number("top_p", 0, 1),
        top_k=None if top_k is None else max(0, int(top_k)),
        min_p=number("min_p", 0, 1),
        repetition_penalty=number("repetition_penalty", 1e-3, 100),
        eos_token_ids=tuple(sorted(ends)),
    )
