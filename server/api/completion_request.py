"""POST /v1/completions: the request as it comes over the wire, and the engine-neutral ones made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeVar

from msgspec import Meta

from pennyweight.server.config import LimitSettings
from pennyweight.server.errors import InvalidRequest, InvalidType
from pennyweight.server.types import (
    NO_CACHE_CONTROL,
    CacheControl,
    Determinism,
    Request,
    Routing,
    TextPrompt,
    TokensPrompt,
)

from .bounds import check_at_most, check_length
from .cache_control import with_body
from .constraints import output_constraint
from .fields import GenerationFields, TokenId
from .sampling import check_common, sampling_params

_T = TypeVar("_T")

# OpenAI's, for this endpoint alone: a chat goes on until it is done.
DEFAULT_MAX_TOKENS = 16


class CompletionRequest(GenerationFields, kw_only=True, frozen=True):
    """Texts to continue. ``logprobs`` is the number of alternatives for each token, 0 for the chosen one alone."""

    prompt: str | list[str | TokenId | list[TokenId]]
    echo: bool | None = None
    logprobs: Annotated[int, Meta(ge=0)] | None = None
    add_special_tokens: bool | None = None


def to_requests(
    completion: CompletionRequest,
    limits: LimitSettings,
    *,
    request_id: str,
    arrival: float,
    tenant: str = "",
    cache: CacheControl = NO_CACHE_CONTROL,
    routing: Routing | None = None,
    determinism: Determinism | None = None,
    deadline: float | None = None,
) -> list[Request]:
    """One engine-neutral request for each prompt. Raises InvalidRequest or UnsupportedParameter."""
    check_common(completion, limits)
    if completion.logprobs is not None:
        check_at_most(completion.logprobs, limits.max_top_logprobs, "logprobs")
    prompts = to_prompts(
        completion.prompt,
        limits.max_prompts,
        add_special_tokens=completion.add_special_tokens is not False,
        param="prompt",
    )
    sampling = sampling_params(
        completion,
        limits,
        max_tokens=_max_tokens(completion),
        logprobs=completion.logprobs,
        prompt_logprobs=_prompt_logprobs(completion),
        constraint=output_constraint(completion, limits),
    )
    asked = with_body(cache, completion.cache)
    return [
        Request(
            id=request_id if len(prompts) == 1 else f"{request_id}-{place}",
            model=completion.model,
            prompt=prompt,
            sampling=sampling,
            priority=completion.priority or 0,
            arrival=arrival,
            deadline=deadline,
            tenant=tenant,
            cache=asked,
            determinism=determinism,
            hash_logits=bool(completion.logits_hashes),
            wants_token_ids=bool(completion.return_token_ids),
            routing=routing,
        )
        for place, prompt in enumerate(prompts)
    ]


def to_prompts(
    wire: str | Sequence[str | int | list[int]], most: int, *, add_special_tokens: bool, param: str
) -> Sequence[TextPrompt | TokensPrompt]:
    """The prompts, ``most`` at the most, that a text, a list of texts, token ids or a list of them stand for.

    Raises InvalidRequest.
    """
    if isinstance(wire, str):
        return [TextPrompt(text=wire, add_special_tokens=add_special_tokens)]
    if not wire:
        raise InvalidRequest(f"Invalid '{param}': it must not be empty.", param=param)
    if isinstance(wire[0], int):
        return [TokensPrompt(token_ids=tuple(_all_of(wire, int, param)))]
    check_length(wire, most, param)
    if isinstance(wire[0], str):
        texts = _all_of(wire, str, param)
        return [TextPrompt(text=text, add_special_tokens=add_special_tokens) for text in texts]
    lists: list[list[int]] = _all_of(wire, list, param)
    for place, token_ids in enumerate(lists):
        if not token_ids:
            raise InvalidRequest(f"Invalid '{param}[{place}]': it must not be empty.", param=f"{param}[{place}]")
    return [TokensPrompt(token_ids=tuple(token_ids)) for token_ids in lists]


def _all_of(items: Sequence[object], kind: type[_T], param: str) -> list[_T]:
    found = [item for item in items if isinstance(item, kind)]
    if len(found) != len(items):
        raise InvalidType(
            f"Invalid type for '{param}': texts, token ids and lists of them can't be mixed.", param=param
        )
    return found


def _max_tokens(completion: CompletionRequest) -> int:
    if completion.max_tokens is None:
        return DEFAULT_MAX_TOKENS
    if completion.max_tokens == 0 and not completion.echo and completion.prompt_logprobs is None:
        raise InvalidRequest(
            "Invalid value for 'max_tokens': 0 leaves nothing to answer with, unless 'echo' is true.",
            param="max_tokens",
        )
    return completion.max_tokens


def _prompt_logprobs(completion: CompletionRequest) -> int | None:
    echoed = completion.logprobs if completion.echo else None
    if None not in (echoed, completion.prompt_logprobs) and echoed != completion.prompt_logprobs:
        raise InvalidRequest(
            "'prompt_logprobs' and the 'logprobs' of an echoed prompt contradict each other.", param="prompt_logprobs"
        )
    return completion.prompt_logprobs if echoed is None else echoed
