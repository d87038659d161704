"""The recorder that settings ask for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from pennyweight.server.config_record import RecordSettings
from pennyweight.server.engines.base import Engine
from pennyweight.server.errors import ConfigError
from pennyweight.server.key_file import read_key

from .manifests import Manifests
from .recorder import Recorder
from .redaction import redaction_of
from .segments import Segments
from .writer import Writer


def make_recorder(
    settings: RecordSettings,
    engines: Mapping[str, Engine],
    logger: FilteringBoundLogger,
    *,
    headers: Iterable[str] = (),
) -> Recorder | None:
    """None where nothing is to be recorded. ``headers`` are the names of those that routing rules ask for.

    Raises ConfigError for a directory that can't be made, and for a key or a hook that can't be used.
    """
    if settings.directory is None:
        return None
    directory = Path(settings.directory).expanduser()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"record.directory {directory} can't be made: {error.strerror}") from None
    segments = Segments(
        directory,
        max_file_bytes=settings.max_file_bytes,
        max_bytes=settings.max_bytes,
        max_age=settings.max_age,
        master=None if settings.key_file is None else read_key(settings.key_file, "record.key_file"),
        sync=settings.sync,
    )
    writer = Writer(
        segments,
        redaction_of(settings.redact),
        logger,
        max_pending=settings.max_pending,
        max_file_bytes=settings.max_file_bytes,
    )
    return Recorder(settings, writer, Manifests(engines), headers=headers)
