"""How the tools of a chat request are used: what the model is told, what is forced on it, and who reads its calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import msgspec

from pennyweight.server.config import LimitSettings
from pennyweight.server.engines.base import UPSTREAM_CALLS
from pennyweight.server.errors import InvalidRequest
from pennyweight.server.types import FREE_TOOL_CHOICE, Constraint, Tool, ToolChoice

from .constraints import check_constraint
from .messages import NamedToolChoice, WireTool, to_tools
from .tools.base import ContentDelta, ToolEvent, ToolParser
from .tools.constraint import named_constraint, required_constraint
from .tools.formats import named_parser, needs_special_tokens, required_parser, tool_parser


class ToolUse(msgspec.Struct, frozen=True, kw_only=True):
    """``new_parser`` makes the parser of one choice; None where no tool may be called or the engine reads the calls."""

    tools: tuple[Tool, ...] = ()
    choice: ToolChoice = FREE_TOOL_CHOICE
    constraint: Constraint | None = None
    keeps_special_tokens: bool = False
    new_parser: Callable[[], ToolParser] | None = None

    @property
    def may_call(self) -> bool:
        """Whether the answer may have calls in it."""
        return bool(self.tools) and self.choice.mode != "none"


NO_TOOLS = ToolUse()


class FirstCallOnly:
    """A ToolParser that leaves out every call but the first, for ``parallel_tool_calls: false``."""

    def __init__(self, parser: ToolParser) -> None:
        self._parser = parser

    def push(self, text: str) -> list[ToolEvent]:
        return self._first(self._parser.push(text))

    def finish(self) -> list[ToolEvent]:
        return self._first(self._parser.finish())

    def _first(self, events: Sequence[ToolEvent]) -> list[ToolEvent]:
        return [event for event in events if isinstance(event, ContentDelta) or event.index == 0]


def tool_use(
    wire: Sequence[WireTool] | None,
    choice: Literal["none", "auto", "required"] | NamedToolChoice | None,
    *,
    parallel: bool,
    tool_format: str,
    limits: LimitSettings,
) -> ToolUse:
    """What follows from ``tools``, ``tool_choice`` and ``parallel_tool_calls`` for a model that calls in ``tool_format``.

    Where that is UPSTREAM_CALLS, everything is the engine's to tell its upstream, and nothing is constrained or parsed
    here. Raises InvalidRequest with the path of what is wrong.
    """
    if not wire and choice in (None, "none", "auto") and tool_format != UPSTREAM_CALLS:
        return NO_TOOLS
    tools = to_tools(wire or (), limits)
    names = tuple(tool.name for tool in tools)
    if isinstance(choice, NamedToolChoice):
        name = choice.function.name
        if name not in names:
            param = "tool_choice.function.name"
            raise InvalidRequest("Invalid 'tool_choice': there is no tool of that name in 'tools'.", param=param)
        made = ToolChoice(mode="required", name=name, parallel=parallel)
        if tool_format == UPSTREAM_CALLS:
            return ToolUse(tools=tools, choice=made)
        constraint = named_constraint(tools, name)
        new_named = partial(named_parser, tool_format, name)
        return ToolUse(tools=tools, choice=made, constraint=constraint, new_parser=new_named)
    made = ToolChoice(mode=choice or "auto", parallel=parallel)
    if choice == "required" and not tools:
        raise InvalidRequest("'tool_choice' is only allowed when 'tools' are given.", param="tool_choice")
    if tool_format == UPSTREAM_CALLS:
        return ToolUse(tools=tools, choice=made)
    if choice == "required":
        constraint = required_constraint(tools, parallel=parallel)
        check_constraint(constraint, limits)
        new_required = partial(required_parser, tool_format, names)
        return ToolUse(tools=tools, choice=made, constraint=constraint, new_parser=new_required)
    if choice == "none" or not tools:
        return NO_TOOLS

    def new_parser() -> ToolParser:
        parser = tool_parser(tool_format, names)
        return parser if parallel else FirstCallOnly(parser)

    return ToolUse(
        tools=tools, choice=made, keeps_special_tokens=needs_special_tokens(tool_format), new_parser=new_parser
    )
