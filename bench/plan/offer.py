"""What can be rented: a device of the device book at a price of the price book."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from pennyweight.server.errors import ConfigError
from pennyweight.server.ledger.price_book import GpuPrice, PriceBook

from .device import Device


@dataclass(frozen=True)
class Offer:
    """``name`` is the price's id, or the device's where the price was given by hand. ``least`` are rented at once, or a multiple."""

    name: str
    device: Device
    dollars_per_hour: Decimal
    least: int = 1

    def dollars(self, devices: int) -> Decimal:
        """Dollars per hour for so many devices, rounded up to whole machines."""
        return self.dollars_per_hour * (-(-devices // self.least) * self.least)


def find_offers(
    names: Iterable[str], devices: Mapping[str, Device], prices: PriceBook, given_price: Decimal | None
) -> list[Offer]:
    """The offers of these names: ids of prices, or names of devices, which stand for the cheapest on demand.

    ``given_price`` is what a device costs by the hour, in the place of the price book's. No names: every device that has a
    price on demand. Raises ConfigError for a name that is neither, and for a device without a price.
    """
    cheapest: dict[str, GpuPrice] = {}
    for price in sorted(prices.gpus.values(), key=lambda one: (one.dollars_per_hour, one.least_gpus)):
        if price.terms == "on-demand":
            cheapest.setdefault(price.card, price)
    by_card = {device.card: device for device in devices.values() if device.card is not None}
    chosen = list(dict.fromkeys(names)) or [device.name for device in devices.values() if device.card in cheapest]
    offers = []
    for name in chosen:
        if name in prices.gpus:
            price = prices.gpus[name]
            if price.card not in by_card:
                raise ConfigError(f"the device book has no card {price.card!r}, which {name} is: add it (--devices)")
            device = by_card[price.card]
        elif name in devices:
            device = devices[name]
            if given_price is not None:
                offers.append(Offer(name, device, given_price))
                continue
            found = cheapest.get(device.card or "")
            if found is None:
                raise ConfigError(f"the price book has no price on demand of {name}: give one with --dollars-per-hour")
            price = found
        else:
            close = difflib.get_close_matches(name, [*devices, *prices.gpus], n=3)
            meant = f"; perhaps {' or '.join(close)}" if close else f"; devices are {', '.join(devices)}"
            raise ConfigError(f"no device and no GPU's price is called {name!r}{meant}")
        offers.append(Offer(price.id, device, given_price or price.dollars_per_hour, price.least_gpus))
    return offers
