"""Lines encrypted at rest: what a file of a recording holds where there is a key.

Each file has a key of its own, derived from the operator's by HKDF-SHA256 (RFC 5869) with 16 random bytes as salt. Every line is sealed by
AES-256-GCM with its number in the file, from 0, as its nonce (NIST SP 800-38D, 8.2.1), and written in base64. So a line that was
changed, moved, or comes after one that was taken out does not open. The first line begins with ``pwr``, a version and the salt.
"""

from __future__ import annotations

import base64
import binascii
import os

from pennyweight.server.key_file import KEY_BYTES

# Goes up with every change of how lines are sealed.
VERSION = 1
_MARK = b"pwr" + bytes([VERSION])
_SALT_BYTES = 16
_NONCE_BYTES = 12
_TAG_BYTES = 16


class Unsealable(Exception):
    """A line does not open: it is damaged or out of its place, or another key's or version's."""


class LineSealer:
    """Seals the lines of one file, or opens them, in their order."""

    def __init__(self, master: bytes, salt: bytes | None = None) -> None:
        """``salt`` is that of the file; None begins a new one. Needs the package cryptography."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        self._salt = os.urandom(_SALT_BYTES) if salt is None else salt
        key = HKDF(SHA256(), KEY_BYTES, salt=self._salt, info=b"pennyweight recording").derive(master)
        self._cipher = AESGCM(key)
        self._number = 0

    @classmethod
    def of(cls, first: bytes, master: bytes) -> LineSealer:
        """That of the file whose first line is given. Raises Unsealable."""
        head = _decoded(first)
        if not head.startswith(_MARK) or len(head) < len(_MARK) + _SALT_BYTES:
            raise Unsealable
        return cls(master, head[len(_MARK) : len(_MARK) + _SALT_BYTES])

    def seal(self, line: bytes) -> bytes:
        """The next line, sealed."""
        head = b"" if self._number else _MARK + self._salt
        return base64.b64encode(head + self._cipher.encrypt(self._next_nonce(), line, None))

    def open(self, sealed: bytes) -> bytes:
        """The next line. Raises Unsealable; the one after it does not open any more either."""
        from cryptography.exceptions import InvalidTag

        head = 0 if self._number else len(_MARK) + _SALT_BYTES
        try:
            return self._cipher.decrypt(self._next_nonce(), _decoded(sealed)[head:], None)
        except (InvalidTag, ValueError):  # ValueError: less than a tag is left
            raise Unsealable from None

    def _next_nonce(self) -> bytes:
        number, self._number = self._number, self._number + 1
        return number.to_bytes(_NONCE_BYTES, "big")


def sealed_length(length: int) -> int:
    """Bytes of a line of that length when it is sealed, at the most."""
    return (length + _TAG_BYTES + len(_MARK) + _SALT_BYTES + 2) // 3 * 4


def _decoded(sealed: bytes) -> bytes:
    try:
        return base64.b64decode(sealed, validate=True)
    except (ValueError, binascii.Error):
        raise Unsealable from None
