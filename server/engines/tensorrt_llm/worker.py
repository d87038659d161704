"""TensorRT-LLM's process: an LLM that takes submissions and gives progress, as the native engine's process does.

TensorRT-LLM computes in processes of its own below this one. Started by the supervisor with the interpreter of an environment
that has TensorRT-LLM; of Pennyweight only the messages and what they are made of are needed there.
"""

from __future__ import annotations

import asyncio
import difflib
import hashlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from typing import Any, Never

import numpy as np
import tensorrt_llm
from tensorrt_llm import LLM
from tensorrt_llm.llmapi import KvCacheConfig, RequestError
from tensorrt_llm.llmapi.llm_args import TorchLlmArgs

from pennyweight.server.engines.local.async_worker import AsyncWorker
from pennyweight.server.engines.local.files_digest import directory_digest
from pennyweight.server.engines.local.link import Link
from pennyweight.server.engines.local.messages import Failed, Progress, Ready, Stats, Submit
from pennyweight.server.errors import ModelError

from .interface import lacking
from .outputs import progress_of, stats_of
from .sampling import sampling_params

WATCH_SECONDS = 0.25
VERSION = tensorrt_llm.__version__


class TensorRTRequests:
    """Runs choices of submissions as requests of TensorRT-LLM's. Everything here belongs to the event loop."""

    def __init__(self, llm: LLM) -> None:
        self._llm = llm
        self._ignored: set[str] = set()

    async def generate(self, submission: Submit, index: int) -> AsyncGenerator[Progress]:
        """The progress of one choice. Ends this process when the engine has died."""
        self._tell_ignored(submission)
        try:
            output = self._llm.generate_async(
                inputs=np.frombuffer(submission.prompt, dtype="<i4").tolist(),
                sampling_params=sampling_params(submission),
                streaming=True,
                cache_salt=submission.salt.hex() or None,
            )
        except (RequestError, TypeError, ValueError) as error:
            yield Progress(submission.request_id, index, [], error=str(error), param="prompt")
            return
        except Exception as error:  # "LLM is shutting down" and its like
            self._end_if_dead(error)
            yield Progress(submission.request_id, index, [], error=_failed(error))
            return
        is_first, is_done = True, False
        try:
            async for step in output:
                progress = progress_of(submission, index, step, is_first=is_first)
                is_first = False
                is_done = progress.finish_reason is not None or progress.error is not None
                yield progress
                if is_done:
                    break
        except RequestError as error:
            # It has ended there: whoever goes on reading it waits for ever.
            is_done = True
            yield Progress(submission.request_id, index, [], error=_failed(error))
        except Exception as error:  # whatever TensorRT-LLM meets: most of it has shut the engine down
            self._end_if_dead(error)
            yield Progress(submission.request_id, index, [], error=_failed(error))
        finally:
            if not is_done:
                output.abort()

    async def until_dead(self) -> Never:
        """Wait for the engine's end, which ends this process: the supervisor starts it again."""
        while self._llm._check_health():  # noqa: ASYNC110 (TensorRT-LLM tells nobody)
            await asyncio.sleep(WATCH_SECONDS)
        _die("TensorRT-LLM's engine has ended")

    def _end_if_dead(self, error: Exception) -> None:
        if not self._llm._check_health():
            _die(f"TensorRT-LLM's engine has ended: {_reason(error)}")

    def _tell_ignored(self, submission: Submit) -> None:
        # Not refused, for it is the model's default that asks for it and not the request.
        choice = submission.choice
        for name, neutral in (("min_p", 0.0), ("repetition_penalty", 1.0)):
            value = getattr(choice, name)
            if value != neutral and name not in self._ignored:
                self._ignored.add(name)
                _say(
                    f"TensorRT-LLM's default sampler ignores the {name} of {value:g} that the model's defaults ask for"
                )


class Figures:
    """TensorRT-LLM's own figures, as the server wants them.

    Each comes with an iteration of the engine, and so is the only sign of life there is: an engine whose process has died
    without a word gives none, and the supervisor's watch ends it.
    """

    def __init__(self, llm: LLM, tokens_per_block: int) -> None:
        self._llm = llm
        self._tokens_per_block = tokens_per_block
        self.stats = Stats()

    async def follow(self, on_step: Callable[[], None]) -> Never:
        """Call ``on_step`` after each iteration, with the figures already taken over."""
        while True:
            # Without a timeout: after one, they would stay away until the next request.
            async for iteration in self._llm.get_stats_async(timeout=None):
                self.stats = stats_of(iteration, self._tokens_per_block)
                on_step()
            # Before the first request there is nothing to wait for.
            await asyncio.sleep(WATCH_SECONDS)


def load(given: Mapping[str, Any]) -> tuple[LLM, int]:
    """The model, and how many tokens a block of its cache has.

    Raises ModelError for arguments that this version doesn't have, each with the nearest one that it has, and for a version
    that lacks what is used here.
    """
    if missing := lacking():
        raise ModelError(f"TensorRT-LLM {VERSION} can't be used; it has no {', '.join(missing)}")
    _check_names("", given, TorchLlmArgs.model_fields)
    _check_names("kv_cache_config.", given["kv_cache_config"], KvCacheConfig.model_fields)
    try:
        cache = KvCacheConfig(**given["kv_cache_config"])
        return LLM(**{**given, "kv_cache_config": cache}), cache.tokens_per_block
    except (TypeError, ValueError, OSError) as error:
        raise ModelError(f"TensorRT-LLM can't take {given['model']}: {_reason(error)}") from error


def _check_names(prefix: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {prefix}{near[0]}?" if near else ""
            raise ModelError(f"engine.engine_args: TensorRT-LLM {VERSION} has no argument {prefix}{name}{hint}")


def _ready(arguments: Mapping[str, Any], vocab_size: int, tokens_per_block: int) -> Ready:
    digest = hashlib.sha256(json.dumps(arguments, sort_keys=True).encode()).hexdigest()
    dtype = arguments.get("dtype", "auto")
    return Ready(
        max_model_len=arguments["max_seq_len"],
        vocab_size=vocab_size,
        num_blocks=0,  # known to its own process only
        block_size=tokens_per_block,
        fingerprint={
            "weights": directory_digest(Path(arguments["model"])),
            "config": digest,
            "tensorrt_llm": VERSION,
        },
        details={
            "dtype": dtype,
            "device": "cuda",
            "max_model_len": str(arguments["max_seq_len"]),
            "tensorrt_llm": VERSION,
        },
        variance="TensorRT-LLM chooses its kernels by the batch",
    )


def _failed(error: Exception) -> str:
    return f"TensorRT-LLM failed at the request: {_reason(error)}"


def _reason(error: Exception) -> str:
    # pydantic's errors are tables; each line that says what is wrong follows the name of a field.
    errors = getattr(error, "errors", None)
    if callable(errors):
        return "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}" if one["loc"] else one["msg"] for one in errors()
        )
    return " ".join(str(error).split()) or type(error).__name__


def _die(reason: str) -> Never:
    _say(reason)
    os._exit(1)


def _say(what: str) -> None:
    print(f"pennyweight: {what}", file=sys.stderr, flush=True)


async def _serve(link: Link, llm: LLM, ready: Ready) -> None:
    requests, figures = TensorRTRequests(llm), Figures(llm, ready.block_size)
    worker = AsyncWorker(link, requests.generate, lambda: figures.stats, ready=ready)
    worker.start()
    await asyncio.gather(figures.follow(worker.on_step), requests.until_dead())


def main() -> None:
    """``python -m pennyweight.server.engines.tensorrt_llm.worker FD JSON``, with ``{"arguments": {...}, "vocab_size": N}``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the server's to handle
    link = Link(socket.socket(fileno=int(sys.argv[1])))
    given = json.loads(sys.argv[2])
    try:
        llm, tokens_per_block = load(given["arguments"])
    except ModelError as error:
        link.send(Failed(str(error)))
        return
    except Exception as error:  # its processes have printed what really happened
        message = f"TensorRT-LLM did not start: {_reason(error)}"
        link.send(Failed(message, is_permanent=False))
        _die(message)  # at once: what it has started may hold this process up
    try:
        asyncio.run(_serve(link, llm, _ready(given["arguments"], given["vocab_size"], tokens_per_block)))
    except Exception as error:  # without its figures it would seem to hang
        _die(f"TensorRT-LLM's figures can't be followed: {_reason(error)}")


if __name__ == "__main__":
    main()
