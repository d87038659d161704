"""The life of an engine's process that steps in a loop of its own. Started by the supervisor, one for each model."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from pennyweight.server.config import EngineSettings
from pennyweight.server.errors import ModelError

from .connection import Connection
from .messages import Failed, Loading

PR_SET_PDEATHSIG = 1
SIGN_OF_LIFE_SECONDS = 0.5

Core = TypeVar("Core")


def run_process(
    load: Callable[[Connection, Path, EngineSettings], Core], step_loop: Callable[[Connection, Core], None]
) -> None:
    """The main of ``python -m MODULE FD JSON``, with ``{"path": ..., "settings": {...}}``.

    ``load`` makes what runs and tells the server that it is ready; the ModelError that it raises is told as well.
    ``step_loop`` goes on until the server's end of the connection is closed, of which reading and writing raise.
    """
    # Die with the server even when it is killed; Ctrl-C in a terminal is the server's to handle.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(socket.socket(fileno=int(sys.argv[1])))
    arguments = json.loads(sys.argv[2])
    settings = msgspec.convert(arguments["settings"], EngineSettings)
    try:
        core = load(connection, Path(arguments["path"]), settings)
    except ModelError as error:
        connection.send(Failed(str(error)))
        return
    settle_memory()
    try:
        step_loop(connection, core)
    except (EOFError, ConnectionError):
        # Nobody is left to answer; nothing that still runs, such as a grammar compiling, must hold the process.
        os._exit(0)


def settle_memory() -> None:
    """To be called once loaded: what was made then lives as long as the model, and the collector need not look at it again."""
    gc.collect()
    gc.freeze()


def release_memory() -> None:
    """Give what nobody refers to any more back to the system, and to the device's other processes."""
    gc.unfreeze()
    gc.collect()
    if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    # glibc alone has it; other allocators give memory back by themselves, or not at all.
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


def loading_teller(connection: Connection) -> Callable[[int, int], None]:
    """Tells the server how many bytes of how many have been loaded, now and then and at the end."""
    told = 0.0

    def tell(done: int, total: int) -> None:
        nonlocal told
        if done == total or time.monotonic() - told > SIGN_OF_LIFE_SECONDS:
            told = time.monotonic()
            connection.send(Loading(done, total))

    return tell
