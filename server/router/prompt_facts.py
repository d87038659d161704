"""What rules ask of a request, found out once and only when it is asked."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from pennyweight.server.types import ChatPrompt, ConstraintKind, Request, TextPrompt

from .code_lines import code_share, has_fence
from .prompt_text import characters
from .scripts import script_shares

# How many characters are looked through, half of them at the beginning and half at the end, so that a long prompt takes no longer.
LOOKED_THROUGH_FOR_CODE = 4096
LOOKED_THROUGH_FOR_SCRIPTS = 1024
# What a rule's regex is given: RE2 takes a time that is linear in it.
SEARCHED = 65_536
# From this share of lines on a text without fences has code in it. It must be 2 lines at least: one may be prose.
CODE_SHARE = 0.2


class PromptFacts:
    """Facts of one request. ``headers`` are those of its HTTP request, by lower-case names."""

    def __init__(self, request: Request, headers: Mapping[str, str] | None = None) -> None:
        self._request = request
        self.headers: Mapping[str, str] = headers or {}

    @property
    def tenant(self) -> str:
        """Whose the request is."""
        return self._request.tenant

    @functools.cached_property
    def num_chars(self) -> int:
        """Characters of all that is said in the prompt; of token ids an estimate."""
        return characters(self._request.prompt)

    @functools.cached_property
    def num_turns(self) -> int:
        """Messages of users; 1 for what is no chat."""
        prompt = self._request.prompt
        return sum(one.role == "user" for one in prompt.messages) if isinstance(prompt, ChatPrompt) else 1

    @functools.cached_property
    def question(self) -> str:
        """The user's last message, or the text, as far as it is searched; empty for token ids."""
        return self._said[-1][:SEARCHED] if self._said else ""

    @functools.cached_property
    def scripts(self) -> Mapping[str, float]:
        """The share of each script in the letters that users wrote."""
        return script_shares(_ends(self._users_text, LOOKED_THROUGH_FOR_SCRIPTS))

    @functools.cached_property
    def code_share(self) -> float:
        """The share of the lines that users wrote which are code."""
        return code_share(self._sample)

    @functools.cached_property
    def has_code(self) -> bool:
        """Whether users wrote code: a fenced block, or lines that look like code."""
        sample = self._sample
        return has_fence(sample) or ("\n" in sample.strip() and self.code_share >= CODE_SHARE)

    @property
    def has_tools(self) -> bool:
        """Whether the request offers tools."""
        prompt = self._request.prompt
        return isinstance(prompt, ChatPrompt) and bool(prompt.tools)

    @property
    def has_json_schema(self) -> bool:
        """Whether the answer must be of a JSON Schema."""
        constraint = self._request.sampling.constraint
        return constraint is not None and constraint.kind is ConstraintKind.JSON_SCHEMA

    @functools.cached_property
    def _said(self) -> list[str]:
        match self._request.prompt:
            case ChatPrompt(messages=messages):
                return [message.content for message in messages if message.role == "user" and message.content]
            case TextPrompt(text=text):
                return [text]
            case _:
                return []

    @functools.cached_property
    def _users_text(self) -> str:
        return self._said[0] if len(self._said) == 1 else "\n".join(self._said)

    @functools.cached_property
    def _sample(self) -> str:
        return _ends(self._users_text, LOOKED_THROUGH_FOR_CODE)


def _ends(text: str, num_chars: int) -> str:
    """Beginning and end of a text that is longer than that."""
    if len(text) <= num_chars:
        return text
    return f"{text[: num_chars // 2]}\n{text[-(num_chars // 2) :]}"
