"""Prompts of an exact length in tokens, each unlike the others, so that no prefix cache can answer for the engine."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from .endpoint import Endpoint
from .lengths import Lengths
from .request import PlannedRequest
from .vocabulary import Vocabulary, read_vocabulary


def make_prompts(tokenizer: Path, *, count: int, tokens: int, seed: int = 0) -> list[list[int]]:
    """``count`` prompts of ``tokens`` token ids each: ordinary words in random order, no two with the same first word.

    The same arguments give the same prompts. Token ids are sent as they are, so every server computes the same work,
    whatever its template would add. Raises ValueError when the vocabulary of ``tokenizer`` (a tokenizer.json) has
    fewer words than there are prompts.
    """
    words = read_vocabulary(tokenizer).ids
    if len(words) < max(count, tokens):
        raise ValueError(f"{tokenizer} has {len(words)} ordinary words, too few for {count} prompts of {tokens}")
    generator = random.Random(seed)
    return [[first, *generator.choices(words, k=tokens - 1)] for first in generator.sample(words, count)]


class SyntheticWorkload(msgspec.Struct, frozen=True):
    """Random words in exact numbers of tokens.

    ``input_tokens`` is a prompt's length, or that of each user's message of a session of ``turns`` (a chat's template adds to
    it); ``prefix_tokens`` come before that, the same ones for all prompts that share one of ``prefixes`` (a system message in
    a chat). ``think_time`` is in seconds, between an answer and the session's next turn.
    """

    vocabulary: Vocabulary
    input_tokens: Lengths
    output_tokens: Lengths
    prefix_tokens: int = 0
    prefixes: int = 1
    turns: int = 1
    think_time: float = 0.0

    def describe(self) -> dict[str, Any]:
        """For the result."""
        found = {
            name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not self.vocabulary
        }
        return {"kind": "synthetic", **found}

    def requests(self, endpoint: Endpoint, count: int, seed: Sequence[int], exact: bool) -> list[PlannedRequest]:
        """``count`` sessions, each of ``turns`` requests. The same seed gives the same ones."""
        generator = np.random.default_rng([*seed, 0x5E17])
        shared = [self._words(generator, self.prefix_tokens) for _ in range(self.prefixes)]
        inputs = self.input_tokens.draw(count * self.turns, generator)
        outputs = self.output_tokens.draw(count * self.turns, generator)
        found = []
        for number in range(count):
            prefix = shared[int(generator.integers(self.prefixes))]
            for turn in range(self.turns):
                index = number * self.turns + turn
                words = self._words(generator, inputs[index])
                head = prefix if turn == 0 else []
                found.append(
                    PlannedRequest(
                        body=endpoint.body(self._prompt(endpoint, head, words), outputs[index], exact=exact),
                        prompt_tokens=len(head) + len(words) if self.turns == 1 else None,
                        output_tokens=outputs[index],
                        session=number if self.turns > 1 else None,
                        think_time=self.think_time,
                    )
                )
        return found

    def _words(self, generator: np.random.Generator, count: int) -> list[int]:
        ids = self.vocabulary.ids
        return [ids[number] for number in generator.integers(0, len(ids), count)]

    def _prompt(self, endpoint: Endpoint, prefix: list[int], words: list[int]) -> list[int] | list[dict[str, Any]]:
        if endpoint.api == "completions":
            return prefix + words
        system = [{"role": "system", "content": self.vocabulary.text(prefix)}] if prefix else []
        return [*system, {"role": "user", "content": self.vocabulary.text(words)}]
