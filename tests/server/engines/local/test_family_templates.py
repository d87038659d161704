"""Templates written as the makers of Llama 3 and Qwen write theirs, with tools and results, as transformers renders them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from pennyweight.server.engines.local.chat_template import ChatTemplate
from pennyweight.server.errors import InvalidRequest
from pennyweight.server.types import ChatPrompt, Message, Tool, ToolCall

# Tools under another name first, variables that are set where nothing was given, the date, text trimmed, a first turn cut off.
LLAMA = """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" }}
{%- if tools is not none %}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
        {{- '{"name": "' + tool_call.name + '", ' }}
        {{- '"parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}<|eot_id|>" }}
    {%- else %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

# A namespace, the messages in reverse, thoughts split off by methods of strings, results that share one turn.
QWEN = """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\\n\\n' }}
    {%- endif %}
    {{- "# Tools\\n\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(last=messages|length - 1, found=false) %}
{%- for message in messages[::-1] %}
    {%- if not ns.found and message.role == 'user' %}
        {%- set ns.last = messages|length - 1 - loop.index0 %}
        {%- set ns.found = true %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- elif message.role == 'assistant' %}
        {%- set content = message.content if message.content is string else '' %}
        {%- if '</think>' in content and loop.index0 < ns.last %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\\n' + content }}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}
                    {{- '\\n' }}
                {%- endif %}
                {%- if tool_call.function %}
                    {%- set tool_call = tool_call.function %}
                {%- endif %}
                {{- '<tool_call>\\n{"name": "' + tool_call.name + '", "arguments": ' }}
                {%- if tool_call.arguments is string %}
                    {{- tool_call.arguments }}
                {%- else %}
                    {{- tool_call.arguments | tojson }}
                {%- endif %}
                {{- '}\\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == 'tool' %}
        {%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""

USER = Message(role="user", content='  Größe & <b>"x"</b>?\n')
SYSTEM = Message(role="system", content="Be brief. ")
CALL = ToolCall(id="call_1", name="look", arguments='{"at": "Ärmel <1>", "deep": {"n": [1, 2.5, null, true]}}')
OTHER = ToolCall(id="call_2", name="look", arguments="{}")
CALLED = Message(role="assistant", content=None, tool_calls=(CALL,))
BOTH = Message(role="assistant", content="Two.", tool_calls=(CALL, OTHER))
RESULT = Message(role="tool", content='{"is": "blue"}', tool_call_id="call_1")
SECOND = Message(role="tool", content="grey", tool_call_id="call_2")
THOUGHT = Message(role="assistant", content="<think>\nhm\n</think>\n\nYes.")
LOOK = Tool(
    name="look", description="Look at <it>", parameters={"type": "object", "properties": {"at": {"type": "string"}}}
)

CONVERSATIONS = {
    "one turn": (USER,),
    "a system": (SYSTEM, USER),
    "several turns": (SYSTEM, USER, THOUGHT, USER),
    "a call and its result": (SYSTEM, USER, CALLED, RESULT),
    "two results": (USER, BOTH, RESULT, SECOND, THOUGHT, USER),
}


def raw(message: Message) -> dict[str, Any]:
    """The message as transformers' documentation wants it: arguments parsed."""
    found: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        found["tool_calls"] = [
            {
                "type": "function",
                "id": call.id,
                "function": {"name": call.name, "arguments": json.loads(call.arguments)},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        found["tool_call_id"] = message.tool_call_id
    return found


@pytest.fixture(scope="module")
def theirs(default_model: Path) -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(default_model)
    return tokenizer


CASES = [
    pytest.param(source, options, conversation, id=f"{family}, {conversation}")
    for family, source, options in (
        ("llama", LLAMA, {}),
        ("llama on a day", LLAMA, {"date_string": "1 May 2026"}),
        ("qwen", QWEN, {}),
    )
    for conversation, messages in CONVERSATIONS.items()
    if source != LLAMA or BOTH not in messages
]


@pytest.mark.parametrize("with_tools", [False, True])
@pytest.mark.parametrize(("source", "options", "conversation"), CASES)
def test_a_family_s_template_renders_as_in_transformers(
    theirs: PreTrainedTokenizerBase, source: str, options: dict[str, Any], conversation: str, with_tools: bool
) -> None:
    messages = CONVERSATIONS[conversation]
    tools = (LOOK,) if with_tools else ()
    tool_objects: list[Any] = [
        {
            "type": "function",
            "function": {"name": LOOK.name, "description": LOOK.description, "parameters": LOOK.parameters},
        }
    ]
    ours = ChatTemplate(source, {"bos_token": str(theirs.bos_token)})
    assert ours.render(
        ChatPrompt(messages=messages, tools=tools, template_kwargs=options)
    ) == theirs.apply_chat_template(
        [raw(message) for message in messages],
        tools=tool_objects if with_tools else None,
        chat_template=source,
        tokenize=False,
        add_generation_prompt=True,
        **options,
    )


@pytest.mark.parametrize("source", [LLAMA, QWEN])
def test_tools_are_seen_in_a_template_that_sets_them_itself(source: str) -> None:
    assert "tools" in ChatTemplate(source, {}).variables


def test_what_a_family_s_template_refuses_is_the_request_s_fault() -> None:
    with pytest.raises(InvalidRequest, match="only supports single tool-calls at once"):
        ChatTemplate(LLAMA, {}).render(ChatPrompt(messages=(USER, BOTH, RESULT, SECOND)))


def test_thinking_is_turned_off_by_the_request() -> None:
    prompt = ChatPrompt(messages=(USER,), template_kwargs={"enable_thinking": False})
    assert ChatTemplate(QWEN, {}).render(prompt).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
