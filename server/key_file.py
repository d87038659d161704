"""A file with an encryption key, as settings name it."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from .errors import ConfigError

KEY_BYTES = 32


def read_key(key_file: str, setting: str) -> bytes:
    """The key in a file: 32 bytes in hexadecimal or base64. ``setting`` is what names the file.

    Raises ConfigError, which never shows the key; also where the package is missing that encrypts.
    """
    try:
        import cryptography  # noqa: F401 (asked for now, and not with the first use of the key)
    except ImportError:
        raise ConfigError(f"{setting} needs the package cryptography: pip install cryptography") from None
    try:
        text = Path(key_file).expanduser().read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{setting} {key_file} can't be read: {error}") from None
    for decode in (bytes.fromhex, lambda text: base64.b64decode(text, validate=True), base64.urlsafe_b64decode):
        try:
            key = decode(text)
        except (ValueError, binascii.Error):
            continue
        if len(key) == KEY_BYTES:
            return key
    raise ConfigError(
        f"{setting} {key_file} must hold {KEY_BYTES} bytes in hexadecimal or base64: openssl rand -hex 32"
    )
