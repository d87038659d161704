"""A submission in vLLM's words. Imported in vLLM's process only."""

from __future__ import annotations

import json

from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

from pennyweight.server.engines.local.grammar_text import choice_lark, styled_json_schema, with_spaced_ranges
from pennyweight.server.engines.local.messages import Submit
from pennyweight.server.types import Constraint, ConstraintKind

# vLLM's seeds are signed 64-bit numbers.
SEED_BITS = (1 << 63) - 1
# The smallest share of the probability that vLLM accepts; it keeps the most probable token alone, as 0 does with us.
LEAST_TOP_P = 1e-6


def sampling_params(submission: Submit, index: int) -> SamplingParams:
    """vLLM's parameters for one choice. Raises ValueError for a constraint that is none.

    The text is the server's: nothing is detokenised here, and stop strings are looked for there. The ends of sequence are
    among the stop tokens already, or left out of them by ``ignore_eos``.
    """
    choice, constraint = submission.choice, submission.constraint
    is_greedy = choice.temperature == 0.0
    return SamplingParams(
        temperature=choice.temperature,
        top_p=1.0 if is_greedy else max(choice.top_p, LEAST_TOP_P),
        top_k=0 if is_greedy else choice.top_k,
        min_p=0.0 if is_greedy else choice.min_p,
        presence_penalty=choice.presence_penalty,
        frequency_penalty=choice.frequency_penalty,
        repetition_penalty=choice.repetition_penalty,
        # A generator for each sequence costs time: only for those who asked to see the same again.
        seed=submission.seeds[index] & SEED_BITS if submission.is_seeded and not is_greedy else None,
        logit_bias=choice.logit_bias or None,
        # Only the prompt was asked about: vLLM always chooses a token, which is then left out.
        max_tokens=max(submission.max_tokens, 1),
        min_tokens=min(choice.min_tokens, max(submission.max_tokens, 1)),
        stop_token_ids=sorted(choice.stop_token_ids),
        ignore_eos=True,
        logprobs=choice.logprobs,
        prompt_logprobs=choice.prompt_logprobs,
        structured_outputs=None if constraint is None else structured_outputs(constraint),
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
    )


def structured_outputs(constraint: Constraint) -> StructuredOutputsParams:
    """The constraint for vLLM's guidance backend, which is llguidance too: JSON is written as the native engine writes it."""
    match constraint.kind:
        case ConstraintKind.JSON_OBJECT | ConstraintKind.JSON_SCHEMA:
            return StructuredOutputsParams(json=styled_json_schema(constraint))
        case ConstraintKind.REGEX:
            return StructuredOutputsParams(regex=constraint.value)
        case ConstraintKind.CHOICE:
            return StructuredOutputsParams(grammar=choice_lark(json.loads(constraint.value)))
        case ConstraintKind.GRAMMAR:
            return StructuredOutputsParams(grammar=with_spaced_ranges(constraint.value))
