"""An upstream's settings, looked through before anything is sent."""

from __future__ import annotations

import math
import re
from urllib.parse import urlsplit

from pennyweight.server.config import UpstreamSettings
from pennyweight.server.errors import ConfigError

from .request_body import RESERVED_PARAMETERS

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_POSITIVE = (
    "connect_timeout",
    "first_token_timeout",
    "token_timeout",
    "check_interval",
    "max_connections",
    "max_event_bytes",
    "failures_to_open",
)
_NOT_NEGATIVE = ("max_retries", "retry_budget", "max_retry_after")


def check_settings(upstream: UpstreamSettings) -> None:
    """Raise ConfigError for what can't be used. Values that may be secrets are not shown."""
    try:
        url = urlsplit(upstream.base_url)
        is_usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ConfigError("base_url: an upstream's is wanted, such as https://example.com/v1")
    if url.username is not None or url.query or url.fragment:
        raise ConfigError("base_url: no credentials, query or fragment can be in it; see api_key_env and api_key_file")
    for name, value in upstream.headers.items():
        if not _HEADER_NAME.fullmatch(name) or not value.isascii() or not value.isprintable():
            raise ConfigError(f"headers: {name!r} is no header's name, or its value not printable ASCII")
    if taken := sorted(RESERVED_PARAMETERS & upstream.parameters.keys()):
        raise ConfigError(f"parameters: {', '.join(taken)} can't be set here; requests have their own")
    for name in _POSITIVE:
        if not 0 < getattr(upstream, name) < math.inf:
            raise ConfigError(f"{name}: a number above 0 is wanted")
    for name in _NOT_NEGATIVE:
        if not 0 <= getattr(upstream, name) < math.inf:
            raise ConfigError(f"{name}: a number from 0 is wanted")
