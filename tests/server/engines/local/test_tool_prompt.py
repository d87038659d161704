"""Tools, calls and results told as text to a model whose template knows none."""

from __future__ import annotations

import json

import pytest

from pennyweight.server.engines.local.tool_prompt import tell_of_tools
from pennyweight.server.types import Message, Tool, ToolCall

USER = Message(role="user", content="Hi")
CALLS = tuple(ToolCall(id=f"call_{n}", name="look", arguments=f'{{"at": {n}}}') for n in (1, 2))
RESULTS = [Message(role="tool", content=f"{{result {n}}}", tool_call_id=f"call_{n}") for n in (1, 2)]
TOOLS = [Tool(name="lööp", description="{braces} stay", parameters={"type": "object"}), Tool(name="b", parameters={})]


def test_each_tool_has_a_line_of_json() -> None:
    (system, user) = tell_of_tools([USER], TOOLS)
    assert (system.role, user) == ("system", USER)
    lines = (system.content or "").partition("<tools>\n")[2].partition("\n</tools>")[0].splitlines()
    assert [json.loads(line)["function"]["name"] for line in lines] == ["lööp", "b"]
    assert "{braces} stay" in lines[0]


@pytest.mark.parametrize("role", ["system", "developer"])
@pytest.mark.parametrize(("content", "start"), [("Be brief.", "Be brief.\n\nYou can call"), (None, "You can call")])
def test_instructions_come_before_the_tools(role: str, content: str | None, start: str) -> None:
    first = Message(role="developer" if role == "developer" else "system", content=content)
    told = tell_of_tools([first, USER], TOOLS)
    assert [one.role for one in told] == [role, "user"]
    assert (told[0].content or "").startswith(start)


def test_without_tools_only_what_templates_do_not_know_is_rewritten() -> None:
    assert tell_of_tools([USER], []) == [USER]
    assert [one.role for one in tell_of_tools([USER, RESULTS[0]], [])][-1] == "user"


def test_results_of_calls_at_once_share_one_turn() -> None:
    """Many templates refuse two turns of the user in a row."""
    told = tell_of_tools([USER, Message(role="assistant", content="So:", tool_calls=CALLS), *RESULTS], [])
    assert [one.role for one in told] == ["user", "assistant", "user"]
    assert told[1] == Message(
        role="assistant",
        content='So:\n<tool_call>\n{"name": "look", "arguments": {"at": 1}}\n</tool_call>\n'
        '<tool_call>\n{"name": "look", "arguments": {"at": 2}}\n</tool_call>',
    )
    assert told[2].content == (
        "<tool_response>\n{result 1}\n</tool_response>\n<tool_response>\n{result 2}\n</tool_response>"
    )


def test_results_of_calls_one_after_another_have_turns_of_their_own() -> None:
    called = [Message(role="assistant", content=None, tool_calls=(call,)) for call in CALLS]
    told = tell_of_tools([USER, called[0], RESULTS[0], called[1], RESULTS[1]], [])
    assert [one.role for one in told] == ["user", "assistant", "user", "assistant", "user"]


def test_what_the_user_says_after_a_result_stays_the_user_s() -> None:
    told = tell_of_tools([USER, Message(role="assistant", content=None, tool_calls=CALLS), *RESULTS, USER], [])
    assert told[-1] == USER
