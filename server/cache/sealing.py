"""How answers lie in a store: with their age, bound to their key, and encrypted where there is a key for that.

A sealed answer is ``pwc`` and a version, a byte for how it is sealed, the Unix time at which it was made (a double), and what was
sealed. In the clear that is a BLAKE2b digest and the answer; encrypted it is a nonce of 96 bits, drawn at random, and what AES-256-GCM
makes of the answer (NIST SP 800-38D). Both cover the head and the key under which the answer is kept, so that an answer that was
moved to another key, cut, or changed does not open. Each tenant's encryption key is derived from the master key by HKDF-SHA256
(RFC 5869) with the tenant as its info.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import os
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from pennyweight.server.key_file import KEY_BYTES, read_key

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

# Goes up with every change of what is sealed: an answer of another version does not open.
VERSION = 1
_PLAIN, _ENCRYPTED = 0, 1
_HEAD = struct.Struct(">3sBBd")
_DIGEST_BYTES = 16
_NONCE_BYTES = 12
# Tenants whose derived keys are kept at hand.
_MOST_TENANTS = 4096


class Unsealable(Exception):
    """What was found does not open: it is damaged, another version's, another key's, or was sealed otherwise."""


class Sealer:
    """Seals answers and opens them, encrypted by ``master`` (32 bytes) or, without one, in the clear.

    With a master key what stores see of keys and tenants is keyed as well: who reads one can't confirm a guess at a prompt.
    """

    def __init__(self, master: bytes | None = None) -> None:
        self._master = master
        self._kind = _PLAIN if master is None else _ENCRYPTED
        self._cipher: Callable[[str], AESGCM] = functools.lru_cache(_MOST_TENANTS)(self._derive)

    @property
    def is_encrypting(self) -> bool:
        return self._master is not None

    def stored_key(self, key: bytes) -> bytes:
        """Under what a store keeps the answer of a key; 32 bytes."""
        return key if self._master is None else hmac.digest(self._master, b"key " + key, "sha256")

    def stored_tenant(self, tenant: str) -> bytes:
        """By what a store knows a tenant; 32 bytes."""
        data = b"tenant " + tenant.encode()
        return hashlib.sha256(data).digest() if self._master is None else hmac.digest(self._master, data, "sha256")

    def seal(self, encoded: bytes, key: bytes, tenant: str, made: float) -> bytes:
        """An encoded answer as it is to lie in a store. ``made`` is in Unix seconds."""
        head = _HEAD.pack(b"pwc", VERSION, self._kind, made)
        if self._master is None:
            return head + _digest(head, key, encoded) + encoded
        nonce = os.urandom(_NONCE_BYTES)
        return head + nonce + self._cipher(tenant).encrypt(nonce, encoded, head + key)

    def open(self, sealed: bytes, key: bytes, tenant: str) -> tuple[bytes, float]:
        """The encoded answer, and when it was made. Raises Unsealable."""
        if not isinstance(sealed, bytes) or len(sealed) < _HEAD.size:
            raise Unsealable
        head, rest = sealed[: _HEAD.size], sealed[_HEAD.size :]
        mark, version, kind, made = _HEAD.unpack(head)
        if (mark, version, kind) != (b"pwc", VERSION, self._kind):
            raise Unsealable
        if self._master is None:
            encoded = rest[_DIGEST_BYTES:]
            if not hmac.compare_digest(rest[:_DIGEST_BYTES], _digest(head, key, encoded)):
                raise Unsealable
            return encoded, made
        return self._decrypt(rest, head + key, tenant), made

    def _decrypt(self, rest: bytes, associated: bytes, tenant: str) -> bytes:
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher(tenant).decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], associated)
        except (InvalidTag, ValueError):  # ValueError: less than a nonce is left
            raise Unsealable from None

    def _derive(self, tenant: str) -> AESGCM:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        assert self._master is not None, "only what is encrypted has keys"
        info = b"pennyweight response cache " + tenant.encode()
        return AESGCM(HKDF(SHA256(), KEY_BYTES, salt=None, info=info).derive(self._master))


def _digest(head: bytes, key: bytes, encoded: bytes) -> bytes:
    return hashlib.blake2b(head + key + encoded, digest_size=_DIGEST_BYTES).digest()


def open_sealer(key_file: str | None) -> Sealer:
    """The sealer of a file with a key. Raises ConfigError, which never shows the key."""
    return Sealer() if key_file is None else Sealer(read_key(key_file, "response_cache.key_file"))
