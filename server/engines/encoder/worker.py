"""The encoder's process: loads the model, then makes forward passes while there is work. Started by the supervisor."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.local.connection import Connection
from pennyweight.server.engines.local.messages import Abort, Embed, Outputs, Ready
from pennyweight.server.engines.local.process import SIGN_OF_LIFE_SECONDS, loading_teller, run_process

if TYPE_CHECKING:
    from .engine import EncoderCore


def _load(connection: Connection, path: Path, settings: EngineSettings) -> EncoderCore:
    # Brings torch in: only here, so that a bad message or a missing directory is told before.
    from .engine import EncoderCore

    core = EncoderCore(path, settings, on_progress=loading_teller(connection))
    connection.send(
        Ready(
            max_model_len=core.max_model_len,
            vocab_size=core.config.vocab_size,
            num_blocks=0,
            block_size=0,
            fingerprint=core.fingerprint(),
            details={
                "dtype": "float32",
                "device": str(core.device),
                "max_model_len": str(core.max_model_len),
                "dimensions": str(core.config.hidden_size),
            },
            variance="PyTorch computes it, which adds in an order that depends on the batch",
            embedding_sizes=core.config.embedding_sizes,
        )
    )
    return core


def _step_loop(connection: Connection, core: EncoderCore) -> None:
    told = time.monotonic()
    while True:
        for message in connection.receive(0.0 if core.has_work else SIGN_OF_LIFE_SECONDS):
            if isinstance(message, Embed):
                core.submit(message)
            elif isinstance(message, Abort):
                core.abort(message.request_id)
        whole = core.step()
        for embedded in whole:
            connection.send(embedded)
        now = time.monotonic()
        if whole or now - told > SIGN_OF_LIFE_SECONDS:
            told = now
            connection.send(Outputs([], core.stats()))


if __name__ == "__main__":
    run_process(_load, _step_loop)
