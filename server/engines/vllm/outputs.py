"""vLLM's outputs in the server's words. Imported in vLLM's process only."""

from __future__ import annotations

from collections.abc import Mapping

from vllm.logprobs import Logprob
from vllm.outputs import CompletionOutput, RequestOutput

from pennyweight.server.engines.local.messages import Logprobs, Progress, Submit
from pennyweight.server.types import FinishReason


def progress_of(submission: Submit, index: int, output: RequestOutput, *, is_first: bool) -> Progress:
    """What one output (DELTA, of a request with n = 1) adds to choice ``index``."""
    (completion,) = output.outputs
    token_ids, reason = list(completion.token_ids), completion.finish_reason
    if reason not in (None, "stop", "length"):
        return Progress(submission.request_id, index, [], error=f"vLLM ended the request: {reason}")
    stop_token_id = None
    if reason == "stop":
        stop_token_id = completion.stop_reason if isinstance(completion.stop_reason, int) else token_ids[-1]
    logprobs = _logprobs(submission, completion)
    if submission.max_tokens == 0:
        token_ids, logprobs, stop_token_id, reason = [], [], None, "length"
    return Progress(
        submission.request_id,
        index,
        token_ids,
        logprobs=logprobs,
        finish_reason=None if reason is None else FinishReason(reason),
        stop_token_id=stop_token_id,
        cached_tokens=(output.num_cached_tokens or 0) if is_first else 0,
        queue_seconds=_queue_seconds(output) if is_first else 0.0,
        prompt_logprobs=_prompt_logprobs(submission, output) if is_first else [],
    )


def _logprobs(submission: Submit, completion: CompletionOutput) -> list[Logprobs]:
    limit = submission.choice.logprobs
    if limit is None or completion.logprobs is None:
        return []
    pairs = zip(completion.logprobs, completion.token_ids, strict=True)
    return [_position(found, token_id, limit) for found, token_id in pairs]


def _prompt_logprobs(submission: Submit, output: RequestOutput) -> list[Logprobs]:
    limit = submission.choice.prompt_logprobs
    if limit is None or output.prompt_logprobs is None:
        return []
    # The first token follows nothing.
    pairs = zip(output.prompt_logprobs, output.prompt_token_ids or (), strict=True)
    return [_position(found, token_id, limit) for found, token_id in pairs if found is not None]


def _position(found: Mapping[int, Logprob], token_id: int, limit: int) -> Logprobs:
    """``found`` has the token that stands there beside the ``limit`` most probable ones, each with its rank from 1."""
    ranked = sorted((one.rank or 0, other, one.logprob) for other, one in found.items())
    most = [(other, logprob) for rank, other, logprob in ranked if rank <= limit]
    return Logprobs(token_id, found[token_id].logprob, [other for other, _ in most], [logprob for _, logprob in most])


def _queue_seconds(output: RequestOutput) -> float:
    metrics = output.metrics
    queued, scheduled = getattr(metrics, "queued_ts", 0.0), getattr(metrics, "scheduled_ts", 0.0)
    return max(0.0, scheduled - queued) if queued and scheduled else 0.0
