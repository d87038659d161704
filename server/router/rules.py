"""The operator's rules: conditions on a request, and where it then goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, cast

from pennyweight.server.config_routing import HeaderTest, Rule
from pennyweight.server.errors import ConfigError

from .prompt_facts import PromptFacts
from .scripts import SCRIPTS

# Half of the letters: a question in Russian with an English name in it is Russian.
SCRIPT_SHARE = 0.5
# Bytes that a compiled regex may take; RE2's own default is 8 MiB.
MAX_REGEX_BYTES = 1 << 20

_Condition = Callable[[PromptFacts], bool]


class _Regex(Protocol):
    def search(self, text: bytes) -> object: ...


class Rules:
    """Rules in their order. Regexes are RE2's, whose time is linear in the text, so that no client's text can hold the server up.

    Raises ConfigError for a rule that leads nowhere or to two places, for an unknown script and for a regex that RE2 can't take.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = [(rule, _conditions(rule, place)) for place, rule in enumerate(rules, start=1)]

    def match(self, facts: PromptFacts) -> Rule | None:
        """The first rule whose conditions all hold."""
        for rule, conditions in self._rules:
            if all(holds(facts) for holds in conditions):
                return rule
        return None


def _conditions(rule: Rule, place: int) -> list[_Condition]:
    """A rule's conditions, the cheap ones first."""
    where = f"rule {place}"
    if (rule.tier is None) == (rule.model is None):
        raise ConfigError(f"{where} must have a tier or a model to lead to, and not both")
    for script in rule.scripts:
        if script not in SCRIPTS:
            raise ConfigError(f"{where}: there is no script {script!r}; there are {', '.join(SCRIPTS)}")
    found: list[_Condition] = []
    if (least := rule.min_chars) is not None:
        found.append(lambda facts: facts.num_chars >= least)
    if (most := rule.max_chars) is not None:
        found.append(lambda facts: facts.num_chars <= most)
    if tenants := frozenset(rule.tenants):
        found.append(lambda facts: facts.tenant in tenants)
    if (tools := rule.has_tools) is not None:
        found.append(lambda facts: facts.has_tools is tools)
    if (schema := rule.has_json_schema) is not None:
        found.append(lambda facts: facts.has_json_schema is schema)
    found += [_header_condition(test, f"{where}, header {test.name}") for test in rule.headers]
    if scripts := rule.scripts:
        found.append(lambda facts: _is_written_in(facts, scripts))
    if (code := rule.has_code) is not None:
        found.append(lambda facts: facts.has_code is code)
    if rule.regex is not None:
        regex = _compiled(rule.regex, f"{where}, regex")
        found.append(lambda facts: regex.search(_encoded(facts.question)) is not None)
    return found


def _header_condition(test: HeaderTest, where: str) -> _Condition:
    name, equals = test.name.lower(), test.equals
    if equals is not None and test.matches is not None:
        raise ConfigError(f"{where}: it can be compared with one thing, equals or matches")
    if equals is not None:
        return lambda facts: facts.headers.get(name) == equals
    if test.matches is None:
        return lambda facts: name in facts.headers
    regex = _compiled(test.matches, where)
    return lambda facts: (value := facts.headers.get(name)) is not None and regex.search(_encoded(value)) is not None


def _is_written_in(facts: PromptFacts, scripts: Sequence[str]) -> bool:
    return sum(facts.scripts.get(script, 0.0) for script in scripts) >= SCRIPT_SHARE


def _compiled(pattern: str, where: str) -> _Regex:
    # Here, for most configurations have no regex.
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_REGEX_BYTES
    try:
        return cast(_Regex, re2.compile(pattern, options))
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else error.args[0]
        raise ConfigError(f"{where} {pattern!r} is no regular expression of RE2: {reason}") from None


def _encoded(text: str) -> bytes:
    # What has no UTF-8 is a surrogate that stands alone. Of text RE2's binding would also count the characters.
    return text.encode(errors="replace")
