"""What every server of a comparison is loaded with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from pennyweight.bench.load.endpoint import Api, Endpoint, find_endpoint
from pennyweight.bench.load.lengths import Lengths
from pennyweight.bench.load.request import PlannedRequest
from pennyweight.bench.load.synthetic import SyntheticWorkload
from pennyweight.bench.load.vocabulary import Vocabulary, ask_vocabulary, read_vocabulary
from pennyweight.bench.peers.target import Target

LEAST_REQUESTS = 8
WARM_UP = 1 << 16


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Closed loops, one for each number of ``concurrency``, of ``requests`` each, or of ``waves`` for each client (at least 8).

    All servers get the same requests in the same order in a round. Those of each round, load and warm-up are others, so that
    no prefix cache of a server that goes on running can answer for it.
    """

    vocabulary: Vocabulary
    prompt_tokens: int
    output_tokens: int
    concurrency: tuple[int, ...]
    waves: int = 4
    requests: int | None = None
    processes: int = 0
    seed: int = 0
    api: Api = "completions"

    def describe(self) -> dict[str, Any]:
        """For the result."""
        return {name: getattr(self, name) for name in self.__struct_fields__ if name != "vocabulary"}

    def count(self, concurrency: int) -> int:
        """How many requests a load has."""
        return self.requests or max(LEAST_REQUESTS, self.waves * concurrency)

    def load(self, endpoint: Endpoint, number: int, concurrency: int) -> list[PlannedRequest]:
        """The load of that concurrency in round ``number``."""
        return self._requests(endpoint, self.count(concurrency), (number, concurrency))

    def warm_up(self, endpoint: Endpoint, number: int, concurrency: int) -> list[PlannedRequest]:
        """What is sent before it and doesn't count."""
        return self._requests(endpoint, max(2, concurrency), (number, concurrency + WARM_UP))

    def first(self, endpoint: Endpoint, number: int) -> list[PlannedRequest]:
        """The one request, for one token, whose answer shows that a server is really ready."""
        workload = SyntheticWorkload(self.vocabulary, Lengths("fixed", self.prompt_tokens), Lengths("fixed", 1))
        return workload.requests(endpoint, 1, (self.seed, number, WARM_UP), exact=True)

    def _requests(self, endpoint: Endpoint, count: int, seed: tuple[int, ...]) -> list[PlannedRequest]:
        workload = SyntheticWorkload(
            self.vocabulary, Lengths("fixed", self.prompt_tokens), Lengths("fixed", self.output_tokens)
        )
        return workload.requests(endpoint, count, (self.seed, *seed), exact=True)


async def find_vocabulary(tokenizer: Path | None, running: Sequence[Target]) -> Vocabulary:
    """The words of a tokenizer.json or of a model's directory; without one, those that the first running server tells.

    Raises ValueError, and BadAnswer where that server tells none.
    """
    if tokenizer is not None:
        found = read_vocabulary(tokenizer)
    elif running:
        one = running[0]
        found = await ask_vocabulary(await find_endpoint(one.url or "", model=one.model, api_key=one.api_key))
    else:
        raise ValueError("prompts are made of a tokenizer's words: name the model's by --tokenizer")
    if not found.ids:
        raise ValueError("the tokenizer has no words that are one token each; name another by --tokenizer")
    return found
