"""A model as the router sees it."""

from __future__ import annotations

from dataclasses import dataclass

from pennyweight.server.config import TokenPrice
from pennyweight.server.types import Usage

MILLION = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """``name`` is the model's or an alias, looked up for each request. ``price`` is None where nobody said what it costs."""

    name: str
    price: TokenPrice | None = None

    def cost(self, usage: Usage) -> float | None:
        """US dollars for so many tokens; None where the price isn't known."""
        if self.price is None:
            return None
        cached = self.price.input if self.price.cached_input is None else self.price.cached_input
        fresh = usage.prompt_tokens - usage.cached_tokens
        return (
            fresh * self.price.input + usage.cached_tokens * cached + usage.completion_tokens * self.price.output
        ) / MILLION
