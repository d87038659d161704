"""From wire parameters to SamplingParams, every limit enforced under the parameter's own name."""

from __future__ import annotations

from pennyweight.server.config import LimitSettings
from pennyweight.server.errors import InvalidRequest, UnsupportedParameter
from pennyweight.server.types import Constraint, SamplingParams

from .beam_search import beam_search
from .bounds import check_at_most, check_length
from .fields import GenerationFields

_MAX_TOKEN_ID = 2**31 - 1
# OpenAI takes a top_p of 0 to mean the most probable token alone; so does any share below that token's.
_SMALLEST_TOP_P = 1e-6


def check_common(fields: GenerationFields, limits: LimitSettings) -> None:
    """Raise InvalidRequest for what chat and plain completions refuse alike and no engine ever hears of."""
    if fields.stream_options is not None and not fields.stream:
        raise InvalidRequest("'stream_options' is only allowed when 'stream' is true.", param="stream_options")
    if fields.stream and fields.prompt_logprobs is not None:
        raise UnsupportedParameter("'prompt_logprobs' is not available in a stream.", param="prompt_logprobs")
    check_length(fields.metadata or (), limits.max_metadata, "metadata")


def sampling_params(
    fields: GenerationFields,
    limits: LimitSettings,
    *,
    max_tokens: int | None,
    logprobs: int | None,
    prompt_logprobs: int | None,
    constraint: Constraint | None,
    keeps_special_tokens: bool = False,
) -> SamplingParams:
    """The choice of tokens that a request asks for. Raises InvalidRequest for what is over a limit.

    ``keeps_special_tokens`` leaves them in the text whatever the request says, for a parser that needs them.
    """
    n = fields.n or 1
    check_at_most(n, limits.max_n, "n")
    min_tokens = fields.min_tokens or 0
    if max_tokens is not None and min_tokens > max_tokens:
        raise InvalidRequest(f"'min_tokens' ({min_tokens}) is above the maximum of {max_tokens}.", param="min_tokens")
    stop_token_ids = tuple(fields.stop_token_ids or ())
    check_length(stop_token_ids, limits.max_stop_token_ids, "stop_token_ids")
    if prompt_logprobs is not None:
        check_at_most(prompt_logprobs, limits.max_top_logprobs, "prompt_logprobs")
    return SamplingParams(
        n=n,
        max_tokens=max_tokens,
        min_tokens=min_tokens,
        temperature=fields.temperature,
        top_p=None if fields.top_p is None else max(fields.top_p, _SMALLEST_TOP_P),
        top_k=None if fields.top_k is None else max(fields.top_k, 0),
        min_p=fields.min_p,
        presence_penalty=fields.presence_penalty or 0.0,
        frequency_penalty=fields.frequency_penalty or 0.0,
        repetition_penalty=fields.repetition_penalty,
        logit_bias=_logit_bias(fields.logit_bias, limits),
        seed=fields.seed,
        stop=_stop(fields.stop, limits),
        stop_token_ids=stop_token_ids,
        include_stop_str_in_output=bool(fields.include_stop_str_in_output),
        ignore_eos=bool(fields.ignore_eos),
        skip_special_tokens=fields.skip_special_tokens is not False and not keeps_special_tokens,
        logprobs=logprobs,
        prompt_logprobs=prompt_logprobs,
        constraint=constraint,
        beam_search=beam_search(
            fields, limits, max_tokens=max_tokens, prompt_logprobs=prompt_logprobs, constraint=constraint
        ),
    )


def _stop(stop: str | list[str] | None, limits: LimitSettings) -> tuple[str, ...]:
    strings = (stop,) if isinstance(stop, str) else tuple(stop or ())
    check_length(strings, limits.max_stop, "stop")
    for index, string in enumerate(strings):
        param = "stop" if isinstance(stop, str) else f"stop[{index}]"
        if not string:
            raise InvalidRequest(f"Invalid '{param}': a stop string must not be empty.", param=param)
        check_length(string, limits.max_stop_length, param)
    return strings


def _logit_bias(bias: dict[str, float] | None, limits: LimitSettings) -> dict[int, float]:
    if not bias:
        return {}
    check_length(bias, limits.max_logit_bias, "logit_bias")
    found: dict[int, float] = {}
    for key, value in bias.items():
        # A decimal token id in ASCII and nothing else: int() would also take signs, spaces, underscores and other digits.
        if not (key.isascii() and key.isdigit() and len(key) <= 10 and int(key) <= _MAX_TOKEN_ID):
            raise InvalidRequest("Invalid 'logit_bias': its names must be token ids.", param="logit_bias")
        if int(key) in found:
            raise InvalidRequest(f"Invalid 'logit_bias': token id {int(key)} comes twice.", param="logit_bias")
        found[int(key)] = value
    return found
