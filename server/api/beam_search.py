"""Beam search as vLLM's users ask for it, with transformers' parameters beside it."""

from __future__ import annotations

from pennyweight.server.config import LimitSettings
from pennyweight.server.errors import InvalidRequest, UnsupportedParameter
from pennyweight.server.types import BeamSearch, Constraint

from .bounds import check_at_most
from .fields import GenerationFields


def beam_search(
    fields: GenerationFields,
    limits: LimitSettings,
    *,
    max_tokens: int | None,
    prompt_logprobs: int | None,
    constraint: Constraint | None,
) -> BeamSearch | None:
    """The search that a request asks for: ``best_of`` beams, or else as many as it wants answers.

    Raises UnsupportedParameter for what belongs to beam search and comes without it, and for whatever would have a search
    weigh tokens otherwise than the model does; InvalidRequest for too many beams.
    """
    if not fields.use_beam_search:
        _refuse_without(fields)
        return None
    n = fields.n or 1
    width = n if fields.best_of is None else fields.best_of
    check_at_most(width, limits.max_n, "best_of")
    if width < n:
        raise InvalidRequest(f"Invalid value for 'best_of': {width} beams have no {n} answers.", param="best_of")
    for param, is_used in _has_no_part(fields).items():
        if is_used:
            raise _not_with_it(param)
    if prompt_logprobs is not None:
        raise _not_with_it("prompt_logprobs" if fields.prompt_logprobs is not None else "echo")
    if constraint is not None:
        raise _not_with_it(constraint.param)
    if max_tokens == 0:
        raise InvalidRequest("Invalid value for 'max_tokens': 0 leaves nothing to search.", param="max_tokens")
    return BeamSearch(
        width=width,
        length_penalty=1.0 if fields.length_penalty is None else fields.length_penalty,
        early_stopping=False if fields.early_stopping is None else fields.early_stopping,
    )


def _refuse_without(fields: GenerationFields) -> None:
    asked = {
        "best_of": fields.best_of not in (None, 1),
        "length_penalty": fields.length_penalty not in (None, 1.0),
        "early_stopping": fields.early_stopping not in (None, False),
    }
    for param, is_used in asked.items():
        if is_used:
            raise UnsupportedParameter(
                f"Unsupported parameter: '{param}' is for beam search alone: set 'use_beam_search'.", param=param
            )


def _has_no_part(fields: GenerationFields) -> dict[str, bool]:
    """What a search can't honour, and whether it is asked for. Temperature and truncation are for drawing tokens; what changes a
    token's probability does so before the others are normalised here and after it in transformers; stop strings are looked for in
    text, of which a search has none."""
    return {
        "temperature": bool(fields.temperature),
        "top_p": fields.top_p not in (None, 1.0),
        "top_k": fields.top_k not in (None, 0, -1),
        "min_p": bool(fields.min_p),
        "presence_penalty": bool(fields.presence_penalty),
        "frequency_penalty": bool(fields.frequency_penalty),
        "repetition_penalty": fields.repetition_penalty not in (None, 1.0),
        "logit_bias": bool(fields.logit_bias),
        "min_tokens": bool(fields.min_tokens),
        "stop": bool(fields.stop),
    }


def _not_with_it(param: str) -> UnsupportedParameter:
    return UnsupportedParameter(f"'{param}' can't be combined with 'use_beam_search'.", param=param)
