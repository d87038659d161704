"""The encoder's process: loads the model, then makes forward passes while there is work. Started by the supervisor."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.local.connection import Connection
from pennyweight.server.engines.local.messages import Abort, Embed, Failed, Loading, Outputs, Ready
from pennyweight.server.errors import ModelError

if TYPE_CHECKING:
    from .engine import EncoderCore

PR_SET_PDEATHSIG = 1
SIGN_OF_LIFE_SECONDS = 0.5


def _load(connection: Connection, path: Path, settings: EngineSettings) -> EncoderCore:
    # Brings torch in: only here, so that a bad message or a missing directory is told before.
    from .engine import EncoderCore

    told = 0.0

    def on_progress(done: int, total: int) -> None:
        nonlocal told
        if done == total or time.monotonic() - told > SIGN_OF_LIFE_SECONDS:
            told = time.monotonic()
            connection.send(Loading(done, total))

    core = EncoderCore(path, settings, on_progress=on_progress)
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


def main() -> None:
    """``python -m pennyweight.server.engines.encoder.worker FD JSON``, with ``{"path": ..., "settings": {...}}``."""
    # Die with the server even when it is killed; Ctrl-C in a terminal is the server's to handle.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(socket.socket(fileno=int(sys.argv[1])))
    arguments = json.loads(sys.argv[2])
    settings = msgspec.convert(arguments["settings"], EngineSettings)
    try:
        core = _load(connection, Path(arguments["path"]), settings)
    except ModelError as error:
        connection.send(Failed(str(error)))
        return
    # What was made while loading lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    try:
        _step_loop(connection, core)
    except (EOFError, ConnectionError):
        os._exit(0)


if __name__ == "__main__":
    main()
