"""How the tokens of one sequence are chosen, as an engine's process is told it."""

from __future__ import annotations

import msgspec


class TokenChoice(msgspec.Struct, frozen=True, kw_only=True):
    """How the sampler chooses this sequence's tokens; every default has been filled in.

    ``seed`` is the sequence's own 64-bit seed; the generator's counter is the position of the token to be chosen, so a
    choice depends on nothing else. ``stop_token_ids`` end the sequence and hold the model's ends of sequence (unless
    ignore_eos); ``suppress`` are the ids that min_tokens forbids until that many tokens have been chosen.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: dict[int, float] = msgspec.field(default_factory=dict)
    seed: int = 0
    min_tokens: int = 0
    suppress: tuple[int, ...] = ()
    stop_token_ids: frozenset[int] = frozenset()
    logprobs: int | None = None
    prompt_logprobs: int | None = None

    @property
    def needs_counts(self) -> bool:
        """Whether the sampler must know which tokens came before."""
        return self.presence_penalty != 0.0 or self.frequency_penalty != 0.0 or self.repetition_penalty != 1.0
