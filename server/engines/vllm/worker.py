"""vLLM's process: an AsyncLLM that takes submissions and gives progress, as the native engine's process does.

vLLM computes in a process of its own below this one. Started by the supervisor with the interpreter of an environment that
has vLLM; of Pennyweight only the messages and what they are made of are needed there.
"""

from __future__ import annotations

import asyncio
import dataclasses
import difflib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, Never

import numpy as np
import torch
import vllm
from vllm import envs
from vllm.config import ModelConfig, VllmConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.inputs import TokensPrompt
from vllm.pooling_params import PoolingParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError
from vllm.v1.metrics.loggers import StatLoggerBase
from vllm.v1.metrics.stats import IterationStats, SchedulerStats

from pennyweight.server.engines.local.async_worker import AsyncWorker
from pennyweight.server.engines.local.files_digest import directory_digest
from pennyweight.server.engines.local.link import Link
from pennyweight.server.engines.local.messages import Embed, Embedded, Failed, Progress, Ready, Stats, Submit
from pennyweight.server.errors import InvalidRequest, ModelError

from .adapters import VllmAdapters
from .invariance import refusal, variance
from .outputs import progress_of
from .sampling import sampling_params

WATCH_SECONDS = 0.25


class Recorder(StatLoggerBase):  # type: ignore[misc]
    """Keeps vLLM's own figures as the server wants them; told after every step of its engine."""

    def __init__(self) -> None:
        self.on_step: Callable[[], None] = lambda: None
        self.stats = Stats()

    def record(
        self,
        scheduler_stats: SchedulerStats | None,
        iteration_stats: IterationStats | None,
        *others: object,
        **more: object,
    ) -> None:
        before = self.stats
        if scheduler_stats is not None:
            prefix = scheduler_stats.prefix_cache_stats
            self.stats = Stats(
                running=scheduler_stats.num_running_reqs,
                waiting=scheduler_stats.num_waiting_reqs,
                kv_cache_usage=scheduler_stats.kv_cache_usage,
                prefix_queries=before.prefix_queries + (prefix.queries if prefix else 0),
                prefix_hits=before.prefix_hits + (prefix.hits if prefix else 0),
                preemptions=before.preemptions + (iteration_stats.num_preempted_reqs if iteration_stats else 0),
            )
        self.on_step()

    def log_engine_initialized(self) -> None:
        """The server says for itself when a model is loaded."""


class VllmRequests:
    """Runs choices of submissions as requests of vLLM's."""

    def __init__(self, engine: AsyncLLM, adapters: VllmAdapters) -> None:
        self._engine = engine
        self._adapters = adapters
        self._sleep_level = 0

    async def generate(self, submission: Submit, index: int) -> AsyncGenerator[Progress]:
        """The progress of one choice. Ends this process when the engine has died."""
        is_first = True
        try:
            adapter = submission.adapter
            prompt = TokensPrompt(prompt_token_ids=np.frombuffer(submission.prompt, dtype="<i4").tolist())
            if submission.salt:
                prompt["cache_salt"] = submission.salt.hex()
            outputs = self._engine.generate(
                prompt,
                sampling_params(submission, index),
                f"{submission.request_id}/{index}",
                lora_request=None if adapter is None else await self._adapters.lora_request(adapter),
                priority=submission.priority,
            )
            async with aclosing(outputs):
                async for output in outputs:
                    yield progress_of(submission, index, output, is_first=is_first)
                    is_first = False
        except EngineDeadError as error:
            _die(str(error))
        except InvalidRequest as error:
            yield Progress(submission.request_id, index, [], error=error.message, param=error.param)
        except EngineGenerateError as error:
            yield Progress(submission.request_id, index, [], error=f"vLLM failed at the request: {error.__cause__}")
        except Exception as error:  # whatever vLLM finds wrong with a request; its types differ between versions
            param = getattr(error, "parameter", None) or "prompt"
            yield Progress(submission.request_id, index, [], error=str(error), param=param)

    async def embed(self, message: Embed) -> Embedded:
        """The vectors of a request, one request of vLLM's for each input. Ends this process when the engine has died."""
        tasks = [asyncio.ensure_future(self._vector(message, place)) for place in range(len(message.inputs))]
        try:
            return Embedded(message.request_id, tuple(await asyncio.gather(*tasks)))
        except EngineDeadError as error:
            _die(str(error))
        except EngineGenerateError as error:
            return Embedded(message.request_id, (), f"vLLM failed at the request: {error.__cause__}")
        except Exception as error:  # as in ``generate``
            return Embedded(message.request_id, (), str(error), getattr(error, "parameter", None) or "input")
        finally:
            for task in tasks:
                task.cancel()

    async def _vector(self, message: Embed, place: int) -> bytes:
        outputs = self._engine.encode(
            TokensPrompt(prompt_token_ids=np.frombuffer(message.inputs[place], dtype="<i4").tolist()),
            PoolingParams(task="embed", dimensions=message.dimensions),
            f"{message.request_id}/{place}",
        )
        found = b""
        async with aclosing(outputs):
            async for output in outputs:
                found = output.outputs.data.to(torch.float32).cpu().numpy().astype("<f4").tobytes()
        return found

    async def sleep(self, level: int) -> None:
        """Level 1 moves the weights to the host's memory, 2 drops them; both drop the KV cache and what it had cached."""
        self._sleep_level = level
        await self._engine.sleep(level)

    async def wake(self) -> None:
        """Have the engine as it was before it slept."""
        if self._sleep_level == 2:
            # What was dropped is read anew into the memory that comes back with waking (vLLM's documentation of its sleep mode).
            await self._engine.wake_up(["weights"])
            await self._engine.collective_rpc("reload_weights")
            await self._engine.wake_up(["kv_cache"])
        else:
            await self._engine.wake_up()

    async def until_dead(self) -> Never:
        """Wait for the engine's end, which ends this process: the supervisor starts it again."""
        while not self._engine.errored:  # noqa: ASYNC110 (vLLM tells nobody)
            await asyncio.sleep(WATCH_SECONDS)
        _die("vLLM's engine has ended")


def engine_args(given: Mapping[str, Any]) -> AsyncEngineArgs:
    """vLLM's arguments. Raises ModelError for a name that this version doesn't have, with the nearest one that it has."""
    known = {field.name for field in dataclasses.fields(AsyncEngineArgs)}
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ModelError(f"engine.engine_args: vLLM {vllm.__version__} has no argument {name}{hint}")
    try:
        return AsyncEngineArgs(**given)
    except (TypeError, ValueError) as error:
        raise ModelError(f"engine.engine_args: {_reason(error)}") from error


def _load(arguments: Mapping[str, Any], recorder: Recorder) -> AsyncLLM:
    try:
        config = engine_args(arguments).create_engine_config()
    except (TypeError, ValueError, OSError) as error:
        raise ModelError(f"vLLM can't take {arguments['model']}: {_reason(error)}") from error

    device = str(config.device_config.device_type)
    if reason := refusal(device=device, is_switched_on=_is_invariant()):
        raise ModelError(reason)

    def factory(config: VllmConfig, engine_index: int = 0) -> Recorder:
        return recorder

    return AsyncLLM.from_vllm_config(config, stat_loggers=[factory], disable_log_stats=True)


def _ready(engine: AsyncLLM) -> Ready:
    config = engine.vllm_config
    model, cache = config.model_config, config.cache_config
    blocks, block_size = cache.num_gpu_blocks or 0, cache.block_size
    versions = {"vllm": vllm.__version__, "torch": str(torch.__version__)}
    return Ready(
        max_model_len=model.max_model_len,
        vocab_size=model.get_vocab_size(),
        num_blocks=blocks,
        block_size=block_size,
        fingerprint={
            "weights": directory_digest(Path(model.model)),
            "config": config.compute_hash(),
            "dtype": str(model.dtype),
            "device": _device_name(config),
            "batch_invariant": str(_is_invariant()),
            **versions,
        },
        details={
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": str(config.device_config.device_type),
            "max_model_len": str(model.max_model_len),
            "kv_cache_tokens": str(blocks * block_size),
            **versions,
        },
        variance=variance(is_switched_on=_is_invariant(), quantization=model.quantization),
        embedding_sizes=_embedding_sizes(model) if model.runner_type == "pooling" else frozenset(),
        # vLLM has it for the memory of cards alone, and only where ``enable_sleep_mode`` was asked for.
        sleep_levels=frozenset({1, 2}) if model.enable_sleep_mode else frozenset(),
    )


def _is_invariant() -> bool:
    return bool(envs.VLLM_BATCH_INVARIANT)


def _device_name(config: VllmConfig) -> str:
    if config.device_config.device_type == "cuda":
        return torch.cuda.get_device_name()
    return f"{config.device_config.device_type} {torch.backends.cpu.get_cpu_capability()}"


def _embedding_sizes(model: ModelConfig) -> frozenset[int]:
    full: int = model.get_hidden_size()
    if not model.is_matryoshka:
        return frozenset({full})
    return frozenset({full, *(model.matryoshka_dimensions or range(1, full))})


def _reason(error: Exception) -> str:
    # pydantic's errors are tables; each line that says what is wrong follows the name of a field.
    errors = getattr(error, "errors", None)
    if callable(errors):
        return "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}" if one["loc"] else one["msg"] for one in errors()
        )
    return " ".join(str(error).split())


def _die(reason: str) -> Never:
    print(f"pennyweight: {reason}", file=sys.stderr, flush=True)
    os._exit(1)


async def _main(link: Link, arguments: Mapping[str, Any], max_lora_rank: int) -> None:
    recorder = Recorder()
    try:
        engine = _load(arguments, recorder)
    except ModelError as error:
        link.send(Failed(str(error)))
        return
    except Exception as error:  # the engine's process has printed what really happened
        link.send(Failed(f"vLLM's engine did not start: {_reason(error)}", is_permanent=False))
        return
    requests = VllmRequests(engine, VllmAdapters(engine, Path(arguments["model"]), max_lora_rank))
    ready = _ready(engine)
    sleeper = requests if ready.sleep_levels else None
    worker = AsyncWorker(
        link, requests.generate, lambda: recorder.stats, ready=ready, embed=requests.embed, sleeper=sleeper
    )
    recorder.on_step = worker.on_step
    worker.start()
    await requests.until_dead()


def main() -> None:
    """``python -m pennyweight.server.engines.vllm.worker FD JSON``, with ``{"arguments": {...}, "max_lora_rank": N}``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the server's to handle
    link = Link(socket.socket(fileno=int(sys.argv[1])))
    given = json.loads(sys.argv[2])
    asyncio.run(_main(link, given["arguments"], given["max_lora_rank"]))


if __name__ == "__main__":
    main()
