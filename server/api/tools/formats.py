"""The parser for a model's own format of tool calls, or for a form that was forced on it."""

from __future__ import annotations

from collections.abc import Collection

from pennyweight.server.errors import ConfigError

from .base import CallId, ToolParser, mistral_call_id, openai_call_id
from .hermes import HermesParser
from .json_array import JsonArrayParser
from .llama3 import Llama3Parser
from .mistral import MistralParser
from .named_call import NamedCallParser

_PARSERS = {"hermes": HermesParser, "llama3": Llama3Parser, "mistral": MistralParser}
TOOL_FORMATS = frozenset(_PARSERS)


def tool_parser(format: str, names: Collection[str]) -> ToolParser:
    """A parser for one choice of a model that may call the tools of ``names``, and writes calls in ``format``.

    Raises ConfigError for a format that is not one of TOOL_FORMATS.
    """
    if format not in _PARSERS:
        raise ConfigError(f"Unknown format of tool calls {format!r}; known are {', '.join(sorted(TOOL_FORMATS))}.")
    return _PARSERS[format](names)


def required_parser(format: str, names: Collection[str]) -> ToolParser:
    """A parser for one choice under ``required_constraint``, whatever the model's own format."""
    return JsonArrayParser(names, _call_id(format))


def named_parser(format: str, name: str) -> ToolParser:
    """A parser for one choice under ``named_constraint``, whatever the model's own format."""
    return NamedCallParser(name, _call_id(format))


def needs_special_tokens(format: str) -> bool:
    """Whether ``format`` is marked by special tokens, so that they must not be skipped in the text."""
    return format == "mistral"


def _call_id(format: str) -> CallId:
    return mistral_call_id if format == "mistral" else openai_call_id
