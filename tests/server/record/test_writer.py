"""The writer's thread: nobody waits for it, what it can't write is counted, and it goes on when the disk does."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import sys
import threading
import time
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakes.recordings import MANIFEST, bytes_in, delete_all_in, draft, make_writer, recorded_in

from pennyweight.server.engines.manifest import Manifest
from pennyweight.server.errors import ConfigError
from pennyweight.server.record import writer as module
from pennyweight.server.record.record import Record
from pennyweight.server.record.redaction import redaction_of
from pennyweight.server.record.segment import CHECK_SECONDS
from pennyweight.server.record.segments import Segments
from pennyweight.server.record.writer import Writer


async def written(writer: Writer, *args: Any, **kwargs: Any) -> bool:
    """Whether a record was written, however long that took."""
    told = asyncio.get_running_loop().create_future()
    return writer.submit(draft(*args, **kwargs), MANIFEST, told.set_result) and await asyncio.wait_for(told, 10)


class HeldSegments(Segments):
    """Takes as long over a write as a test wants."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, max_file_bytes=1 << 20, max_bytes=8 << 20)
        self.goes_on = threading.Event()
        self.is_writing = threading.Event()
        self.batches: list[int] = []

    def write(self, lines: Sequence[bytes], manifests: Sequence[Manifest]) -> int:
        self.is_writing.set()
        assert self.goes_on.wait(10)
        self.batches.append(len(lines))
        return super().write(lines, manifests)


async def test_a_record_that_is_said_to_be_written_is_in_the_file(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    for id in "abc":
        assert await written(writer, id)
        assert recorded_in(tmp_path)[-1].id == id
    assert (writer.written, writer.pending, sum(writer.dropped.values())) == (3, 0, 0)
    assert writer.nbytes == len(bytes_in(tmp_path))
    await writer.aclose()
    assert not writer.submit(draft("late"), MANIFEST)


async def test_what_comes_while_it_writes_is_written_together_and_more_is_dropped(tmp_path: Path) -> None:
    segments = HeldSegments(tmp_path)
    writer = make_writer(tmp_path, max_pending=20, segments=segments)
    assert writer.submit(draft("first"), MANIFEST)
    await asyncio.to_thread(segments.is_writing.wait, 10)
    taken = [writer.submit(draft(str(number)), MANIFEST) for number in range(30)]
    assert taken == [True] * 19 + [False] * 11
    assert (writer.pending, writer.dropped["full"]) == (20, 11)
    assert writer.busy_seconds() > 0
    segments.goes_on.set()
    await writer.aclose()
    assert segments.batches == [1, 19]
    assert [one.id for one in recorded_in(tmp_path)] == ["first", *map(str, range(19))]
    assert (writer.written, writer.pending, writer.busy_seconds()) == (20, 0, 0)


async def test_what_waits_takes_no_more_memory_than_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PENDING_BYTES", 1 << 20)
    segments = HeldSegments(tmp_path)
    writer = make_writer(tmp_path, segments=segments)
    taken = [writer.submit(draft(str(number), body=bytes(100_000)), MANIFEST) for number in range(10)]
    assert taken == [True] * 5 + [False] * 5
    segments.goes_on.set()
    await writer.aclose()
    assert writer.pending == 0


async def test_a_record_that_is_too_large_for_a_file_is_dropped(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    assert not await written(writer, "large", text="x" * 300_000)
    assert await written(writer, "small", text="x" * 200_000)
    assert writer.dropped == {"too_large": 1}
    await writer.aclose()


async def test_a_disk_that_goes_and_comes_back_is_told_of_once_each(tmp_path: Path) -> None:
    now, output, directory = [0.0], io.StringIO(), tmp_path / "recordings"
    directory.mkdir()
    writer = make_writer(directory, output=output, clock=lambda: now[0])
    assert await written(writer, "a")
    shutil.rmtree(directory)
    await asyncio.sleep(CHECK_SECONDS)
    assert not await written(writer, "b")
    assert writer.is_away
    for id in "cde":
        assert not await written(writer, id)
    directory.mkdir()
    now[0] += 5
    assert await written(writer, "f")
    assert not writer.is_away
    assert writer.dropped == {"failed": 4}
    assert [one.id for one in recorded_in(directory)] == ["f"]
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["recording is away", "recording is back"]
    assert "No such file" in lines[0]["reason"]
    assert lines[1]["dropped"] == 4
    await writer.aclose()


async def test_a_file_alone_that_was_deleted_is_begun_anew_at_once(tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    assert await written(writer, "a")
    delete_all_in(tmp_path)
    await asyncio.sleep(CHECK_SECONDS)
    assert await written(writer, "b")
    assert [one.id for one in recorded_in(tmp_path)] == ["b"]
    assert not writer.dropped
    await writer.aclose()


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module of an operator's own."""
    found = types.ModuleType("operators_hooks")
    monkeypatch.setitem(sys.modules, "operators_hooks", found)
    return found


async def test_a_hook_of_the_operator_s_takes_out_what_it_wants(tmp_path: Path, hooks: types.ModuleType) -> None:
    def shout(record: dict[str, Any]) -> dict[str, Any] | None:
        if record["id"] == "private":
            return None
        if record["id"] == "bad":
            raise KeyError("a secret of the prompt")
        if record["id"] == "nonsense":
            return {"id": 3}
        for choice in record["choices"]:
            choice["text"] = choice["text"].replace("secret", "***")
        return record | {"received": None, "tenant": "t"}

    hooks.__dict__["shout"] = shout
    output = io.StringIO()
    writer = make_writer(tmp_path, redact=("function:operators_hooks:shout",), output=output)
    assert await written(writer, "a", text="my secret")
    for id in ("private", "bad", "nonsense"):
        assert not await written(writer, id)
    assert writer.dropped == {"redacted": 1, "redaction": 2}
    await writer.aclose()
    (found,) = recorded_in(tmp_path)
    assert (found.choices[0].text, found.received, found.tenant) == ("my ***", None, "t")
    assert found.redacted == ("function:operators_hooks:shout",)
    assert b"secret" not in bytes_in(tmp_path)
    assert "secret" not in output.getvalue()
    assert "a record was not made" in output.getvalue()


async def test_texts_are_left_out_by_the_names_of_what_they_are(tmp_path: Path) -> None:
    writer = make_writer(tmp_path, redact=("prompts", "answers"))
    body = b'{"messages":[{"role":"user","content":"a private question"}]}'
    for id in "ab":
        assert await written(writer, id, text="a private answer", prompt="a private question", body=body)
    await writer.aclose()
    data = bytes_in(tmp_path)
    assert b"private" not in data
    first, second = recorded_in(tmp_path)
    assert first.redacted == ("prompts", "answers")
    assert (first.received, first.prompt_token_ids) == (None, ())
    content = first.request.prompt.messages[0].content  # type: ignore[union-attr]
    assert content is not None
    assert content.startswith("sha256:")
    assert content.endswith("(18 characters)")
    assert first.request.prompt == second.request.prompt
    assert (first.choices[0].token_ids, first.usage) == ((), second.usage)


@pytest.mark.parametrize(
    "hook", ["texts", "function:no_such_module:f", "function:json:nothing", "function:json:__name__"]
)
def test_a_hook_that_cannot_be_is_said(hook: str) -> None:
    with pytest.raises(ConfigError, match=r"record\.redact"):
        redaction_of((hook,))


async def test_submitting_takes_no_time_whatever_the_disk_does(tmp_path: Path) -> None:
    segments = HeldSegments(tmp_path)
    writer = make_writer(tmp_path, segments=segments)
    began = time.monotonic()
    for number in range(100):
        writer.submit(draft(str(number)), MANIFEST)
    assert time.monotonic() - began < 1
    segments.goes_on.set()
    await writer.aclose()
    assert len(recorded_in(tmp_path)) == 100


def test_a_record_goes_through_json_as_it_is() -> None:
    made = draft("a").record()
    assert msgspec.json.decode(msgspec.json.encode(made), type=Record) == made
