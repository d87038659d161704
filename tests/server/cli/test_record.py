"""``pennyweight record``: recordings looked at, and a request taken out of one."""

from __future__ import annotations

import json
import time
from pathlib import Path

import msgspec
import pytest
from fakes.recordings import MANIFEST, record
from typer.testing import CliRunner

from pennyweight.server.cli.record import record as command
from pennyweight.server.errors import ConfigError
from pennyweight.server.record.case import read_case, with_prompt
from pennyweight.server.record.line import encode_line
from pennyweight.server.record.segment_name import segments_in
from pennyweight.server.record.segments import Segments
from pennyweight.server.types import ChatPrompt, Message

KEY = bytes(range(32))
SECRET = "a private question"


def write(directory: Path, *ids: str, key: bytes | None = None) -> None:
    into = Segments(directory, max_file_bytes=1 << 20, max_bytes=8 << 20, master=key)
    into.write([encode_line(record(id, prompt=SECRET)) for id in ids], [MANIFEST])
    into.close()


def ran(*arguments: object) -> str:
    result = CliRunner().invoke(command, [str(one) for one in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_recording_is_listed(tmp_path: Path) -> None:
    write(tmp_path, "one", "two")
    lines = ran("list", tmp_path).splitlines()
    assert lines[0].split() == ["id", "time", "tenant", "model", "cache", "tokens", "seconds", "end"]
    assert lines[1].split() == ["one", "2023-11-14", "22:13:20.000", "model", "2", "+", "2", "stop"]
    assert len(lines) == 3
    ids = [json.loads(line)["id"] for line in ran("list", tmp_path, "--json").splitlines()]
    assert ids == ["one", "two"]


def test_a_torn_tail_is_told_of(tmp_path: Path) -> None:
    write(tmp_path, "one")
    (path,) = segments_in(tmp_path)
    path.write_bytes(path.read_bytes() + b'{"rec')
    assert f"{path} ends in 5 bytes of a record that was never whole" in ran("list", tmp_path)


@pytest.mark.parametrize("id", ["two", "chatcmpl-two", "cmpl-two"])
def test_a_record_is_shown(tmp_path: Path, id: str) -> None:
    write(tmp_path, "one", "two")
    shown = ran("show", tmp_path, id)
    assert msgspec.json.decode(shown, type=type(record("two"))) == record("two", prompt=SECRET)
    with pytest.raises(ConfigError, match="no record of three"):
        ran("show", tmp_path, "three")


def test_an_encrypted_one_wants_its_key(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY.hex())
    directory = tmp_path / "recordings"
    directory.mkdir()
    write(directory, "one", key=KEY)
    with pytest.raises(ConfigError, match="is encrypted"):
        ran("list", directory)
    assert "one" in ran("list", directory, "--key-file", tmp_path / "key")


def test_a_request_is_exported_with_its_prompt_if_that_is_asked_for(tmp_path: Path) -> None:
    write(tmp_path, "one")
    out = tmp_path / "case.json"
    assert ran("export", tmp_path, "one", "--out", out, "--with-prompt").strip() == str(out)
    case = read_case(out)
    assert case.has_prompt
    assert (case.record, case.manifest) == (record("one", prompt=SECRET), MANIFEST)
    assert out.stat().st_mode & 0o777 == 0o600


def test_without_it_the_prompt_must_be_given_and_be_the_same(tmp_path: Path) -> None:
    write(tmp_path, "one")
    out = tmp_path / "case.json"
    assert "without the prompt" in ran("export", tmp_path, "one", "--out", out)
    assert SECRET not in out.read_text()
    case = read_case(out)
    assert not case.has_prompt
    assert (case.record.received, case.record.prompt_token_ids) == (None, ())
    given = ChatPrompt(messages=(Message(role="user", content=SECRET),))
    whole = with_prompt(case, given)
    assert whole.has_prompt
    assert whole.record.request == record("one", prompt=SECRET).request
    with pytest.raises(ConfigError, match="not the prompt"):
        with_prompt(case, ChatPrompt(messages=(Message(role="user", content="another"),)))
    with pytest.raises(ConfigError, match="already"):
        with_prompt(whole, given)


def test_what_is_no_case_is_said(tmp_path: Path) -> None:
    (tmp_path / "case.json").write_text("{}")
    with pytest.raises(ConfigError, match="no exported request"):
        read_case(tmp_path / "case.json")
    with pytest.raises(ConfigError, match="can't be read"):
        read_case(tmp_path / "none.json")


def test_what_comes_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "before")
    to_come = ["one", "two"]

    def wait(seconds: float) -> None:
        if not to_come:
            raise KeyboardInterrupt
        write(tmp_path, to_come.pop(0))

    monkeypatch.setattr(time, "sleep", wait)
    assert [json.loads(line)["id"] for line in ran("tail", tmp_path).splitlines()] == ["one", "two"]
