"""The engine's process on its own: what it says when it can't load."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch

from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.local.connection import Connection
from pennyweight.server.engines.native import model_runner, worker
from pennyweight.server.errors import ModelError


@pytest.mark.parametrize("error", [MemoryError("no room"), torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB")])
def test_a_model_that_does_not_fit_is_told_as_such(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(model_runner, "ModelRunner", refuse)
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(ModelError, match=r"does not fit into the memory of auto \((no room|CUDA out of)"):
        worker._load(Connection(theirs), Path("anywhere"), EngineSettings())
