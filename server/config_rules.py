"""What settings may be, beyond their types."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .config import Settings
from .errors import ConfigError

DEFAULT_SOURCE = "default"
LOG_LEVELS = ("debug", "info", "warning", "error")
ENGINES = ("native", "encoder", "vllm", "tensorrt_llm")
KV_CACHE_DTYPES = ("auto", "int8")
DTYPES = ("auto", "bfloat16", "int8", "float32")


def check_rules(settings: Settings, sources: Mapping[str, str]) -> None:
    """Raise ConfigError for the first setting that can't be so; ``sources`` says what has set each that is not the default."""
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
    cache = settings.response_cache
    if cache.store is not None and not cache.max_bytes:
        raise ConfigError(
            f"response_cache.store (from {sources['response_cache.store']}) stands behind a memory: set response_cache.max_bytes as well"
        )
    if cache.key_file is not None and cache.store is None:
        raise ConfigError(
            f"response_cache.key_file (from {sources['response_cache.key_file']}) encrypts what is in response_cache.store, which is not set"
        )
    if settings.semantic_cache.tenants and settings.semantic_cache.embedder is None:
        raise ConfigError(
            f"semantic_cache.tenants (from {sources['semantic_cache.tenants']}) are named, but semantic_cache.embedder, the model that makes "
            "embeddings, is not set"
        )
    if settings.record.max_bytes < settings.record.max_file_bytes:
        raise ConfigError(
            f"record.max_bytes ({settings.record.max_bytes}) must not be below record.max_file_bytes "
            f"({settings.record.max_file_bytes}): a file goes as a whole"
        )
    cascade = settings.router.cascade
    for name, is_right, what in _CASCADE:
        if not is_right(value := getattr(cascade, name)):
            source = sources.get("router.cascade", DEFAULT_SOURCE)
            raise ConfigError(f"router.cascade.{name} (from {source}) is {value!r}; it must be {what}")
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
    *_numbers("response_cache", 0, "max_bytes"),
    *_numbers("response_cache", 0.001, "ttl", "store_timeout"),
    *_numbers("response_cache", 1 << 20, "store_max_bytes"),
    *_numbers("router", 1, "long_prompt", "failures_to_open"),
    *_numbers("router", 0.001, "reset_seconds"),
    ("router.fallback_budget", lambda value: 0 <= value <= 1, "from 0 to 1"),
    ("router.quality", lambda value: 0 <= value <= 1, "from 0 to 1"),
    ("router.strong_share", lambda value: 0 <= value <= 1, "from 0 to 1"),
    *_numbers("overload", 0.001, "max_wait", "max_tpot"),
    *_numbers("semantic_cache", 0.001, "embed_timeout", "ttl"),
    *_numbers("semantic_cache", 1, "max_entries", "max_bytes"),
    ("semantic_cache.bound", lambda value: 0 < value < 1, "a share above 0 and below 1"),
    ("semantic_cache.audit_share", lambda value: 0.01 <= value <= 0.9, "a share from 0.01 to 0.9"),
    ("semantic_cache.least_cosine", lambda value: 0 <= value <= 1, "from 0 to 1"),
    (
        "semantic_cache.judge",
        lambda value: re.fullmatch(r"exact|model:.+|function:[\w.]+:\w+", value) is not None,
        "exact, model:NAME or function:MODULE:NAME",
    ),
    (
        "semantic_cache.index",
        lambda value: value == "memory" or value.startswith(("postgresql://", "postgres://")),
        "memory, or a URL that begins with postgresql://",
    ),
    ("record.share", lambda value: 0 < value <= 1, "a share above 0, and at most 1"),
    *_numbers("record", 1 << 20, "max_file_bytes", "max_bytes"),
    *_numbers("record", 1, "max_age", "max_pending"),
    *_numbers("record", 0.001, "write_timeout"),
    (
        "record.redact",
        lambda value: all(re.fullmatch(r"prompts|answers|function:[\w.]+:\w+", one) for one in value),
        "hooks, each of prompts, answers or function:MODULE:NAME",
    ),
    *_numbers("residency", 1, "memory_budget", "max_queue"),
    ("telemetry.interval", lambda value: value == 0 or 0.1 <= value <= 3600, "0 (off), or from 0.1 to 3600 seconds"),
    *_numbers("telemetry", 0, "dollars_per_hour"),
    *[
        (f"telemetry.{name}", lambda value: 1 <= value < 1e21, "at least 1")
        for name in ("peak_flops", "peak_bandwidth")
    ],
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
    _one_of("engine.kv_cache_dtype", KV_CACHE_DTYPES),
    _one_of("engine.kind", ENGINES),
    _one_of("engine.tool_call_parser", ("hermes", "llama3", "mistral")),
    _one_of("log.level", LOG_LEVELS),
    _one_of("log.format", ("json", "console")),
]

_CASCADE: list[tuple[str, Callable[[Any], bool], str]] = [
    ("judges", lambda value: 0 < len(value) == len(set(value)), "at least one of them, and none twice"),
    *[(name, lambda value: 0 <= value <= 1, "from 0 to 1") for name in ("min_margin", "min_right", "min_agreement")],
    ("samples", lambda value: 1 <= value <= 16, "from 1 to 16"),
    ("sample_temperature", lambda value: 0 < value <= 2, "above 0 and at most 2"),
]
