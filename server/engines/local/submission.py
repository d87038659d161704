"""A request made ready for the engine's process: defaults filled in, bounds checked against the model."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from typing import TypeVar

import numpy as np

from pennyweight.server.errors import ContextLengthExceeded, InvalidRequest
from pennyweight.server.types import ChatPrompt, Prompt, Request, SamplingParams

from .generation_defaults import GenerationDefaults
from .messages import Submit
from .token_choice import TokenChoice

# Below this a temperature is greedy; the same bound as vLLM's, so that the same request means the same.
GREEDY_TEMPERATURE = 1e-5

T = TypeVar("T")


def make_submission(
    request: Request, token_ids: list[int], *, defaults: GenerationDefaults, max_model_len: int, vocab_size: int
) -> Submit:
    """What is sent to the engine's process.

    Raises ContextLengthExceeded when prompt and answer can't fit, InvalidRequest for token ids outside the vocabulary and for more
    beams than it has tokens to begin with.
    """
    sampling = request.sampling
    if not token_ids:
        raise InvalidRequest("The prompt must hold at least one token.", param="prompt")
    check_vocabulary(token_ids, vocab_size, "prompt")
    check_vocabulary(sampling.logit_bias, vocab_size, "logit_bias")
    check_vocabulary(sampling.stop_token_ids, vocab_size, "stop_token_ids")
    if sampling.beam_search is not None:
        if sampling.beam_search.width > vocab_size:
            raise InvalidRequest(f"More beams than the model has tokens ({vocab_size}) can't differ.", param="n")
        # A search looks at all that the model would say: what its makers advise for drawing from that has no part in it.
        defaults = GenerationDefaults(temperature=0.0, eos_token_ids=defaults.eos_token_ids)
    return Submit(
        request_id=request.id,
        prompt=np.asarray(token_ids, dtype="<i4").tobytes(),
        choice=_token_choice(sampling, defaults),
        seeds=tuple(_seed(sampling.seed, index) for index in range(sampling.n)),
        max_tokens=_max_tokens(request, len(token_ids), max_model_len),
        priority=request.priority,
        arrival=request.arrival,
        constraint=sampling.constraint,
        is_seeded=sampling.seed is not None,
        adapter=request.adapter,
        salt=_salt(request),
        hash_logits=request.hash_logits,
        beam_search=sampling.beam_search,
    )


def _salt(request: Request) -> bytes:
    """16 bytes that requests of one tenant with one adapter have in common; none where there is neither."""
    digest = request.adapter.digest if request.adapter is not None else ""
    if not request.tenant and not digest:
        return b""
    return hashlib.blake2b(f"{request.tenant} {digest}".encode(), digest_size=16).digest()


def check_vocabulary(token_ids: Collection[int], vocab_size: int, param: str) -> None:
    """Raise InvalidRequest unless every id is in [0, vocab_size)."""
    if not token_ids:
        return
    ids = np.fromiter(token_ids, dtype=np.int64, count=len(token_ids))
    outside = ids[(ids < 0) | (ids >= vocab_size)]
    if outside.size:
        raise InvalidRequest(
            f"Token id {outside[0]} is outside the model's vocabulary of {vocab_size} tokens.", param=param
        )


def prompt_too_long(prompt: Prompt, max_model_len: int) -> ContextLengthExceeded:
    """The refusal of a prompt that was not even counted to its end."""
    return _exceeded(prompt, max_model_len, f"at least {max_model_len + 1} tokens")


def _max_tokens(request: Request, num_prompt: int, max_model_len: int) -> int:
    asked = request.sampling.max_tokens
    room = max_model_len - num_prompt
    # A prompt that fills the context leaves nothing to answer with, unless only the prompt was asked about.
    if room < (1 if asked is None else asked):
        completion = "" if asked is None else f", {asked} in the completion"
        requested = f"{num_prompt + (asked or 0)} tokens ({num_prompt} in the {_name(request.prompt)}{completion})"
        blames_prompt = asked is None or num_prompt >= max_model_len
        raise _exceeded(request.prompt, max_model_len, requested, param=None if blames_prompt else "max_tokens")
    return room if asked is None else asked


def _exceeded(prompt: Prompt, max_model_len: int, requested: str, *, param: str | None = None) -> ContextLengthExceeded:
    name = _name(prompt)
    return ContextLengthExceeded(
        f"This model's maximum context length is {max_model_len} tokens. However, you requested {requested}. "
        f"Please reduce the length of the {name} or completion.",
        param=param or name,
    )


def _name(prompt: Prompt) -> str:
    return "messages" if isinstance(prompt, ChatPrompt) else "prompt"


def _token_choice(sampling: SamplingParams, defaults: GenerationDefaults) -> TokenChoice:
    temperature = _first(sampling.temperature, defaults.temperature, 1.0)
    ends = frozenset(defaults.eos_token_ids)
    # A constrained answer ends where its grammar does: ignoring that would leave nothing to choose from.
    honours_ends = not sampling.ignore_eos or sampling.constraint is not None
    stop_token_ids = frozenset(sampling.stop_token_ids) | (ends if honours_ends else frozenset())
    return TokenChoice(
        temperature=temperature if temperature >= GREEDY_TEMPERATURE else 0.0,
        top_p=_first(sampling.top_p, defaults.top_p, 1.0),
        top_k=_first(sampling.top_k, defaults.top_k, 0),
        min_p=_first(sampling.min_p, defaults.min_p, 0.0),
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        repetition_penalty=_first(sampling.repetition_penalty, defaults.repetition_penalty, 1.0),
        logit_bias=dict(sampling.logit_bias),
        min_tokens=sampling.min_tokens,
        suppress=tuple(sorted(ends | stop_token_ids)) if sampling.min_tokens else (),
        stop_token_ids=stop_token_ids,
        logprobs=sampling.logprobs,
        prompt_logprobs=sampling.prompt_logprobs,
    )


def _first(asked: T | None, default: T | None, neutral: T) -> T:
    if asked is not None:
        return asked
    return default if default is not None else neutral


def _seed(seed: int | None, index: int) -> int:
    """A choice's own 64-bit seed: choices of one request differ, and the same request gives the same ones again."""
    if seed is None:
        return secrets.randbits(64)
    digest = hashlib.blake2b(f"{seed}/{index}".encode(), digest_size=8)
    return int.from_bytes(digest.digest(), "little")
