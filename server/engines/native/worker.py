"""The engine's process: loads the model, then steps while there is work. Started by the supervisor, one for each model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.local.connection import Connection
from pennyweight.server.engines.local.heartbeat import Heartbeat
from pennyweight.server.engines.local.messages import (
    Abort,
    Asleep,
    Failed,
    Outputs,
    Progress,
    Ready,
    Sleep,
    Stats,
    Submit,
    Wake,
)
from pennyweight.server.engines.local.process import (
    SIGN_OF_LIFE_SECONDS,
    loading_teller,
    release_memory,
    run_process,
    settle_memory,
)
from pennyweight.server.errors import ModelError

from .engine import NativeEngineCore

if TYPE_CHECKING:
    from .loader import Weights

# What is kept: 1 the weights in the host's memory, 2 the process alone. Waking makes the rest anew.
SLEEP_LEVELS = frozenset({1, 2})


class NativeProcess:
    """The core while the model is loaded, and what is kept of the model while it sleeps."""

    def __init__(self, connection: Connection, path: Path, settings: EngineSettings) -> None:
        self._connection = connection
        self._path = path
        self._settings = settings
        self._core: NativeEngineCore | None = None
        self._held: Weights | None = None
        self._told = time.monotonic()
        self.wake()
        Heartbeat(lambda: 0 if self._core is None else self._core.progress, self._tell_of_step)

    def run(self) -> None:
        """Do what the server sends, until its end of the connection is closed."""
        while True:
            if self._core is not None:
                level = self._run_awake(self._core)
                self.sleep(level)
            for message in self._connection.receive(SIGN_OF_LIFE_SECONDS):
                if isinstance(message, Wake):
                    self._wake_or_tell()

    def _run_awake(self, core: NativeEngineCore) -> int:
        """Step until the server wants the model to sleep; returns the level."""
        self._told = time.monotonic()
        while True:
            patience = 0.0 if core.has_work else SIGN_OF_LIFE_SECONDS
            for message in self._connection.receive(0.002 if core.is_preparing else patience):
                if isinstance(message, Submit):
                    core.submit(message)
                elif isinstance(message, Abort):
                    core.abort(message.request_id, message.index)
                elif isinstance(message, Sleep):
                    return message.level
            progress = core.step()
            if progress or time.monotonic() - self._told > SIGN_OF_LIFE_SECONDS:
                self._tell(progress, core.stats())

    def _tell(self, progress: list[Progress], stats: Stats | None) -> None:
        self._told = time.monotonic()
        self._connection.send(Outputs(progress, stats))

    def _tell_of_step(self) -> None:
        """From the heartbeat's thread, which must not look at the core while it steps."""
        if time.monotonic() - self._told > SIGN_OF_LIFE_SECONDS:
            self._tell([], None)

    def sleep(self, level: int) -> None:
        """Give up what the level does not keep. Requests that are under way all the same are forgotten."""
        if self._core is not None:
            self._core.close()
            self._core = None
        release_memory()
        if level == 1:
            from .loader import hold_weights

            self._held = hold_weights(self._path)
        self._connection.send(Asleep())

    def wake(self) -> None:
        """Load the model and tell that it is ready. Raises ModelError."""
        if self._core is None:
            self._core = _load(self._connection, self._path, self._settings, self._held)
            self._held = None
            settle_memory()

    def _wake_or_tell(self) -> None:
        try:
            self.wake()
        except ModelError as error:
            self._connection.send(Failed(str(error)))


def _load(
    connection: Connection, path: Path, settings: EngineSettings, weights: Weights | None = None
) -> NativeEngineCore:
    # These bring torch in: only here, so that a bad message or a missing directory is told before.
    import torch

    from pennyweight.server.engines.local.generation_defaults import load_generation_defaults
    from pennyweight.server.engines.local.grammar import GrammarCompiler
    from pennyweight.server.engines.local.tokenizer import load_tokenizer

    from .model_runner import ModelRunner

    try:
        runner = ModelRunner(path, settings, on_progress=loading_teller(connection), weights=weights)
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
                "kernels": runner.kernels_name,
                "max_model_len": str(runner.max_model_len),
                "kv_cache_tokens": str(runner.num_blocks * runner.block_size),
            },
            variance=runner.variance(),
            adapter_variance=runner.variance(adapters=True),
            sleep_levels=SLEEP_LEVELS,
        )
    )
    return core


if __name__ == "__main__":
    run_process(NativeProcess, lambda connection, process: process.run())
