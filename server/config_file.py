"""Where settings come from: defaults, then a YAML file, then the environment, then the command line; the last one counts."""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from .config import EngineSettings, ModelSettings, Settings, UpstreamSettings
from .errors import ConfigError
from .strict_yaml import Document, read_yaml

PREFIX = "PENNYWEIGHT_"
# Variables that are no settings: read by the model store, by the CPU's kernels and their build, and by `pennyweight models`.
ADMIN_URL_VARIABLE = "PENNYWEIGHT_ADMIN_URL"
OTHER_VARIABLES = ("PENNYWEIGHT_CACHE", "PENNYWEIGHT_CPU_ISA", "PENNYWEIGHT_KERNELS", ADMIN_URL_VARIABLE)
API_KEY_VARIABLE = "PENNYWEIGHT_API_KEY"
DEFAULT_SOURCE = "default"

MODELS, ALIASES, UPSTREAM = "models", "aliases", "upstream"
SECTIONS: Mapping[str, type[msgspec.Struct]] = {
    field.name: field.type for field in msgspec.structs.fields(Settings) if field.name not in (MODELS, ALIASES)
}
LOG_LEVELS = ("debug", "info", "warning", "error")
ENGINES = ("native", "encoder", "vllm", "tensorrt_llm")
DTYPES = ("auto", "bfloat16", "int8", "float32")

_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[KMGT]?)(?P<binary>i?)B?", re.IGNORECASE)
_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Settings, and for each (as ``section.name``) that is not the default what has set it."""

    settings: Settings
    sources: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Given:
    section: str
    name: str
    value: Any
    source: str
    adds: bool = False


def load_settings(
    file: Path | None, environment: Mapping[str, str], overrides: Mapping[tuple[str, str], tuple[Any, str]]
) -> LoadedSettings:
    """The settings that a start has. ``overrides`` maps (section, name) to a value and the flag that gave it.

    Raises ConfigError, which names the setting, where it was given and what would be right, but never a key.
    """
    given = [
        *(_from_file(file) if file is not None else ()),
        *_from_environment(environment),
        *(_Given(section, name, value, flag) for (section, name), (value, flag) in overrides.items()),
    ]
    values: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    sources: dict[str, str] = {}
    for one in given:
        setting, value, source = f"{one.section}.{one.name}", _converted(one), one.source
        if one.adds and setting in sources:
            value, source = (*values[one.section][one.name], *value), f"{sources[setting]}, {source}"
        values[one.section][one.name] = value
        sources[setting] = source
    sections: dict[str, Any] = {section: kind(**values[section]) for section, kind in SECTIONS.items()}
    settings = msgspec.convert(sections, Settings)
    _check(settings, sources)
    if file is not None:
        models = _models(file, settings.engine)
        if models and sources.get("engine.model") == "MODEL":
            raise ConfigError(f"{file} names models of its own: leave out MODEL, or the section models")
        if settings.residency.memory_budget is not None and not models:
            raise ConfigError(
                "residency.memory_budget is for several models: name them in the section models of a file"
            )
        settings = msgspec.structs.replace(settings, models=models, aliases=_aliases(file))
    return LoadedSettings(settings, sources)


def parse_size(text: str) -> int:
    """Bytes of a size such as ``2GiB``, ``512MB``, ``4G`` or ``1048576``; K, M, G and T alone are powers of 1024.

    Raises ValueError for what is no size.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no size: give bytes, or a number with KiB, MiB, GiB, MB, GB, ...")
    is_decimal = text.strip().lower().endswith("b") and not found["binary"] and found["unit"]
    return int(float(found["number"]) * (1000 if is_decimal else 1024) ** _UNITS[found["unit"].lower()])


def _from_file(file: Path) -> Iterable[_Given]:
    document = read_yaml(file)
    read = document.value
    if read is None:
        return
    if not isinstance(read, dict):
        raise ConfigError(f"the configuration {file} must be sections: {', '.join((*SECTIONS, MODELS, ALIASES))}")
    for section, settings in read.items():
        if section in (MODELS, ALIASES):
            continue  # names of the operator's own: see _models
        if section not in SECTIONS:
            raise ConfigError(
                f"{_place(file, document, section)} has an unknown section {section!r}{_did_you_mean(section, (*SECTIONS, MODELS, ALIASES))}"
            )
        if not isinstance(settings, dict):
            raise ConfigError(f"the section {section} of {file} must be settings, each a name with a value")
        for name, value in settings.items():
            if name not in _names(section):
                raise ConfigError(
                    f"{_place(file, document, section, name)} has an unknown setting "
                    f"{section}.{name}{_did_you_mean(name, _names(section))}"
                )
            yield _Given(section, name, value, str(file))


def _models(file: Path, base: EngineSettings) -> dict[str, ModelSettings]:
    """The section ``models``: by each name, the settings of its engine; what one doesn't say is as the section ``engine`` has it."""
    document = read_yaml(file)
    section = (document.value or {}).get(MODELS) or {}
    if not isinstance(section, dict):
        raise ConfigError(f"the section {MODELS} of {file} must be models, each a name with settings")
    found = {}
    for name, given in section.items():
        place = _place(file, document, MODELS, name)
        if not isinstance(given, dict):
            raise ConfigError(f"{place} must give {MODELS}.{name} settings, each a name with a value")
        own, where = dict(given), f"{place} {MODELS}.{name}"
        kind = own.pop("engine", base.kind)
        if kind == UPSTREAM:
            found[name] = ModelSettings(upstream=_upstream(own, name, where))
            continue
        if "model" not in own:
            raise ConfigError(f"{place} must give {MODELS}.{name} a model")
        pinned = own.pop("pinned", False)
        values = _values(EngineSettings, own, where, ("engine", "pinned"))
        engine = msgspec.structs.replace(base, **({"served_model_name": ()} | values), kind=kind)
        sources = dict.fromkeys((f"engine.{setting}" for setting in _names("engine")), f"{MODELS}.{name} in {file}")
        _check(Settings(engine=engine), sources)
        found[name] = msgspec.convert({"local": engine, "pinned": pinned}, ModelSettings)
    return found


def _upstream(own: Mapping[str, Any], name: str, where: str) -> UpstreamSettings:
    if "base_url" not in own:
        raise ConfigError(f"{where}: an upstream needs a base_url, such as https://example.com/v1")
    values = _values(UpstreamSettings, own, where, ("engine",))
    try:
        return msgspec.convert(values, UpstreamSettings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where} can't be used: {error}") from error


def _values(kind: type[msgspec.Struct], own: Mapping[str, Any], where: str, more: Sequence[str]) -> dict[str, Any]:
    """A model's own settings, each of its type. ``more`` are names that it may have beside those of ``kind``."""
    known = (*kind.__struct_fields__, *more)
    for setting in own:
        if setting not in known:
            raise ConfigError(f"{where} has an unknown setting {setting}{_did_you_mean(setting, known)}")
    return {setting: _converted(_Given("", setting, value, where), kind) for setting, value in own.items()}


def _aliases(file: Path) -> dict[str, str]:
    section = (read_yaml(file).value or {}).get(ALIASES) or {}
    try:
        return msgspec.convert(section, dict[str, str])
    except msgspec.ValidationError:
        raise ConfigError(f"the section {ALIASES} of {file} must be aliases, each with the name of a model") from None


def _place(file: Path, document: Document, *names: str) -> str:
    line = document.lines.get(names)
    return str(file) if line is None else f"{file}, line {line},"


def _from_environment(environment: Mapping[str, str]) -> Iterable[_Given]:
    variables = {
        f"{PREFIX}{section}__{name}".upper(): (section, name) for section in SECTIONS for name in _names(section)
    }
    others = (*OTHER_VARIABLES, API_KEY_VARIABLE)
    for variable, value in sorted(environment.items()):
        if not variable.startswith(PREFIX) or variable in others:
            continue
        if variable not in variables:
            known = (*variables, *others)
            raise ConfigError(f"the environment has an unknown setting {variable}{_did_you_mean(variable, known)}")
        # An empty variable is one that is not set: a secret that a deployment failed to fill in must not open the server.
        if value.strip():
            yield _Given(*variables[variable], value, variable)
    if (value := environment.get(API_KEY_VARIABLE, "")).strip():
        yield _Given("http", "api_keys", value, API_KEY_VARIABLE, adds=True)


def _converted(given: _Given, section: type[msgspec.Struct] | None = None) -> Any:
    fields = msgspec.structs.fields(section or SECTIONS[given.section])
    kind = next(field.type for field in fields if field.name == given.name)
    where, value = f"{given.section}.{given.name} (from {given.source})".removeprefix("."), given.value
    if kind == tuple[str, ...] and isinstance(value, str):
        value = tuple(part.strip() for part in value.split(",") if part.strip())
    if given.name.endswith(("_memory", "_bytes", "_budget")) and isinstance(value, str):
        try:
            value = parse_size(value)
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from error
    if typing.get_origin(kind) is dict and isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError as error:
            raise ConfigError(f"{where} is no JSON object: {error}") from error
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        reason = str(error).partition(" - at")[0].replace("`", "")
        raise ConfigError(f"{where} can't be used: {reason[0].lower()}{reason[1:]}") from error


def _check(settings: Settings, sources: Mapping[str, str]) -> None:
    for setting, is_right, what in _RULES:
        section, _, name = setting.partition(".")
        value = getattr(getattr(settings, section), name)
        if value is not None and not is_right(value):
            source = sources.get(setting, DEFAULT_SOURCE)
            raise ConfigError(f"{setting} (from {source}) is {value!r}; it must be {what}")
    if any(key != key.strip() or not key for key in settings.http.api_keys):
        raise ConfigError(
            f"http.api_keys (from {sources['http.api_keys']}) has a key that is empty or has spaces around it; "
            "no client can send such a key"
        )
    engine = settings.engine
    if engine.engine_args and engine.kind in ("native", "encoder"):
        raise ConfigError(
            f"engine.engine_args (from {sources['engine.engine_args']}) are for the libraries (engine.kind: vllm or tensorrt_llm); "
            "the settings of our own engines have names of their own"
        )
    if engine.adapter_aliases and engine.adapters_dir is None:
        raise ConfigError(
            f"engine.adapter_aliases (from {sources['engine.adapter_aliases']}) name adapters, but engine.adapters_dir, where they lie, is not set"
        )
    if engine.max_num_batched_tokens is not None and engine.max_num_batched_tokens < engine.max_num_seqs:
        raise ConfigError(
            f"engine.max_num_batched_tokens ({engine.max_num_batched_tokens}) must not be below "
            f"engine.max_num_seqs ({engine.max_num_seqs}): each running sequence takes a token of every step"
        )


def _numbers(section: str, least: float, *names: str) -> list[tuple[str, Callable[[Any], bool], str]]:
    return [(f"{section}.{name}", lambda value: least <= value < 2**53, f"at least {least:g}") for name in names]


def _one_of(setting: str, choices: Iterable[str]) -> tuple[str, Callable[[Any], bool], str]:
    allowed = tuple(choices)
    return setting, lambda value: value in allowed, f"one of {', '.join(allowed)}"


_RULES: list[tuple[str, Callable[[Any], bool], str]] = [
    ("http.port", lambda value: 0 <= value <= 65535, "from 0 (any free one) to 65535"),
    ("admin.port", lambda value: 0 <= value <= 65535, "from 0 (any free one) to 65535"),
    *_numbers("http", 0, "grace_period"),
    *_numbers("http", 0.001, "header_timeout", "body_timeout", "write_timeout", "keep_alive"),
    *_numbers("http", 1, "max_header_bytes", "max_connections"),
    *_numbers(
        "limits",
        1,
        "max_body_bytes",
        "max_json_depth",
        "max_json_values",
        "max_messages",
        "max_prompts",
        "max_embedding_inputs",
        "max_n",
    ),
    *_numbers("limits", 0, "max_stop", "max_stop_length", "max_stop_token_ids", "max_logit_bias", "max_top_logprobs"),
    *_numbers("limits", 0, "max_tools", "max_schema_bytes", "max_choices", "max_metadata"),
    *_numbers("limits", 0.001, "constraint_compile_seconds"),
    *_numbers("limits", 1, "max_waiting"),
    *_numbers("engine", 1, "max_model_len", "kv_cache_memory", "max_num_seqs", "max_num_batched_tokens", "threads"),
    *_numbers("engine", 1, "max_loras"),
    ("engine.max_lora_rank", lambda value: 1 <= value <= 512, "from 1 to 512"),
    *_numbers("residency", 1, "memory_budget", "max_queue"),
    *_numbers("residency", 0, "min_residence", "idle_timeout"),
    *_numbers("engine", 0.001, "stall_seconds", "start_timeout"),
    ("engine.block_size", lambda value: value > 0 and value % 16 == 0, "a positive multiple of 16"),
    (
        "engine.dtype",
        lambda value: value in DTYPES,
        f"one of {', '.join(DTYPES)} (float16 is not done: bfloat16 takes its place)",
    ),
    (
        "engine.device",
        lambda value: re.fullmatch(r"auto|cpu|cuda(:\d+)?", value) is not None,
        "auto, cpu, cuda or cuda:N",
    ),
    _one_of("engine.kind", ENGINES),
    _one_of("engine.tool_call_parser", ("hermes", "llama3", "mistral")),
    _one_of("log.level", LOG_LEVELS),
    _one_of("log.format", ("json", "console")),
]


def _names(section: str) -> tuple[str, ...]:
    return SECTIONS[section].__struct_fields__


def _did_you_mean(name: object, known: Iterable[str]) -> str:
    choices = tuple(known)
    close = difflib.get_close_matches(str(name), choices, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(choices)}"
