"""One recorded request as a file of its own, to be run again elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Literal

import msgspec

from pennyweight.server.engines.manifest import Manifest
from pennyweight.server.errors import ConfigError
from pennyweight.server.types import Prompt

from .record import VERSION, Record
from .redaction import PROMPTS, redacted_prompt, without_prompt

FORMAT: Final = "pennyweight-case"


class Case(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A record and its manifest (None where the recording has none). Without its prompt it can be run again once that is given."""

    format: Literal["pennyweight-case"]
    version: int
    record: Record
    manifest: Manifest | None = None

    @property
    def has_prompt(self) -> bool:
        """Whether the prompt is in it; a hook of the operator's own that takes something out isn't known here."""
        return PROMPTS not in self.record.redacted


def make_case(record: Record, manifest: Manifest | None, *, with_prompt: bool) -> Case:
    """The case of a record. Without its prompt the texts and token ids of that are left out, as ``redaction`` does."""
    if not with_prompt and PROMPTS not in record.redacted:
        record = msgspec.structs.replace(without_prompt(record), redacted=(*record.redacted, PROMPTS))
    return Case(format=FORMAT, version=VERSION, record=record, manifest=manifest)


def with_prompt(case: Case, prompt: Prompt) -> Case:
    """The case with the prompt that it was exported without. Raises ConfigError for another prompt."""
    record = case.record
    if case.has_prompt:
        raise ConfigError("the case has its prompt already")
    if redacted_prompt(prompt) != record.request.prompt:
        raise ConfigError("this is not the prompt that was recorded: its hashes are others")
    return msgspec.structs.replace(
        case,
        record=msgspec.structs.replace(
            record,
            request=msgspec.structs.replace(record.request, prompt=prompt),
            redacted=tuple(one for one in record.redacted if one != PROMPTS),
        ),
    )


def write_case(case: Case, path: Path) -> None:
    """Write a case as indented JSON, for its owner's eyes alone. Raises ConfigError."""
    data = msgspec.json.format(msgspec.json.encode(case), indent=2) + b"\n"
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
    except OSError as error:
        raise ConfigError(f"{path} can't be written: {error.strerror}") from None


def read_case(path: Path) -> Case:
    """Read a case. Raises ConfigError."""
    try:
        case = msgspec.json.decode(path.read_bytes(), type=Case)
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no exported request: {error}") from None
    if case.version > VERSION:
        raise ConfigError(f"{path} was written by a newer version of Pennyweight")
    return case
