"""What an answer tells of its tokens beside their text: vLLM's ``token_ids``, and hashes of the logits that they were chosen from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from pennyweight.server.types import Delta

# Of each token, in Delta.
HASH_BYTES = 8

_encode = msgspec.json.Encoder().encode


class TokenFields(msgspec.Struct, frozen=True):
    """Which of them a request asked for."""

    token_ids: bool = False
    logits_hashes: bool = False

    def of(self, token_ids: Sequence[int], logits_hashes: bytes) -> dict[str, Any]:
        """The fields of a choice, or of more of one: as many hashes, each of 16 hexadecimal digits, as token ids."""
        found: dict[str, Any] = {}
        if self.token_ids:
            found["token_ids"] = list(token_ids)
        if self.logits_hashes:
            places = range(0, len(logits_hashes), HASH_BYTES)
            found["logits_hashes"] = [logits_hashes[place : place + HASH_BYTES].hex() for place in places]
        return found

    def are_wanted(self, delta: Delta) -> bool:
        """Whether there is anything to tell of a delta."""
        return bool(delta.token_ids) and (self.token_ids or self.logits_hashes)

    def put_first(self, delta: Delta, chunk: bytes, start: int) -> bytes:
        """The chunk with the delta's fields in its choice, whose next name begins at ``start``."""
        fields = _encode(self.of(delta.token_ids, delta.logits_hashes))[1:-1]
        return b"%b%b,%b" % (chunk[:start], fields, chunk[start:])


NO_TOKEN_FIELDS = TokenFields()
