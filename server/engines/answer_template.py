"""The operator's template for an answer: text with fields in braces."""

from __future__ import annotations

from collections.abc import Mapping

import jinja2
import jinja2.meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pennyweight.server.errors import ConfigError, EngineFailed

# What running a template may raise: it is a program.
_FAILURES = (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError)


class AnswerTemplate:
    """A Jinja template whose expressions stand in single braces, ``{answer}``; a brace itself is ``{'{'}``.

    It runs in Jinja's sandbox, sees the fields of ``example`` and nothing else, and is tried on these at once. What the fields hold
    is text to it, whatever is written there. Raises ConfigError, which begins with ``where``, for a template that can't be used.
    """

    def __init__(self, source: str, example: Mapping[str, object], where: str) -> None:
        environment = ImmutableSandboxedEnvironment(
            variable_start_string="{",
            variable_end_string="}",
            undefined=jinja2.StrictUndefined,
            keep_trailing_newline=True,
            autoescape=False,
        )
        environment.globals.clear()
        try:
            fields = jinja2.meta.find_undeclared_variables(environment.parse(source))
            if unknown := sorted(fields - example.keys()):
                raise ConfigError(f"{where} has an unknown field {unknown[0]}; there are {', '.join(example)}")
            self._template = environment.from_string(source)
            text = self._template.render(example)
        except _FAILURES as error:
            raise ConfigError(f"{where} is no template that can be used: {error}") from error
        if not text.strip():
            raise ConfigError(f"{where} gives an empty answer")
        self.fields = frozenset(fields)

    def render(self, fields: Mapping[str, object]) -> str:
        """The text with these fields in it. Raises EngineFailed for values that it can't take."""
        try:
            return self._template.render(fields)
        except _FAILURES as error:
            raise EngineFailed("The template of this model's answers failed.") from error
