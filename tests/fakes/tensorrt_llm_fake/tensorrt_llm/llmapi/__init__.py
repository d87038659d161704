"""llmapi/."""

from tensorrt_llm.executor.result import CompletionOutput
from tensorrt_llm.executor.utils import RequestError
from tensorrt_llm.sampling_params import GuidedDecodingParams, SamplingParams

from .llm import LLM, RequestOutput
from .llm_args import KvCacheConfig, TorchLlmArgs

__all__ = [
    "LLM",
    "CompletionOutput",
    "GuidedDecodingParams",
    "KvCacheConfig",
    "RequestError",
    "RequestOutput",
    "SamplingParams",
    "TorchLlmArgs",
]
