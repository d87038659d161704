"""Records as a test needs them, and drafts that they are made of."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pennyweight.server.config import LogSettings
from pennyweight.server.engines.manifest import Manifest
from pennyweight.server.record.draft import Arrived, Draft
from pennyweight.server.record.reader import RecordingReader
from pennyweight.server.record.record import Record, RecordedChoice
from pennyweight.server.record.redaction import redaction_of
from pennyweight.server.record.segments import Segments
from pennyweight.server.record.writer import Writer
from pennyweight.server.telemetry.logs import make_logger
from pennyweight.server.types import (
    ChatPrompt,
    Delta,
    Finished,
    FinishReason,
    Message,
    Request,
    SamplingParams,
    Started,
    Usage,
)

MANIFEST = Manifest(fingerprint="fp_one", model="model", parts={"engine": "scripted", "dtype": "bfloat16"})
BODY = b'{"model":"model","messages":[{"role":"user","content":"Hi"}]}'


def request(id: str, *, text: str = "Hi", **sampling: Any) -> Request:
    """A chat request."""
    prompt = ChatPrompt(messages=(Message(role="user", content=text),))
    return Request(id=id, model="model", prompt=prompt, sampling=SamplingParams(**sampling), arrival=1.0)


def record(id: str, *, text: str = "Hello", manifest: str = MANIFEST.fingerprint, prompt: str = "Hi") -> Record:
    """A record of an answer."""
    return Record(
        id=id,
        arrival=1_700_000_000.0,
        endpoint="/v1/chat/completions",
        received=BODY.decode(),
        request=request(id, text=prompt),
        prompt_token_ids=(1, 2),
        model="model",
        manifest=manifest,
        choices=(RecordedChoice(index=0, token_ids=(3, 4), text=text, finish_reason="stop", logits_hashes=bytes(16)),),
        usage=Usage(prompt_tokens=2, completion_tokens=2),
    )


def draft(id: str, *, text: str = "Hello", prompt: str = "Hi", body: bytes = BODY) -> Draft:
    """The draft of an answer that is whole."""
    found = Draft(request(id, text=prompt), Arrived(endpoint="/v1/chat/completions", body=body))
    found.start(Started(request_id=id, model="model", fingerprint=MANIFEST.fingerprint, prompt_token_ids=(1, 2)))
    found.add(Delta(index=0, text=text, token_ids=(3, 4), finish_reason=FinishReason.STOP))
    found.finish(Finished(usage=Usage(prompt_tokens=2, completion_tokens=2)))
    return found


def make_writer(
    directory: Path,
    *,
    redact: tuple[str, ...] = (),
    max_pending: int = 1024,
    segments: Segments | None = None,
    output: io.StringIO | None = None,
    clock: Callable[[], float] | None = None,
) -> Writer:
    """A writer to a directory."""
    return Writer(
        segments or Segments(directory, max_file_bytes=1 << 20, max_bytes=8 << 20),
        redaction_of(redact),
        make_logger(LogSettings(), output or io.StringIO()),
        max_pending=max_pending,
        max_file_bytes=1 << 20,
        **({} if clock is None else {"clock": clock}),
    )


def recorded_in(place: Path, key: bytes | None = None) -> list[Record]:
    """The records in a directory or a file."""
    return [one for one in RecordingReader([place], key) if isinstance(one, Record)]


def bytes_in(directory: Path) -> bytes:
    """All that lies in a directory's files."""
    return b"".join(path.read_bytes() for path in sorted(directory.iterdir()))


def delete_all_in(directory: Path) -> None:
    """As an operator may, under a server that runs."""
    for path in directory.iterdir():
        path.unlink()
