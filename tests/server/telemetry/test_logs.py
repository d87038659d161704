"""Log lines: what they say, and what can't get into them."""

from __future__ import annotations

import io
import json

import pytest
import structlog

from pennyweight.server.config import LogSettings
from pennyweight.server.errors import ConfigError
from pennyweight.server.telemetry.logs import make_logger
from pennyweight.server.telemetry.request_record import RequestRecord, request_log, valid_client_request_id


@pytest.mark.parametrize("value", [b"a", b"trace 42/x", b"~" * 128, b'{"quoted":"\\"}'])
def test_a_printable_client_request_id_is_taken(value: bytes) -> None:
    assert valid_client_request_id(value.decode()) == value.decode()


@pytest.mark.parametrize("value", [b"", b" a", b"a ", b"~" * 129, b"a\nb", b"a\x00b", b"\x1b[31m", "é".encode()])
def test_any_other_client_request_id_is_left_out(value: bytes) -> None:
    assert valid_client_request_id(value.decode("latin-1")) is None


def test_a_line_is_one_json_object_with_what_is_known() -> None:
    out = io.StringIO()
    record = RequestRecord(
        request_id="req-1", client_request_id="theirs", method="POST", endpoint="/v1/completions", status=200, ttft=0.25
    )
    request_log(make_logger(LogSettings(), out))("info", record)
    line = json.loads(out.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {
        "event": "request",
        "level": "info",
        "request_id": "req-1",
        "client_request_id": "theirs",
        "method": "POST",
        "endpoint": "/v1/completions",
        "status": 200,
        "ttft": 0.25,
    }
    assert out.getvalue().count("\n") == 1


@pytest.mark.parametrize("model", ["model", "\u6a21\u578b\x1b[31m"])
def test_all_that_is_known_is_told_in_ascii_by_either_way(model: str) -> None:
    """By the short way, and by that of a logger of somebody else's."""
    record = RequestRecord(
        request_id="req-1",
        client_request_id=None,
        method="POST",
        endpoint="/v1/completions",
        arrival=12.5,
        cache="hit",
        cache_key="00ff",
        cache_age=1.23456789,
        route="route",
        recorded="true",
        determinism="bitwise",
        model=model,
        status=503,
        prompt_tokens=3,
        completion_tokens=2,
        cached_tokens=1,
        ttft=0.1234567,
        e2e=0.2345678,
        finish_reasons=["stop"],
        error_code="overloaded",
        disconnected=True,
    )
    out = io.StringIO()
    request_log(make_logger(LogSettings(), out))("warning", record)
    assert out.getvalue().isascii()
    line = json.loads(out.getvalue())
    with structlog.testing.capture_logs() as captured:
        request_log(structlog.get_logger())("warning", record)
    (theirs,) = captured
    theirs["level"] = theirs.pop("log_level")
    line.pop("time")
    assert line == theirs
    told = set(RequestRecord.__struct_fields__) - {"client_request_id", "arrival"}
    assert line.keys() == told | {"event", "level"}
    assert (line["model"], line["ttft"], line["cache_age"]) == (model, 0.123457, 1.234568)


def test_an_exception_stays_on_one_line_with_its_traceback() -> None:
    out = io.StringIO()
    try:
        raise ValueError("line\nbreak")
    except ValueError:
        make_logger(LogSettings(), out).exception("failed")
    assert out.getvalue().count("\n") == 1
    line = json.loads(out.getvalue())
    assert "ValueError: line\nbreak" in line["exception"]
    assert line["level"] == "error"


def test_lines_below_the_level_are_not_written() -> None:
    out = io.StringIO()
    logger = make_logger(LogSettings(level="warning"), out)
    logger.info("quiet")
    logger.warning("loud")
    record = RequestRecord(request_id="req-1", client_request_id=None, method="GET", endpoint="/")
    for level in ("debug", "info", "warning"):
        request_log(logger)(level, record)
    found = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(one["event"], one["level"]) for one in found] == [("loud", "warning"), ("request", "warning")]


def test_the_console_format_is_for_people() -> None:
    out = io.StringIO()
    make_logger(LogSettings(format="console"), out).info("request", status=200)
    assert "request" in out.getvalue()
    assert "status=200" in out.getvalue()


@pytest.mark.parametrize("settings", [LogSettings(level="loud"), LogSettings(format="xml")])
def test_unknown_settings_are_refused_by_name(settings: LogSettings) -> None:
    with pytest.raises(ConfigError, match=r"log\.(level|format)"):
        make_logger(settings)
