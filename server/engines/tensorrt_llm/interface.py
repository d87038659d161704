"""What is used of TensorRT-LLM, in one table: held against the installed version at each start, and against the fake by tests."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

VERSION = "1.2.1"
# Where the release's reference is; a place in the table is an anchor there, or a module of the sources rendered beside it.
REFERENCE = f"https://nvidia.github.io/TensorRT-LLM/{VERSION}/llm-api/reference.html"
SOURCES = f"https://nvidia.github.io/TensorRT-LLM/{VERSION}/_modules/tensorrt_llm/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """A class or function of TensorRT-LLM's, and what of it is used.

    ``keywords`` are those that it is called with, ``attributes`` what is read of an instance or called on one. Those of
    ``own_attributes`` an instance gets when it is made: a look at the class doesn't find them.
    """

    module: str
    name: str
    place: str
    keywords: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    own_attributes: tuple[str, ...] = ()
    version: str = VERSION


USED = (
    Used(
        module="tensorrt_llm",
        name="LLM",
        place="#tensorrt_llm.llmapi.LLM",
        attributes=("generate_async", "get_stats_async", "_check_health"),
    ),
    # The keywords of LLM, which takes them as **kwargs.
    Used(
        module="tensorrt_llm.llmapi.llm_args",
        name="TorchLlmArgs",
        place="#tensorrt_llm.llmapi.TorchLlmArgs",
        keywords=(
            "model",
            "tokenizer",
            "dtype",
            "max_seq_len",
            "max_batch_size",
            "max_num_tokens",
            "enable_chunked_prefill",
            "guided_decoding_backend",
            "enable_iter_perf_stats",
            "cuda_graph_config",
            "kv_cache_config",
        ),
        attributes=("model_fields",),
    ),
    Used(
        module="tensorrt_llm.llmapi",
        name="KvCacheConfig",
        place="#tensorrt_llm.llmapi.KvCacheConfig",
        keywords=("enable_block_reuse", "max_gpu_total_bytes", "tokens_per_block"),
        own_attributes=("tokens_per_block",),
    ),
    Used(
        module="tensorrt_llm",
        name="LLM.generate_async",
        place="#tensorrt_llm.llmapi.LLM.generate_async",
        keywords=("inputs", "sampling_params", "streaming", "cache_salt"),
    ),
    Used(
        module="tensorrt_llm",
        name="LLM.get_stats_async",
        place="#tensorrt_llm.llmapi.LLM.get_stats_async",
        keywords=("timeout",),
    ),
    Used(module="tensorrt_llm", name="LLM._check_health", place="llmapi/llm.html"),
    Used(
        module="tensorrt_llm",
        name="SamplingParams",
        place="#tensorrt_llm.llmapi.SamplingParams",
        keywords=(
            "end_id",
            "pad_id",
            "max_tokens",
            "stop_token_ids",
            "include_stop_str_in_output",
            "ignore_eos",
            "temperature",
            "top_p",
            "top_k",
            "min_p",
            "repetition_penalty",
            "logprobs",
            "guided_decoding",
            "detokenize",
        ),
    ),
    Used(
        module="tensorrt_llm.llmapi",
        name="GuidedDecodingParams",
        place="#tensorrt_llm.llmapi.GuidedDecodingParams",
        keywords=("json", "regex", "grammar"),
    ),
    Used(
        module="tensorrt_llm.llmapi",
        name="RequestOutput",
        place="#tensorrt_llm.llmapi.RequestOutput",
        attributes=("outputs", "abort", "__aiter__", "__anext__"),
        own_attributes=("cached_tokens",),
    ),
    Used(
        module="tensorrt_llm.llmapi",
        name="CompletionOutput",
        place="#tensorrt_llm.llmapi.CompletionOutput",
        attributes=("token_ids_diff", "logprobs_diff", "finish_reason"),
    ),
    Used(
        module="tensorrt_llm.executor.result",
        name="Logprob",
        place="executor/result.html",
        attributes=("logprob", "rank"),
    ),
    Used(module="tensorrt_llm.llmapi", name="RequestError", place="#tensorrt_llm.llmapi.RequestError"),
)


def lacking() -> list[str]:
    """What of the table the TensorRT-LLM that can be imported here does not have. Imports it."""
    return [missing for used in USED for missing in _lacking(used)]


def _lacking(used: Used) -> Iterator[str]:
    try:
        found: Any = importlib.import_module(used.module)
        for part in used.name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        yield f"{used.module}.{used.name}"
        return
    known = keywords_of(found) if used.keywords else ()
    yield from (f"{used.name}({keyword}=)" for keyword in used.keywords if keyword not in known)
    yield from (f"{used.name}.{name}" for name in used.attributes if not hasattr(found, name))


def keywords_of(found: Any) -> tuple[str, ...]:
    """The keywords that a function, a class or a model of pydantic's takes by name."""
    fields = getattr(found, "model_fields", None)
    return tuple(fields if fields is not None else inspect.signature(found).parameters)
