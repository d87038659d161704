"""A request's body made again from what the engines were given, where the body that was received isn't known."""

from __future__ import annotations

from typing import Any

import msgspec

from pennyweight.server.config import UpstreamSettings
from pennyweight.server.engines.upstream.request_body import path_and_body, prompt_fields
from pennyweight.server.types import Request

# As to a server of vLLM's kind, which ours is by its API.
_OURS = UpstreamSettings(base_url="", dialect="vllm")
# Under what the API has put a constraint that it made of tools, and will make of them again.
_OF_TOOLS = "tool"


def rebuilt(request: Request) -> tuple[str, dict[str, Any]]:
    """The path and the body that stand for a request; what it asks of router and cache is for who sends it.

    Raises InvalidConstraint for a schema that is no JSON.
    """
    sampling = request.sampling
    if sampling.constraint is not None and sampling.constraint.param.startswith(_OF_TOOLS):
        sampling = msgspec.structs.replace(sampling, constraint=None)
    path, encoded = path_and_body(msgspec.structs.replace(request, sampling=sampling), _OURS)
    # What is forced is marked as strict for vLLM, and isn't in the prompt that was rendered here.
    body: dict[str, Any] = msgspec.json.decode(encoded)
    body |= msgspec.to_builtins(prompt_fields(request.prompt, is_vllm=False))
    for name in ("stream", "stream_options"):
        del body[name]
    if sampling.prompt_logprobs is not None:
        body["prompt_logprobs"] = sampling.prompt_logprobs
    return f"/v1{path}", body
