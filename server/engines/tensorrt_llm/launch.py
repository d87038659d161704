"""How TensorRT-LLM's process is started: the arguments of ``tensorrt_llm.LLM`` and the environment, made from our settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.features import GENERATION_FEATURES, Feature
from pennyweight.server.engines.local.interpreter import interpreter_with
from pennyweight.server.engines.local.launch import Launch
from pennyweight.server.engines.local.model_json import read_json_if_there
from pennyweight.server.errors import ConfigError, ModelError

# Settings of ours and the arguments that mean the same.
ARGUMENTS = {"dtype": "dtype", "max_num_seqs": "max_batch_size", "max_num_batched_tokens": "max_num_tokens"}
# What the server itself decides: grammars mean what they mean with the native engine, a long prompt is no reason to refuse one,
# and the figures of each iteration are its sign of life.
OURS: dict[str, Any] = {
    "guided_decoding_backend": "llguidance",
    "enable_chunked_prefill": True,
    "enable_iter_perf_stats": True,
}
# Arguments that would contradict what the server does with text and grammars.
NOT_TAKEN = (
    "model",
    "tokenizer",
    "skip_tokenizer_init",
    "backend",
    "guided_decoding_backend",
    "enable_iter_perf_stats",
    "num_postprocess_workers",
)
# What the default sampler of 1.2.1 leaves without effect (seed, min_p, penalties), what it does for one end of sequence
# only (min_tokens), what it knows in another form (a bias for the whole vocabulary; of the prompt's logprobs the most
# probable tokens, without the one that stands there), what there is not (a request's priority), what has other rules (beam search),
# and what its worker doesn't do.
CAN_NOT = frozenset(
    {
        Feature.SEED,
        Feature.BEAM_SEARCH,
        Feature.MIN_P,
        Feature.PENALTIES,
        Feature.REPETITION_PENALTY,
        Feature.MIN_TOKENS,
        Feature.LOGIT_BIAS,
        Feature.PROMPT_LOGPROBS,
        Feature.PRIORITY,
        Feature.BOUNDED_NUMBERS,
        Feature.ADAPTERS,
        Feature.LOGITS_HASHES,
    }
)


NOT_INSTALLED = (
    "TensorRT-LLM is not installed beside the server: name the Python of an environment that has it, Pennyweight "
    "and msgspec with --engine-python (it pins versions that the server can't share)"
)


def tensorrt_llm_launch(settings: EngineSettings, path: Path) -> Launch:
    """TensorRT-LLM for the model at ``path``. Raises ConfigError or ModelError for what can't be given to it.

    ``settings.engine_args`` are the keywords of ``tensorrt_llm.LLM``; they count before ours. Whether it knows them is
    checked in its process, for only there it is imported.
    """
    if path.suffix == ".gguf":
        raise ModelError(
            f"TensorRT-LLM does not read {path.name}: give it a directory in Hugging Face format, or use the native engine"
        )
    return Launch(
        engine="tensorrt_llm",
        module="pennyweight.server.engines.tensorrt_llm.worker",
        arguments={"arguments": engine_arguments(settings, path), "vocab_size": _number(path, "vocab_size")},
        python=interpreter_with("tensorrt_llm", settings.python, otherwise=NOT_INSTALLED),
        environment=_environment(),
        features=GENERATION_FEATURES - CAN_NOT,
    )


def engine_arguments(settings: EngineSettings, path: Path) -> dict[str, Any]:
    """The keywords of ``tensorrt_llm.LLM``. A setting left at its default is left to TensorRT-LLM's. Raises ConfigError, ModelError."""
    given = settings.engine_args
    for name in NOT_TAKEN:
        if name in given:
            raise ConfigError(f"engine.engine_args can't hold {name}: it follows from the server's own settings")
    if settings.dtype == "int8":
        raise ConfigError(
            "engine.dtype int8 is the native engine's: TensorRT-LLM serves a checkpoint quantised already"
        )
    if settings.kv_cache_dtype != "auto":
        raise ConfigError(
            f"engine.kv_cache_dtype {settings.kv_cache_dtype} is the native engine's: TensorRT-LLM takes "
            "engine_args: {kv_cache_config: {dtype: fp8}}"
        )
    if settings.kernels != "auto":
        raise ConfigError(f"engine.kernels {settings.kernels} is the native engine's: TensorRT-LLM chooses its own")
    if settings.device != "auto":
        raise ConfigError(
            "engine.device is the native engine's: TensorRT-LLM takes a CUDA card, and CUDA_VISIBLE_DEVICES picks one"
        )
    if settings.threads is not None:
        raise ConfigError("engine.threads is for engines that compute on a CPU, which TensorRT-LLM does not")
    defaults = EngineSettings()
    changed = {
        name: getattr(settings, setting)
        for setting, name in ARGUMENTS.items()
        if getattr(settings, setting) != getattr(defaults, setting)
    }
    if settings.enforce_eager:
        changed["cuda_graph_config"] = None
    # Always given: what TensorRT-LLM finds out for itself, it tells nobody.
    changed["max_seq_len"] = settings.max_model_len or given.get("max_seq_len") or _context(path)
    return {
        **OURS,
        **changed,
        **given,
        "kv_cache_config": _kv_cache(settings, given.get("kv_cache_config", {})),
        "model": str(path),
        "tokenizer": str(path),
    }


def _kv_cache(settings: EngineSettings, given: object) -> dict[str, Any]:
    """The keywords of ``KvCacheConfig``."""
    if not isinstance(given, dict):
        raise ConfigError("engine.engine_args: kv_cache_config is a mapping, each name with a value")
    ours: dict[str, Any] = {"enable_block_reuse": settings.enable_prefix_caching}
    if settings.kv_cache_memory is not None:
        ours["max_gpu_total_bytes"] = settings.kv_cache_memory
    if settings.block_size != EngineSettings().block_size:
        ours["tokens_per_block"] = settings.block_size
    return {**ours, **given}


def _context(path: Path) -> int:
    return _number(path, "max_position_embeddings", "; say engine.max_model_len")


def _number(path: Path, name: str, hint: str = "") -> int:
    """A number of config.json, which models that also see or hear keep one level down."""
    config = read_json_if_there(path / "config.json")
    text = config.get("text_config")
    value = config.get(name, text.get(name) if isinstance(text, dict) else None)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelError(f"{path / 'config.json'} does not say {name}{hint}")
    return value


def _environment() -> dict[str, str]:
    statistics = {"TRTLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    ours = {"HF_HUB_OFFLINE": "1", "TLLM_LOG_LEVEL": "WARNING"}
    return statistics | {name: value for name, value in ours.items() if name not in os.environ}
