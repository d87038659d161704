"""A tier: models that will do for one kind of request."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from pennyweight.server.config import ModelSettings, Settings, TierSettings, TokenPrice
from pennyweight.server.errors import ConfigError
from pennyweight.server.ledger.price_book import PriceBook
from pennyweight.server.types import Determinism, Request

from .target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """``targets`` and ``fallbacks`` are in the order of the configuration; see TierSettings for the rest."""

    name: str
    targets: tuple[Target, ...]
    fallbacks: tuple[Target, ...]
    settings: TierSettings

    def asked(self, request: Request) -> Request:
        """What a request asks of the tier's models: in the tier's mode of determinism, where it names none itself."""
        mode = self.settings.deterministic
        if mode is None or request.determinism is not None:
            return request
        return msgspec.structs.replace(request, determinism=Determinism(mode))


def tiers_of(settings: Settings, prices: PriceBook) -> tuple[Tier, ...]:
    """The configuration's tiers, in its order. Raises ConfigError for a price that isn't in the book."""
    targets = {name: Target(name=name, price=_price(name, model, prices)) for name, model in settings.models.items()}
    for alias, model in settings.aliases.items():
        # Whatever the alias comes to mean, its price is that of what it means in the configuration.
        targets[alias] = Target(name=alias, price=targets[model].price)
    return tuple(
        Tier(
            name=name,
            targets=tuple(targets[one] for one in tier.models),
            fallbacks=tuple(targets[one] for one in tier.fallbacks),
            settings=tier,
        )
        for name, tier in settings.tiers.items()
    )


def _price(name: str, model: ModelSettings, prices: PriceBook) -> TokenPrice | None:
    if not isinstance(model.price, str):
        return model.price
    try:
        found = prices.model(model.price)
    except ConfigError as error:
        raise ConfigError(f"models.{name}.price: {error}") from None
    cached = found.cached_input
    return TokenPrice(
        input=float(found.input), output=float(found.output), cached_input=None if cached is None else float(cached)
    )
