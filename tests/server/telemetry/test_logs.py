"""Log lines: what they say, and what can't get into them."""

from __future__ import annotations

import io
import json

import pytest

from pennyweight.server.config import LogSettings
from pennyweight.server.errors import ConfigError
from pennyweight.server.telemetry.logs import RequestRecord, make_logger, valid_client_request_id


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
    make_logger(LogSettings(), out).info("request", **record.fields())
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
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["loud"]


def test_the_console_format_is_for_people() -> None:
    out = io.StringIO()
    make_logger(LogSettings(format="console"), out).info("request", status=200)
    assert "request" in out.getvalue()
    assert "status=200" in out.getvalue()


@pytest.mark.parametrize("settings", [LogSettings(level="loud"), LogSettings(format="xml")])
def test_unknown_settings_are_refused_by_name(settings: LogSettings) -> None:
    with pytest.raises(ConfigError, match=r"log\.(level|format)"):
        make_logger(settings)
