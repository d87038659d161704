"""What compute and hosted models cost by their providers' lists: dated, with sources, read from files and never fetched.

A file has up to three sections, each a mapping of ids to entries (configs/prices/ has the ones that come with Pennyweight):

    gpus:
      our-h100: {provider: ACME, card: H100 SXM, memory_gb: 80, dollars_per_hour: 1.95, terms: reserved,
                 as_of: 2026-11-01, source: our contract}
    machines:
      our-box: {provider: ACME, cores: 16, memory_gb: 64, dollars_per_hour: 0.21, terms: on-demand,
                as_of: 2026-11-01, source: our contract}
    models:
      their-model: {provider: ACME, model: small-1, input: 0.10, cached_input: 0.01, output: 0.40,
                    as_of: 2026-11-01, source: ACME pricing, url: https://llm.example.com/pricing}

Entries of a user's file replace those of the same id and add to the others. Money is Decimal, in US dollars.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from pennyweight.server.errors import ConfigError
from pennyweight.server.strict_yaml import Document, read_yaml

# Names a user's own file of prices.
PRICES_VARIABLE = "PENNYWEIGHT_PRICES"

MILLION = 1_000_000
SECONDS_PER_HOUR = 3600

Terms = Literal["on-demand", "spot", "reserved"]


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every entry has: whose price, as of which day, and where that stands.

    ``source`` names the page or contract, ``url`` is its address where it has one. ``as_of`` is the day on which the price
    stood there; ``ends`` the last day for which it was announced, if any.
    """

    id: str
    provider: str
    as_of: date
    source: str
    url: str | None = None
    ends: date | None = None
    note: str = ""

    def age_days(self, today: date) -> int:
        """How long ago the price was seen."""
        return (today - self.as_of).days


class GpuPrice(Price, frozen=True, kw_only=True):
    """A rented GPU with its share of the machine around it. ``least_gpus`` is how many must be rented at once for it."""

    card: str
    memory_gb: int  # of the card
    dollars_per_hour: Decimal  # for one GPU
    terms: Terms
    least_gpus: int = 1

    def cost(self, seconds: Decimal | int, gpus: int = 1) -> Decimal:
        """Dollars for so many GPUs over that time."""
        return self.dollars_per_hour * gpus * seconds / SECONDS_PER_HOUR


class MachinePrice(Price, frozen=True, kw_only=True):
    """A rented machine without a GPU. ``cores`` are as its provider counts them: mostly hardware threads."""

    cores: int
    memory_gb: int
    dollars_per_hour: Decimal  # for the whole machine
    terms: Terms

    @property
    def dollars_per_core_hour(self) -> Decimal:
        return self.dollars_per_hour / self.cores

    def cost(self, seconds: Decimal | int) -> Decimal:
        """Dollars for the machine over that time."""
        return self.dollars_per_hour * seconds / SECONDS_PER_HOUR


class ModelPrice(Price, frozen=True, kw_only=True):
    """A hosted model's list price, in dollars for a million tokens.

    ``cached_input`` is for prompt tokens that the provider reads from its cache; None where it gives no discount.
    """

    model: str
    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None

    def cost(self, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> Decimal:
        """Dollars for one answer, exactly. ``cached_tokens`` are a part of ``input_tokens``. Raises ValueError."""
        if not 0 <= cached_tokens <= input_tokens or output_tokens < 0:
            raise ValueError(f"no such usage: {input_tokens} in, {cached_tokens} of them cached, {output_tokens} out")
        cached_input = self.input if self.cached_input is None else self.cached_input
        cost = self.input * (input_tokens - cached_tokens) + cached_input * cached_tokens + self.output * output_tokens
        return cost / MILLION


AnyPrice = TypeVar("AnyPrice", bound=Price)


class PriceBook(msgspec.Struct, frozen=True):
    """The prices of three kinds, each by id. An id means one thing over all kinds."""

    gpus: Mapping[str, GpuPrice] = {}
    machines: Mapping[str, MachinePrice] = {}
    models: Mapping[str, ModelPrice] = {}

    def __iter__(self) -> Iterator[GpuPrice | MachinePrice | ModelPrice]:
        yield from self.gpus.values()
        yield from self.machines.values()
        yield from self.models.values()

    def find(self, id: str) -> GpuPrice | MachinePrice | ModelPrice:
        """The entry of that id, of whichever kind. Raises ConfigError, with what was perhaps meant."""
        return _entry({price.id: price for price in self}, id, "price")

    def gpu(self, id: str) -> GpuPrice:
        """Raises ConfigError."""
        return _entry(self.gpus, id, "GPU's price")

    def machine(self, id: str) -> MachinePrice:
        """Raises ConfigError."""
        return _entry(self.machines, id, "machine's price")

    def model(self, id: str) -> ModelPrice:
        """Raises ConfigError."""
        return _entry(self.models, id, "model's price")

    def overridden_by(self, other: PriceBook) -> PriceBook:
        """This book with the entries of ``other`` in place of those of the same ids, and beside the rest."""
        new = {price.id for price in other}
        return PriceBook(
            gpus={**_without(self.gpus, new), **other.gpus},
            machines={**_without(self.machines, new), **other.machines},
            models={**_without(self.models, new), **other.models},
        )


def load_prices(own: Path | None = None) -> PriceBook:
    """The prices that come with Pennyweight, overridden by those of a user's ``own`` file. Raises ConfigError."""
    book = PriceBook()
    with as_file(files("pennyweight") / "prices") as directory:
        for file in sorted(directory.glob("*.yaml")):
            book = book.overridden_by(read_prices(file))
    return book if own is None else book.overridden_by(read_prices(own))


def read_prices(file: Path) -> PriceBook:
    """One file's prices alone. Raises ConfigError, which names the file, the line and the entry."""
    document = read_yaml(file)
    sections = document.value
    if not isinstance(sections, dict) or not sections:
        raise ConfigError(f"{file} has no prices: it must have the sections gpus, machines or models")
    if unknown := sorted(str(name) for name in sections.keys() - {"gpus", "machines", "models"}):
        raise ConfigError(
            f"{document.place(file, unknown[0])} {unknown[0]!r} is no section: gpus, machines and models are"
        )
    book = PriceBook(
        gpus=_section(document, file, "gpus", GpuPrice),
        machines=_section(document, file, "machines", MachinePrice),
        models=_section(document, file, "models", ModelPrice),
    )
    seen: set[str] = set()
    for price in book:
        if price.id in seen:
            raise ConfigError(f"{file} has the id {price.id} in two sections; an id means one thing")
        seen.add(price.id)
    return book


def _section(document: Document, file: Path, section: str, kind: type[AnyPrice]) -> dict[str, AnyPrice]:
    entries = document.value.get(section) or {}
    if not isinstance(entries, dict):
        raise ConfigError(f"{document.place(file, section)} {section} must be a mapping of ids to entries")
    prices = {}
    for id, entry in entries.items():
        place = f"{document.place(file, section, str(id))} {section}.{id}:"
        if not isinstance(id, str) or not isinstance(entry, dict):
            raise ConfigError(f"{place} an entry must be a mapping under an id that is text")
        if "id" in entry:
            raise ConfigError(f"{place} the id stands before the entry, and not in it")
        try:
            price = msgspec.convert({**entry, "id": id}, kind)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{place} {error}") from None
        if reason := _fault(price):
            raise ConfigError(f"{place} {reason}")
        prices[id] = price
    return prices


def _fault(price: Price) -> str | None:
    """What is wrong with an entry of the right types."""
    for name in price.__struct_fields__:
        value: Any = getattr(price, name)
        if isinstance(value, Decimal) and not (value.is_finite() and value >= 0):
            return f"{name} is {value}, and must be 0 or more"
        if name in ("cores", "memory_gb", "least_gpus") and value < 1:
            return f"{name} is {value}, and must be 1 or more"
        if name in ("provider", "source", "card", "model") and not value.strip():
            return f"{name} must say something"
    if price.ends is not None and price.ends < price.as_of:
        return f"ends on {price.ends}, before the day that it is of ({price.as_of})"
    return None


def _entry(prices: Mapping[str, AnyPrice], id: str, what: str) -> AnyPrice:
    if id in prices:
        return prices[id]
    close = difflib.get_close_matches(id, prices, n=3)
    meant = f"; perhaps {' or '.join(close)}" if close else ""
    raise ConfigError(f"there is no {what} with the id {id!r}{meant} (see pennyweight prices)")


def _without(prices: Mapping[str, AnyPrice], ids: set[str]) -> dict[str, AnyPrice]:
    return {id: price for id, price in prices.items() if id not in ids}
