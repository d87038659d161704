"""What a configuration says of recording."""

from __future__ import annotations

import msgspec


class RecordSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is recorded of requests and their answers, for replay. Off without a ``directory``.

    Recorded are those of ``tenants`` (none named, or "*": all), of which a ``share``, drawn by the request's id. A file holds at most
    ``max_file_bytes``, all in the directory ``max_bytes``; records are gone once they are ``max_age`` seconds old (None: never). Files
    are encrypted by the key in ``key_file`` where there is one. ``redact`` are hooks that leave things out before anything is written:
    ``prompts``, ``answers``, ``function:MODULE:NAME``. An answer's end waits ``write_timeout`` seconds for its record; at most
    ``max_pending`` records wait to be written. With ``hash_logits`` engines that can are asked for hashes of their logits. With ``sync``
    what is written also survives the loss of power, and not the process's end alone.
    """

    directory: str | None = None
    tenants: tuple[str, ...] = ()
    share: float = 1.0
    max_file_bytes: int = 64 * 1024 * 1024
    max_bytes: int = 10 * 1024 * 1024 * 1024
    max_age: float | None = None
    key_file: str | None = None
    redact: tuple[str, ...] = ()
    write_timeout: float = 0.05
    max_pending: int = 1024
    hash_logits: bool = True
    sync: bool = False
