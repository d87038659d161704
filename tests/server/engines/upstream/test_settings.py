"""Settings that can't be used are refused before anything is sent, and without a word of a secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pennyweight.server.config import UpstreamSettings
from pennyweight.server.engines.base import HealthState
from pennyweight.server.engines.features import Feature
from pennyweight.server.engines.upstream.client import UpstreamEngine
from pennyweight.server.engines.upstream.dialect import features
from pennyweight.server.errors import ConfigError, ModelLoading

URL = "https://example.com/v1"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"base_url": "example.com"}, "base_url"),
        ({"base_url": "ftp://example.com"}, "base_url"),
        ({"base_url": "https://"}, "base_url"),
        ({"base_url": "https://example.com:port/v1"}, "base_url"),
        ({"base_url": "https://[::1/v1"}, "base_url"),
        ({"base_url": "https://me:secret@example.com/v1"}, "base_url"),
        ({"base_url": "https://example.com/v1?key=secret"}, "base_url"),
        ({"headers": {"a b": "x"}}, "headers"),
        ({"headers": {"x": "secret\r\ny: z"}}, "headers"),
        ({"parameters": {"stream": False}}, "parameters"),
        ({"api_key_env": "NO_SUCH_VARIABLE"}, "NO_SUCH_VARIABLE is not set"),
        ({"api_key_env": "EMPTY"}, "holds no key"),
        ({"api_key_env": "TWO_LINES"}, "holds no key"),
        ({"api_key_env": "EMPTY", "api_key_file": "x"}, "not from both"),
        ({"api_key_file": "/no/such/file"}, "can't be read"),
        ({"max_connections": 0}, "max_connections"),
        ({"token_timeout": 0}, "token_timeout"),
        ({"connect_timeout": float("nan")}, "connect_timeout"),
        ({"first_token_timeout": float("inf")}, "first_token_timeout"),
        ({"max_retries": -1}, "max_retries"),
    ],
)
def test_what_can_t_be_used_is_refused(settings: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMPTY", " ")
    monkeypatch.setenv("TWO_LINES", "secret\nsecret")
    with pytest.raises(ConfigError, match=told) as caught:
        UpstreamEngine(UpstreamSettings(**({"base_url": URL} | settings)), "m")
    assert "secret" not in str(caught.value)


def test_a_key_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="no text"):
        UpstreamEngine(UpstreamSettings(base_url=URL, api_key_file=str(tmp_path / "key")), "m")


async def test_nothing_is_known_before_the_start() -> None:
    engine = UpstreamEngine(UpstreamSettings(base_url=URL), "m")
    assert engine.health().state is HealthState.LOADING
    with pytest.raises(ModelLoading):
        engine.capabilities()
    await engine.aclose()
    assert engine.health().state is HealthState.DRAINING


def test_tools_can_be_turned_off() -> None:
    assert Feature.FORCED_TOOLS in features(UpstreamSettings(base_url=URL))
    assert not {Feature.TOOLS, Feature.FORCED_TOOLS} & features(UpstreamSettings(base_url=URL, tools=False))
    assert Feature.TOP_K in features(UpstreamSettings(base_url=URL, dialect="vllm"))
