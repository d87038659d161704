"""Whether an answer that was generated says that a kept one would have been right."""

from __future__ import annotations

import importlib
import inspect
import re
import unicodedata
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any, Protocol

import msgspec

from pennyweight.server.engines.base import Engine
from pennyweight.server.errors import ConfigError
from pennyweight.server.types import CacheControl, ChatPrompt, Delta, Finished, Message, Request, SamplingParams, Usage

from .embedder import leased


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """What a judge sees: the question and what was generated for it, a kept question and the answer to that."""

    question: str
    answer: str
    kept_question: str
    kept_answer: str


class Judge(Protocol):
    """Compares answers. ``usage`` is what that has cost in tokens so far."""

    usage: Usage

    async def is_right(self, case: Case) -> bool | None:
        """Whether the kept answer is right for the question as well; None where that can't be told. May raise anything."""
        ...


class ExactJudge:
    """Right is the same text, but for Unicode's compatibility forms, case, spaces and what ends a sentence."""

    usage = Usage(prompt_tokens=0, completion_tokens=0)

    async def is_right(self, case: Case) -> bool | None:
        return _evened(case.answer) == _evened(case.kept_answer)


class ModelJudge:
    """A model among ``engines`` is asked, at temperature 0."""

    PROMPT = (
        "Two people asked a question each, and each got an answer.\n\n"
        "First question: {case.kept_question}\nFirst answer: {case.kept_answer}\n\n"
        "Second question: {case.question}\nSecond answer: {case.answer}\n\n"
        "Would the first answer be a correct and complete answer to the second question? Reply with one word, yes or no."
    )

    def __init__(self, engines: Mapping[str, Engine], name: str) -> None:
        self._engines = engines
        self._name = name
        self._asked = 0
        self.usage = Usage(prompt_tokens=0, completion_tokens=0)

    async def is_right(self, case: Case) -> bool | None:
        self._asked += 1
        request = Request(
            id=f"semantic-judge-{self._asked}",
            model=self._name,
            prompt=ChatPrompt(messages=(Message(role="user", content=self.PROMPT.format(case=case)),)),
            sampling=SamplingParams(temperature=0.0, max_tokens=4),
            cache=CacheControl(wanted=False, no_store=True),
        )
        text, engine = "", self._engines[self._name]
        async with leased(engine), aclosing(engine.generate(request)) as events:
            async for event in events:
                if isinstance(event, Delta):
                    text += event.text
                elif isinstance(event, Finished):
                    self.usage = Usage(
                        prompt_tokens=self.usage.prompt_tokens + event.usage.prompt_tokens,
                        completion_tokens=self.usage.completion_tokens + event.usage.completion_tokens,
                    )
        word = re.match(r"\W*(yes|no)\b", text, re.IGNORECASE)
        return None if word is None else word[1].lower() == "yes"


class FunctionJudge:
    """An operator's function of ``question``, ``answer``, ``kept_question`` and ``kept_answer``, async or not: true, false or None."""

    usage = Usage(prompt_tokens=0, completion_tokens=0)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    async def is_right(self, case: Case) -> bool | None:
        found = self._function(**msgspec.structs.asdict(case))
        if inspect.isawaitable(found):
            found = await found
        return None if found is None else bool(found)


def make_judge(setting: str, engines: Mapping[str, Engine]) -> Judge:
    """The judge of a setting: ``exact``, ``model:NAME`` or ``function:MODULE:NAME``. Raises ConfigError."""
    kind, _, rest = setting.partition(":")
    if kind == "exact" and not rest:
        return ExactJudge()
    if kind == "model" and rest:
        if rest not in engines:
            raise ConfigError(f"semantic_cache.judge: there is no model {rest}; there are {', '.join(engines)}")
        return ModelJudge(engines, rest)
    if kind == "function" and rest:
        return FunctionJudge(_function(rest))
    raise ConfigError(f"semantic_cache.judge is {setting!r}; it must be exact, model:NAME or function:MODULE:NAME")


def _function(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"semantic_cache.judge: {path} can't be imported: {error}") from None
    if not callable(found):
        raise ConfigError(f"semantic_cache.judge: {path} is no function")
    function: Callable[..., Any] = found
    return function


def _evened(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(".!…")
