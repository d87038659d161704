"""The process of SchemaChecker: ``python -m pennyweight.server.router.cascade.schema_worker``.

Reads frames of a schema and a text, both as text of JSON, and answers each with ``1`` or ``0``. It ends when its input does.
"""

from __future__ import annotations

import json
import resource
import sys
from typing import BinaryIO

import msgspec
from jsonschema import Draft202012Validator, exceptions, validators
from referencing import Registry
from referencing.exceptions import Unresolvable

from pennyweight.server.engines.frames import HEADER, pack_frame

# What it may take in memory, beyond which its allocations fail.
MEMORY_BYTES = 1 << 30

_decode = msgspec.msgpack.Decoder(tuple[str, str]).decode


def is_valid(schema_text: str, text: str) -> bool:
    """False too for a schema that is none, or refers to what is not in it: nothing is fetched."""
    try:
        schema = json.loads(schema_text)
        kind = validators.validator_for(schema, default=Draft202012Validator)
        kind.check_schema(schema)
        return bool(kind(schema, registry=Registry()).is_valid(json.loads(text)))
    except (ValueError, RecursionError, MemoryError, exceptions.SchemaError, Unresolvable):
        return False


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer until there are no more requests."""
    while header := requests.read(HEADER.size):
        (length,) = HEADER.unpack(header)
        schema, text = _decode(requests.read(length))
        answers.write(pack_frame(b"1" if is_valid(schema, text) else b"0"))
        answers.flush()


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
