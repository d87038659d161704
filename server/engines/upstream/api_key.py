"""The key that an upstream is asked with: read once, sent, and never shown."""

from __future__ import annotations

import os
from pathlib import Path

from pennyweight.server.config import UpstreamSettings
from pennyweight.server.errors import ConfigError

SHORTEST_HIDDEN = 4


class ApiKey:
    """A key, or none. Neither ``repr`` nor an error tells it."""

    def __init__(self, key: str | None = None) -> None:
        self._key = key

    def __repr__(self) -> str:
        return "ApiKey(none)" if self._key is None else "ApiKey(***)"

    def headers(self) -> dict[str, str]:
        """The header that carries it."""
        return {} if self._key is None else {"Authorization": f"Bearer {self._key}"}

    def hide(self, text: str) -> str:
        """The text without the key. A key of a few characters is none, and would tear holes into every text."""
        return text if self._key is None or len(self._key) < SHORTEST_HIDDEN else text.replace(self._key, "***")


def read_api_key(upstream: UpstreamSettings) -> ApiKey:
    """The key from the variable or the file that the settings name. Raises ConfigError, which doesn't tell it."""
    if upstream.api_key_env is not None and upstream.api_key_file is not None:
        raise ConfigError("an upstream's key comes from api_key_env or from api_key_file, not from both")
    if upstream.api_key_env is not None:
        place = f"api_key_env: the environment variable {upstream.api_key_env}"
        key = os.environ.get(upstream.api_key_env)
        if key is None:
            raise ConfigError(f"{place} is not set")
    elif upstream.api_key_file is not None:
        place = f"api_key_file: {upstream.api_key_file}"
        try:
            key = Path(upstream.api_key_file).expanduser().read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise ConfigError(f"{place} can't be read: {reason}") from None
    else:
        return ApiKey()
    key = key.strip()
    # What would end the header that it is sent in, or could not be in one.
    if not key or not key.isascii() or not key.isprintable():
        raise ConfigError(f"{place} holds no key: one line of printable ASCII is wanted")
    return ApiKey(key)
