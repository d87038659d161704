"""Whose an answer is and what made it, by which answers are purged."""

from __future__ import annotations

import msgspec


class Label(msgspec.Struct, frozen=True, array_like=True):
    """``model`` is the engine's own name of what made an answer, ``asked`` the name that the client gave: an alias, or an adapter's."""

    tenant: str
    model: str
    asked: str


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Answers of which all holds that is not None. ``model`` is either of a label's two names."""

    key: bytes | None = None
    tenant: str | None = None
    model: str | None = None

    def has(self, key: bytes, label: Label) -> bool:
        """Whether the answer under a key is among them."""
        return (
            self.key in (None, key)
            and self.tenant in (None, label.tenant)
            and self.model in (None, label.model, label.asked)
        )
