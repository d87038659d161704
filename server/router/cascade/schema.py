"""Whether an answer is what its request asked for in form: JSON, one of some choices, calls of the tools that there are."""

from __future__ import annotations

import json
from collections.abc import Callable

from pennyweight.server.api.tools.base import ArgumentsDelta, CallStarted
from pennyweight.server.api.tools.formats import TOOL_FORMATS, tool_parser
from pennyweight.server.types import ChatPrompt, Constraint, ConstraintKind, Request, Tool

from .judge import Ask, Verdict
from .schema_checker import SchemaChecker
from .whole_answer import Called, WholeAnswer

_OBJECT = '{"type": "object"}'


class SchemaJudge:
    """Sure where every choice is whole and valid. It has no word to say of a request that asks for no form.

    Regexes and grammars are the engine's to keep: of them an answer is only looked at for its end. ``tool_format`` says how a model
    writes calls.
    """

    name = "schema"
    alternatives = 0

    def __init__(self, checker: SchemaChecker, tool_format: Callable[[str], str]) -> None:
        self._checker = checker
        self._tool_format = tool_format

    async def judge(self, request: Request, answer: WholeAnswer, ask: Ask) -> Verdict | None:
        constraint = request.sampling.constraint
        prompt = request.prompt
        has_tools = isinstance(prompt, ChatPrompt) and bool(prompt.tools)
        if constraint is None and not has_tools:
            return None
        if answer.is_cut_off:
            return Verdict(False, "cut off")
        if constraint is not None:
            for text in answer.texts():
                if not await self._fits(constraint, text):
                    return Verdict(False, f"not as {constraint.param} asks")
        elif isinstance(prompt, ChatPrompt):
            for calls in self._calls(prompt, answer):
                if (wrong := await self._wrong(prompt, calls)) is not None:
                    return Verdict(False, wrong)
        return Verdict(True, "valid")

    async def _fits(self, constraint: Constraint, text: str) -> bool:
        match constraint.kind:
            case ConstraintKind.JSON_SCHEMA:
                return await self._checker.is_valid(constraint.value, text)
            case ConstraintKind.JSON_OBJECT:
                return await self._checker.is_valid(_OBJECT, text)
            case ConstraintKind.CHOICE:
                return text in json.loads(constraint.value)
        return True

    def _calls(self, prompt: ChatPrompt, answer: WholeAnswer) -> list[list[Called]]:
        """Each choice's calls: those that the engine has told, or those in its text."""
        format = self._tool_format(answer.model)
        if format not in TOOL_FORMATS:
            return answer.calls()
        return [_read_calls(format, prompt.tools, text) for text in answer.texts()]

    async def _wrong(self, prompt: ChatPrompt, calls: list[Called]) -> str | None:
        """What is wrong with a choice's calls, if anything is."""
        choice = prompt.tool_choice
        if choice.mode == "required" and not calls:
            return "no tool called"
        tools = {tool.name: tool for tool in prompt.tools}
        for call in calls:
            tool = tools.get(call.name)
            if tool is None or choice.name not in (None, call.name):
                return "a tool called that there is not"
            schema = {**tool.parameters, "type": "object"}
            if not await self._checker.is_valid(json.dumps(schema), call.arguments or "{}"):
                return f"a call of {tool.name} with wrong arguments"
        return None


def _read_calls(format: str, tools: tuple[Tool, ...], text: str) -> list[Called]:
    parser = tool_parser(format, [tool.name for tool in tools])
    names: list[str] = []
    arguments: list[list[str]] = []
    for event in (*parser.push(text), *parser.finish()):
        match event:
            case CallStarted(_, _, name):
                names.append(name)
                arguments.append([])
            case ArgumentsDelta(index, more):
                arguments[index].append(more)
    return [Called(name, "".join(parts)) for name, parts in zip(names, arguments, strict=True)]
