"""What an upstream tells of its models at GET /models."""

from __future__ import annotations

import msgspec


class _Model(msgspec.Struct):
    id: str
    max_model_len: int | None = None


class _Models(msgspec.Struct):
    data: list[_Model]


def told_max_model_len(body: bytes, name: str) -> int | None:
    """The context length of the model of that name, or of the only one there is; None where it isn't told."""
    try:
        models = msgspec.json.decode(body, type=_Models).data
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    named = [model for model in models if model.id == name] or models
    return named[0].max_model_len if len(named) == 1 else None
