"""Bodies that hypothesis makes: chats with anything for some of their values, and valid ones with a few bytes damaged."""

from __future__ import annotations

import functools
import json
import random
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from .bodies import CHAT, Body, chat

# What they turn out to be is not known: some are valid.
STATUSES = frozenset({200, 400, 404, 429})
DRAWN = 300

_NAMES = (
    "messages", "stream", "stream_options", "n", "min_tokens", "temperature", "top_p", "top_k", "min_p",
    "logit_bias", "seed", "stop", "stop_token_ids", "response_format", "structured_outputs", "guided_json", "tools",
    "tool_choice", "logprobs", "top_logprobs", "metadata", "priority", "chat_template_kwargs", "echo", "best_of", "user",
)  # fmt: skip
_TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
_NUMBERS = st.integers() | st.sampled_from([-1, 0, 1, 2**31, 2**63, 2**64]) | st.floats(allow_nan=False)
_LEAVES = st.none() | st.booleans() | _NUMBERS.filter(lambda one: abs(one) != float("inf")) | _TEXT
_JSON = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT | st.sampled_from(_NAMES), inner, max_size=3),
    max_leaves=8,
)
_DAMAGE = st.binary(max_size=8) | st.sampled_from([b"\\ud800", b"NaN", b"\x00", b'"', b"[" * 99, b"\\", b"}"])


_OBJECTS = st.dictionaries(st.sampled_from(_NAMES) | _TEXT, _JSON, min_size=1, max_size=4)


def generated_object(generator: random.Random, model: str) -> Body:
    changes = generator.choice(_draw(_OBJECTS))
    # Of all that may be asked for, not a long answer: that is no attack.
    return Body(json.dumps(chat(model) | changes | {"max_tokens": 2}).encode(), statuses=STATUSES, path=CHAT)


def damaged_bytes(generator: random.Random, model: str) -> Body:
    raw = bytearray(json.dumps(chat(model, stop=["x"], logit_bias={"7": 1.5}, metadata={"a": "b"}, seed=3)).encode())
    start = generator.randrange(len(raw))
    raw[start : start + generator.randrange(8)] = generator.choice(_draw(_DAMAGE))
    return Body(bytes(raw), statuses=STATUSES, path=CHAT)


@functools.cache
def _draw(strategy: st.SearchStrategy[Any]) -> list[Any]:
    """The same values for the same strategy at every run."""
    found: list[Any] = []

    @seed(0)
    @settings(
        max_examples=DRAWN,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(one: Any) -> None:
        found.append(one)

    collect()
    return found
