"""The engine's process: loads the model, then steps while there is work. Started by the supervisor, one for each model."""

from __future__ import annotations

import time
from pathlib import Path

from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.local.connection import Connection
from pennyweight.server.engines.local.messages import Abort, Outputs, Ready, Submit
from pennyweight.server.engines.local.process import SIGN_OF_LIFE_SECONDS, loading_teller, run_process
from pennyweight.server.errors import ModelError

from .engine import NativeEngineCore


def _load(connection: Connection, path: Path, settings: EngineSettings) -> NativeEngineCore:
    # These bring torch in: only here, so that a bad message or a missing directory is told before.
    import torch

    from pennyweight.server.engines.local.generation_defaults import load_generation_defaults
    from pennyweight.server.engines.local.grammar import GrammarCompiler
    from pennyweight.server.engines.local.tokenizer import load_tokenizer

    from .model_runner import ModelRunner

    try:
        runner = ModelRunner(path, settings, on_progress=loading_teller(connection))
    except (MemoryError, torch.OutOfMemoryError) as error:
        # Starting again would end the same way.
        raise ModelError(
            f"the model does not fit into the memory of {settings.device} ({str(error).partition('.')[0]}): free some, give "
            "the KV cache less with kv_cache_memory, or serve in int8"
        ) from error
    compiler = GrammarCompiler(
        lambda: load_tokenizer(path).to_json(), runner.vocab_size, load_generation_defaults(path).eos_token_ids
    )
    core = NativeEngineCore(runner, compiler, settings)
    connection.send(
        Ready(
            max_model_len=runner.max_model_len,
            vocab_size=runner.vocab_size,
            num_blocks=runner.num_blocks,
            block_size=runner.block_size,
            fingerprint=runner.fingerprint(),
            details={
                "dtype": str(runner.precision),
                "device": str(runner.device),
                "kernels": " ".join(runner.kernels.values()),
                "max_model_len": str(runner.max_model_len),
                "kv_cache_tokens": str(runner.num_blocks * runner.block_size),
            },
        )
    )
    return core


def _step_loop(connection: Connection, core: NativeEngineCore) -> None:
    told = time.monotonic()
    while True:
        patience = 0.0 if core.has_work else SIGN_OF_LIFE_SECONDS
        for message in connection.receive(0.002 if core.is_preparing else patience):
            if isinstance(message, Submit):
                core.submit(message)
            elif isinstance(message, Abort):
                core.abort(message.request_id, message.index)
        progress = core.step()
        now = time.monotonic()
        if progress or now - told > SIGN_OF_LIFE_SECONDS:
            told = now
            connection.send(Outputs(progress, core.stats()))


if __name__ == "__main__":
    run_process(_load, _step_loop)
