"""A request in the words of an upstream's API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pennyweight.server.config import UpstreamSettings
from pennyweight.server.errors import InvalidConstraint
from pennyweight.server.types import (
    ChatPrompt,
    Constraint,
    ConstraintKind,
    Message,
    Prompt,
    Request,
    SamplingParams,
    TextPrompt,
    Tool,
    ToolChoice,
)

# What every request says by itself, so that an operator can't say it for all.
RESERVED_PARAMETERS = frozenset({"model", "messages", "prompt", "n", "stream", "stream_options", "tools"})


def path_and_body(request: Request, upstream: UpstreamSettings) -> tuple[str, bytes]:
    """Where under ``base_url`` the request goes, and its JSON. What is None or neutral is not sent.

    The request uses nothing that the upstream's dialect doesn't have. Raises InvalidConstraint for a schema that is no
    JSON.
    """
    is_chat, is_vllm = isinstance(request.prompt, ChatPrompt), upstream.dialect == "vllm"
    body: dict[str, Any] = {
        "model": upstream.model or request.model,
        **prompt_fields(request.prompt, is_vllm=is_vllm),
        **_sampling(request.sampling),
        **_constrained(request.sampling.constraint),
        **(_chat_fields(request.sampling, is_vllm=is_vllm) if is_chat else _completion_fields(request.sampling)),
        **(_vllm_fields(request) if is_vllm else {}),
        **upstream.parameters,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return ("/chat/completions" if is_chat else "/completions"), msgspec.json.encode(body)


def prompt_fields(prompt: Prompt, *, is_vllm: bool = True) -> dict[str, Any]:
    """The fields that say what is to be answered or continued.

    vLLM holds a forced call to its tool's schema where the tool is strict alone; here every forced call is.
    """
    if isinstance(prompt, TextPrompt):
        return {"prompt": prompt.text} | ({} if prompt.add_special_tokens else {"add_special_tokens": False})
    if not isinstance(prompt, ChatPrompt):
        return {"prompt": prompt.token_ids}
    found: dict[str, Any] = {"messages": [_message(message) for message in prompt.messages]}
    if prompt.tools:
        is_forced = is_vllm and prompt.tool_choice.mode == "required"
        found["tools"] = [_tool(tool, is_strict=tool.strict or is_forced) for tool in prompt.tools]
        found |= _tool_choice(prompt.tool_choice)
    if not prompt.add_generation_prompt:
        found["add_generation_prompt"] = False
    if prompt.continue_final_message:
        found["continue_final_message"] = True
    if prompt.template_kwargs:
        found["chat_template_kwargs"] = prompt.template_kwargs
    return found


def _message(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.name is not None:
        found["name"] = message.name
    if message.tool_calls:
        found["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        found["tool_call_id"] = message.tool_call_id
    return found


def _tool(tool: Tool, *, is_strict: bool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.parameters:
        function["parameters"] = tool.parameters
    if is_strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice) -> dict[str, Any]:
    """What is sent for other choices than OpenAI's defaults, auto and parallel."""
    found: dict[str, Any] = {}
    if choice.name is not None:
        found["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
    elif choice.mode != "auto":
        found["tool_choice"] = choice.mode
    if not choice.parallel:
        found["parallel_tool_calls"] = False
    return found


def _sampling(sampling: SamplingParams) -> dict[str, Any]:
    return _given(
        n=sampling.n if sampling.n > 1 else None,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        seed=sampling.seed,
        stop=sampling.stop or None,
        presence_penalty=sampling.presence_penalty or None,
        frequency_penalty=sampling.frequency_penalty or None,
        logit_bias={str(token_id): bias for token_id, bias in sampling.logit_bias.items()} or None,
    )


def _chat_fields(sampling: SamplingParams, *, is_vllm: bool) -> dict[str, Any]:
    # OpenAI's reasoning models refuse max_tokens; older servers know nothing else.
    found = _given(**{"max_tokens" if is_vllm else "max_completion_tokens": sampling.max_tokens})
    if sampling.logprobs is not None:
        found |= {"logprobs": True, "top_logprobs": sampling.logprobs}
    return found


def _completion_fields(sampling: SamplingParams) -> dict[str, Any]:
    return _given(max_tokens=sampling.max_tokens, logprobs=sampling.logprobs)


def _vllm_fields(request: Request) -> dict[str, Any]:
    sampling = request.sampling
    return _given(
        # 0 turns it off here, -1 in every version of vLLM.
        top_k=-1 if sampling.top_k == 0 else sampling.top_k,
        min_p=sampling.min_p,
        repetition_penalty=sampling.repetition_penalty,
        min_tokens=sampling.min_tokens or None,
        stop_token_ids=sampling.stop_token_ids or None,
        include_stop_str_in_output=sampling.include_stop_str_in_output or None,
        ignore_eos=sampling.ignore_eos or None,
        skip_special_tokens=None if sampling.skip_special_tokens else False,
        priority=request.priority or None,
    )


def _constrained(constraint: Constraint | None) -> Mapping[str, Any]:
    if constraint is None:
        return {}
    match constraint.kind:
        case ConstraintKind.JSON_OBJECT:
            return {"response_format": {"type": "json_object"}}
        case ConstraintKind.JSON_SCHEMA:
            schema = {"name": "response", "strict": True, "schema": _decoded(constraint)}
            return {"response_format": {"type": "json_schema", "json_schema": schema}}
        case ConstraintKind.CHOICE:
            return {"structured_outputs": {"choice": _decoded(constraint)}}
        case ConstraintKind.REGEX | ConstraintKind.GRAMMAR:
            return {"structured_outputs": {constraint.kind.value: constraint.value}}


def _decoded(constraint: Constraint) -> Any:
    try:
        return msgspec.json.decode(constraint.value)
    except (msgspec.DecodeError, RecursionError):
        raise InvalidConstraint(f"Invalid '{constraint.param}': it is no JSON.", param=constraint.param) from None


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
