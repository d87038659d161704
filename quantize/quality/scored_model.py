"""A model in a process of its own that tells its distributions: the gate's end of ``protocol``."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import IO, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from .protocol import (
    Answer,
    Answers,
    Chat,
    Encode,
    Failed,
    Generate,
    Loaded,
    Logits,
    Logprobs,
    Question,
    Rows,
    Tokens,
    Values,
    read_answer,
    write,
)

STOP_SECONDS = 30

T = TypeVar("T")


class ModelFailed(Exception):
    """The model can't be loaded, or its process has ended; the message says why as far as that is known."""


class ScoredModel:
    """The model that a command starts. A context manager: on leaving it the process ends.

    The command's process speaks ``protocol`` on its standard input and output; what it has to say to people goes to the standard
    error, which is left as it is. ``ask_*`` sends a question; its answers are then read in order. So two models can work at once. Raises
    ModelFailed wherever an answer is waited for.
    """

    def __init__(self, command: Sequence[str]) -> None:
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except OSError as error:
            raise ModelFailed(f"{command[0]} can't be started: {error}") from error
        self._loaded: Loaded | None = None

    @property
    def loaded(self) -> Loaded:
        """What the model is; waits until it is loaded."""
        if self._loaded is None:
            self._loaded = self._receive(Loaded)
        return self._loaded

    def encode(self, text: str) -> list[int]:
        """A text's tokens, with those that the tokenizer puts around one."""
        self._send(Encode(text))
        return self._receive(Tokens).token_ids

    def chat(self, message: str) -> list[int]:
        """A user's message in the chat template."""
        self._send(Chat(message))
        return self._receive(Tokens).token_ids

    def ask_logits(self, token_ids: list[int], first: int) -> None:
        """Then read ``logits`` to its end."""
        self._send(Logits(token_ids, first))

    def logits(self, rows: int) -> Iterator[NDArray[np.float32]]:
        """Float32 [r, V], as it is computed, until there are ``rows`` rows."""
        vocab_size = self.loaded.vocab_size
        while rows > 0:
            block = np.frombuffer(self._receive(Rows).logits, dtype="<f4").reshape(-1, vocab_size)
            rows -= len(block)
            yield block

    def ask_logprobs(self, token_ids: list[int], first: int) -> None:
        """Then read ``logprobs``."""
        self._send(Logprobs(token_ids, first))

    def logprobs(self) -> list[float]:
        """Of each token after ``first``."""
        return self._receive(Values).values

    def ask_answers(self, prompts: list[list[int]], max_tokens: int) -> None:
        """Then read ``answers``."""
        self._send(Generate(prompts, max_tokens))

    def answers(self) -> list[list[int]]:
        """Token ids of each."""
        return self._receive(Answers).token_ids

    def close(self) -> None:
        """End the process; harmless twice."""
        with contextlib.suppress(OSError):  # what was not sent yet, to a process that has ended
            self._pipe(self._process.stdin).close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._pipe(self._process.stdout).close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._process.kill()  # it may be in the middle of an answer that nobody will read
        self.close()

    def _send(self, question: Question) -> None:
        try:
            write(self._pipe(self._process.stdin), question)
        except OSError as error:
            raise self._ended() from error

    def _receive(self, kind: type[T]) -> T:
        answer: Answer | None = read_answer(self._pipe(self._process.stdout))
        if isinstance(answer, Failed):
            raise ModelFailed(answer.message)
        if answer is None:
            raise self._ended()
        assert isinstance(answer, kind), f"a question for {kind.__name__} was answered by {type(answer).__name__}"
        return answer

    def _ended(self) -> ModelFailed:
        return ModelFailed(f"the model's process has ended with exit code {self._process.wait()}")

    def _pipe(self, stream: IO[bytes] | None) -> IO[bytes]:
        assert stream is not None, "both are pipes"
        return stream
