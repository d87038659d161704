"""A submission in TensorRT-LLM's words. Imported in its process only."""

from __future__ import annotations

import json

from llguidance.gbnf_to_lark import any_to_lark
from tensorrt_llm import SamplingParams
from tensorrt_llm.llmapi import GuidedDecodingParams

from pennyweight.server.engines.local.grammar_text import choice_lark, styled_json_schema, with_spaced_ranges
from pennyweight.server.engines.local.messages import Submit
from pennyweight.server.types import Constraint, ConstraintKind

# TensorRT-LLM takes no share of 0; this one keeps the most probable token alone, as 0 does with us.
LEAST_TOP_P = 1e-6


def sampling_params(submission: Submit) -> SamplingParams:
    """TensorRT-LLM's parameters for one choice: new ones each time, for it writes into them.

    The text is the server's: nothing is detokenised here, and stop strings are looked for there. The ends of sequence are
    among the stop tokens already, or left out of them by ``ignore_eos``. With an ``end_id`` given, TensorRT-LLM adds none of its
    own; stop tokens are left in the output, where an end of sequence stays in any case.
    """
    choice, constraint = submission.choice, submission.constraint
    is_greedy = choice.temperature == 0.0
    end_id, *others = sorted(choice.stop_token_ids) or [0]
    return SamplingParams(
        end_id=end_id,
        pad_id=end_id,
        ignore_eos=not choice.stop_token_ids,
        stop_token_ids=others or None,
        include_stop_str_in_output=True,
        # Only the prompt was asked about: TensorRT-LLM always chooses a token, which is then left out.
        max_tokens=max(submission.max_tokens, 1),
        temperature=choice.temperature,
        top_p=None if is_greedy or choice.top_p == 1.0 else max(choice.top_p, LEAST_TOP_P),
        top_k=None if is_greedy else choice.top_k or None,
        # Requests with these are refused; a model's own defaults reach it, for samplers that know them.
        min_p=choice.min_p or None,
        repetition_penalty=None if choice.repetition_penalty == 1.0 else choice.repetition_penalty,
        # 0 would be none at all; the chosen token comes beside the most probable ones.
        logprobs=None if choice.logprobs is None else max(choice.logprobs, 1),
        guided_decoding=None if constraint is None else guided_decoding(constraint),
        detokenize=False,
    )


def guided_decoding(constraint: Constraint) -> GuidedDecodingParams:
    """The constraint for TensorRT-LLM's llguidance backend: JSON is written as the native engine writes it, grammars are Lark."""
    match constraint.kind:
        case ConstraintKind.JSON_OBJECT | ConstraintKind.JSON_SCHEMA:
            return GuidedDecodingParams(json=styled_json_schema(constraint))
        case ConstraintKind.REGEX:
            return GuidedDecodingParams(regex=constraint.value)
        case ConstraintKind.CHOICE:
            return GuidedDecodingParams(grammar=choice_lark(json.loads(constraint.value)))
        case ConstraintKind.GRAMMAR:
            return GuidedDecodingParams(grammar=any_to_lark(with_spaced_ranges(constraint.value)))
