"""Calls after [TOOL_CALLS], in an array or each by its name."""

from __future__ import annotations

import pytest
from fakes.tool_client import Outcome, parse

from pennyweight.server.api.tools.base import CallStarted
from pennyweight.server.api.tools.mistral import MistralParser

WEATHER = '{"name": "weather", "arguments": {"city": "Bern"}}'
CALL = ("weather", '{"city": "Bern"}')
TIME = ("time", "{}")


def make() -> MistralParser:
    return MistralParser({"weather", "time"})


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("See [1] and [TOOL].", Outcome("See [1] and [TOOL].")),
        (f"[TOOL_CALLS] [{WEATHER}]", Outcome("", (CALL,))),
        (f'[TOOL_CALLS][{WEATHER},\n {{"name": "time"}} ]\n', Outcome("", (CALL, TIME))),
        (f"Look. [TOOL_CALLS] [{WEATHER}] So.", Outcome("Look.  So.", (CALL,))),
        (
            '[TOOL_CALLS] [{"name": "time", "arguments": {"a": "[TOOL_CALLS] [] ]"}, "id": "abc"}]',
            Outcome("", (("time", '{"a": "[TOOL_CALLS] [] ]"}'),)),
        ),
        ('[TOOL_CALLS]weather[ARGS]{"city": "Bern"}', Outcome("", (CALL,))),
        ('[TOOL_CALLS]weather[CALL_ID]a1B2c3D4e[ARGS] {"city": "Bern"}', Outcome("", (CALL,))),
        (
            'Look. [TOOL_CALLS]weather[ARGS]{"city": "Bern"}[TOOL_CALLS]time[ARGS]{}\nSo.',
            Outcome("Look. \nSo.", (CALL, TIME)),
        ),
        (f"[TOOL_CALLS] [{WEATHER}", Outcome("", (CALL,))),
        (f"[TOOL_CALLS] [{WEATHER[:-5]}", Outcome("", (("weather", '{"city": "Be'),))),
        ('[TOOL_CALLS]weather[ARGS]{"city": "Be', Outcome("", (("weather", '{"city": "Be'),))),
        ('[TOOL_CALLS]weather[ARGS]{"city": Bern}', Outcome("Bern}", (("weather", '{"city": '),))),
        (f'[TOOL_CALLS] [{WEATHER}, {{"name": "ti', Outcome(', {"name": "ti', (CALL,))),
        (f"[TOOL_CALLS] [{WEATHER}}}]", Outcome("}]", (CALL,))),
    ],
)
def test_calls_are_told_from_content(text: str, outcome: Outcome) -> None:
    assert parse(make, text) == outcome


@pytest.mark.parametrize(
    "text",
    [
        "[TOOL_CALLS]",
        "[TOOL_CALLS] []",
        "[TOOL_CALLS] [1]",
        f"[TOOL_CALLS] {WEATHER}",
        '[TOOL_CALLS] [{"name": "unknown", "arguments": {}}]',
        "[TOOL_CALLS]unknown[ARGS]{}",
        "[TOOL_CALLS]weather{}",
        "[TOOL_CALLS]weather[ARGS][]",
        "[TOOL_CALLS]weather[CALL_ID]a b[ARGS]{}",
        "[TOOL_CALLS]weather[CALL_IX]a[ARGS]{}",
        "[TOOL_CALLS]weather [ARGS]{}",
        "[TOOL_CALLS]weather[ARG",
        "[TOOL_CALLS]weather[ARGS]",
        "[TOOL_CALLS]weath",
        "[TOOL_CA",
        "[[TOOL_CALLS][TOOL_",
    ],
)
def test_what_is_no_call_is_content_character_for_character(text: str) -> None:
    assert parse(make, text) == Outcome(text)
    assert parse(make, f"{text}.[TOOL_CALLS]time[ARGS]{{}}") == Outcome(f"{text}.", (TIME,))


def test_ids_are_mistrals() -> None:
    started = make().push("[TOOL_CALLS]time[ARGS]{}")[0]
    assert isinstance(started, CallStarted)
    assert len(started.id) == 9
    assert started.id.isalnum()
    assert started.id.isascii()
