"""TensorRT-LLM's outputs and figures in the server's words. Imported in its process only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tensorrt_llm.executor.result import Logprob
from tensorrt_llm.llmapi import CompletionOutput, RequestOutput

from pennyweight.server.engines.local.messages import Logprobs, Progress, Stats, Submit
from pennyweight.server.types import FinishReason


def progress_of(submission: Submit, index: int, output: RequestOutput, *, is_first: bool) -> Progress:
    """What the step that ``output`` stands at has added to choice ``index``; of a request with n = 1.

    Everything is copied: TensorRT-LLM changes the same object at each step.
    """
    return _progress(submission, index, output.outputs[0], output.cached_tokens if is_first else 0)


def _progress(submission: Submit, index: int, completion: CompletionOutput, cached_tokens: int) -> Progress:
    token_ids, reason = list(completion.token_ids_diff), completion.finish_reason
    if reason not in (None, "stop", "length"):
        return Progress(submission.request_id, index, [], error=f"TensorRT-LLM ended the request: {reason}")
    stop_token_id = None
    # A stop token in the last place that there is room for counts as "length" there; an end of sequence names itself nowhere.
    if reason is not None and token_ids and token_ids[-1] in submission.choice.stop_token_ids:
        reason, stop_token_id = "stop", token_ids[-1]
    logprobs = _logprobs(submission, completion, token_ids)
    if submission.max_tokens == 0:
        token_ids, logprobs, stop_token_id, reason = [], [], None, "length"
    return Progress(
        submission.request_id,
        index,
        token_ids,
        logprobs=logprobs,
        finish_reason=None if reason is None else FinishReason(reason),
        stop_token_id=stop_token_id,
        cached_tokens=cached_tokens,
        queue_seconds=None,
    )


def stats_of(iteration: Mapping[str, Any], tokens_per_block: int) -> Stats:
    """The server's figures from those of one iteration. What this version doesn't tell stays 0."""
    cache = iteration.get("kvCacheStats") or {}
    blocks, hits, misses = (cache.get(name, 0) for name in ("maxNumBlocks", "reusedBlocks", "missedBlocks"))
    return Stats(
        running=iteration.get("numActiveRequests", 0),
        waiting=iteration.get("numQueuedRequests", 0),
        kv_cache_usage=cache.get("usedNumBlocks", 0) / blocks if blocks else 0.0,
        prefix_queries=(hits + misses) * tokens_per_block,
        prefix_hits=hits * tokens_per_block,
    )


def _logprobs(submission: Submit, completion: CompletionOutput, token_ids: list[int]) -> list[Logprobs]:
    limit = submission.choice.logprobs
    if limit is None:
        return []
    pairs = zip(completion.logprobs_diff, token_ids, strict=True)
    return [_position(found, token_id, limit) for found, token_id in pairs]


def _position(found: Mapping[int, Logprob], token_id: int, limit: int) -> Logprobs:
    """``found`` has the most probable tokens, each with its rank from 1, and the chosen one where it is none of them."""
    ranked = sorted(found, key=lambda other: _rank(found[other]))
    most = [other for other in ranked if _rank(found[other])[0] <= limit][:limit]
    return Logprobs(token_id, _value(found[token_id]), most, [_value(found[other]) for other in most])


def _rank(one: Logprob) -> tuple[int, float]:
    return one.rank or 1, -one.logprob


def _value(one: Logprob) -> float:
    return float(one.logprob)
