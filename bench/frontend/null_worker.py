"""An engine's process that computes nothing: what a real one costs the server beside it, frames and texts included."""

from __future__ import annotations

import json
import socket
import sys
import time

import msgspec

from pennyweight.server.engines.local.connection import Connection
from pennyweight.server.engines.local.messages import Abort, Outputs, Progress, Ready, Stats, Submit
from pennyweight.server.types import FinishReason

SIGN_OF_LIFE_SECONDS = 0.5
MAX_MODEL_LEN = 8192
# More than any tokenizer has.
MAX_VOCAB_SIZE = 1 << 24
BLOCK_SIZE = 16


class Arguments(msgspec.Struct):
    """``tokens`` are answered in a row, over and over: ids of the model's vocabulary. ``step`` is in seconds, 0 for at once."""

    tokens: list[int]
    step: float


class _Sequence:
    """One answer under way: how many tokens are left of it."""

    def __init__(self, submission: Submit, tokens: list[int]) -> None:
        self._id = submission.request_id
        self._left = submission.max_tokens
        self._tokens = tokens

    def advance(self) -> Progress:
        self._left -= 1
        token = self._tokens[self._left % len(self._tokens)]
        reason = FinishReason.LENGTH if self.is_done else None
        return Progress(self._id, 0, [token], finish_reason=reason)

    @property
    def is_done(self) -> bool:
        return self._left <= 0


def step_loop(connection: Connection, arguments: Arguments) -> None:
    """Answer until the server has gone, of which reading and writing raise: a message a step, with a token for each."""
    running: dict[str, _Sequence] = {}
    due = told = time.monotonic()
    while True:
        patience = max(0.0, due - time.monotonic()) if running else SIGN_OF_LIFE_SECONDS
        for message in connection.receive(patience):
            if isinstance(message, Submit):
                running[message.request_id] = _Sequence(message, arguments.tokens)
            elif isinstance(message, Abort):
                running.pop(message.request_id, None)
        now = time.monotonic()
        progress: list[Progress] = []
        if now >= due and running:
            due = now + arguments.step
            progress = [one.advance() for one in running.values()]
            running = {request_id: one for request_id, one in running.items() if not one.is_done}
        if progress or now - told > SIGN_OF_LIFE_SECONDS:
            told = now
            connection.send(Outputs(progress, Stats(running=len(running))))


def main() -> None:
    """``python -m MODULE FD JSON``, as the supervisor starts engines' processes."""
    connection = Connection(socket.socket(fileno=int(sys.argv[1])))
    arguments = msgspec.convert(json.loads(sys.argv[2]), Arguments)
    connection.send(
        Ready(
            max_model_len=MAX_MODEL_LEN,
            vocab_size=MAX_VOCAB_SIZE,
            num_blocks=MAX_MODEL_LEN,
            block_size=BLOCK_SIZE,
            fingerprint={"engine": "null"},
            details={},
            variance="",
        )
    )
    try:
        step_loop(connection, arguments)
    except (EOFError, ConnectionError):
        return  # the server has gone


if __name__ == "__main__":
    main()
