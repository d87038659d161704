"""llmapi/llm.py: LLM with 1.2.1's signatures, and RequestOutput."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import tokenizers

from tensorrt_llm.call_log import log_call
from tensorrt_llm.engine import Engine
from tensorrt_llm.executor.result import GenerationResult, IterationResult, Nothing
from tensorrt_llm.executor.utils import RequestError
from tensorrt_llm.llmapi.llm_args import KvCacheConfig, TorchLlmArgs
from tensorrt_llm.sampling_params import SamplingParams

# Set, it says what starting the processes fails with.
START_ERROR = "FAKE_TRTLLM_START_ERROR"
# Set, it is how many seconds a process lives that is started as MPI starts its own: with every open file, in a session apart.
DAEMON_SECONDS = "FAKE_TRTLLM_DAEMON_SECONDS"


class RequestOutput(GenerationResult):
    """What generate_async gives."""

    @property
    def prompt(self) -> str | None:
        return None


class LLM:
    def __init__(
        self,
        model: str | Path,
        tokenizer: Any = None,
        tokenizer_mode: str = "auto",
        skip_tokenizer_init: bool = False,
        trust_remote_code: bool = False,
        tensor_parallel_size: int = 1,
        dtype: str = "auto",
        revision: str | None = None,
        tokenizer_revision: str | None = None,
        **kwargs: Any,
    ) -> None:
        for key in kwargs:
            if key not in TorchLlmArgs.model_fields and key != "_mpi_session":
                raise ValueError(f"{type(self)} got invalid argument: {key}")
        self.args = TorchLlmArgs(
            model=model,
            tokenizer=tokenizer,
            tokenizer_mode=tokenizer_mode,
            skip_tokenizer_init=skip_tokenizer_init,
            trust_remote_code=trust_remote_code,
            tensor_parallel_size=tensor_parallel_size,
            dtype=dtype,
            revision=revision,
            tokenizer_revision=tokenizer_revision,
            **kwargs,
        )
        log_call("LLM", {"model": str(model), "dtype": dtype, **kwargs})
        if message := os.environ.get(START_ERROR):
            raise RuntimeError(message)
        if seconds := os.environ.get(DAEMON_SECONDS):
            subprocess.Popen(["sleep", seconds], close_fds=False, start_new_session=True)
        cache = self.args.kv_cache_config or KvCacheConfig()
        self.tokenizer = tokenizers.Tokenizer.from_file(str(Path(tokenizer or model) / "tokenizer.json"))
        self._ends = _ends(Path(model))
        self._next_id = 0
        self._executor = Engine(
            self.tokenizer,
            max_seq_len=self.args.max_seq_len,
            max_batch_size=self.args.max_batch_size or 2048,
            tokens_per_block=cache.tokens_per_block,
            reuse=cache.enable_block_reuse,
            guided=self.args.guided_decoding_backend,
        )

    def generate_async(
        self,
        inputs: Any,
        sampling_params: SamplingParams | None = None,
        lora_request: Any = None,
        prompt_adapter_request: Any = None,
        streaming: bool = False,
        kv_cache_retention_config: Any = None,
        disaggregated_params: Any = None,
        trace_headers: Any = None,
        _postproc_params: Any = None,
        scheduling_params: Any = None,
        cache_salt: str | None = None,
    ) -> RequestOutput:
        if self._executor.is_shutdown:
            raise RuntimeError("LLM is shutting down")
        params = sampling_params or SamplingParams()
        prompt = self.tokenizer.encode(inputs).ids if isinstance(inputs, str) else inputs
        if not isinstance(prompt, list):
            raise TypeError(f"The inputs must be type str or list of int, but got {type(inputs)}")
        assert isinstance(prompt[0], int)
        if params.end_id is None:
            params._setup(self.tokenizer, self._ends)
        if not self.args.enable_chunked_prefill and len(prompt) > self.args.max_num_tokens:
            raise RequestError(
                f"The prompt length ({len(prompt)}) should not exceed max_num_tokens ({self.args.max_num_tokens})"
            )
        assert streaming, "only streaming is done here"
        log_call("generate_async", {"prompt": prompt, **_plain(params)})
        self._next_id += 1
        result = RequestOutput(self._next_id, prompt, params, self._executor)
        assert asyncio.get_running_loop(), "the toy engine steps on the event loop"
        self._executor.submit(result)
        return result

    def get_stats_async(self, timeout: float | None = 2) -> IterationResult | Nothing:
        figures = self._executor.figures
        if figures is None or not self.args.enable_iter_perf_stats:
            return Nothing()
        log_call("get_stats_async", {"timeout": timeout})
        figures.set_timeout(timeout)
        return figures

    def shutdown(self) -> None:
        self._executor.shutdown()

    def _check_health(self) -> bool:
        return not self._executor.is_shutdown


def _ends(model: Path) -> list[int]:
    read = json.loads((model / "generation_config.json").read_text())["eos_token_id"]
    return read if isinstance(read, list) else [read]


def _plain(params: SamplingParams) -> dict[str, Any]:
    given = {one.name: getattr(params, one.name) for one in dataclasses.fields(params)}
    guide = params.guided_decoding
    return given | {"guided_decoding": None if guide is None else dataclasses.asdict(guide)}
