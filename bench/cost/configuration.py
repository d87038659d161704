"""The configurations that a workload is priced on: what serves it, and what that costs an hour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from pennyweight.bench.peers.entry import Entry as ServerEntry
from pennyweight.bench.peers.entry import Serving, as_entry, parse_pairs, target
from pennyweight.bench.peers.target import Target
from pennyweight.server.errors import ConfigError
from pennyweight.server.ledger.price_book import GpuPrice, MachinePrice, PriceBook


class Entry(ServerEntry, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One configuration as users write it, on the command line or in a file: what is measured, and what it costs.

    The price is ``dollars_per_hour``, or ``count`` times the entry ``price`` of the price books. ``aside`` keeps a
    configuration out of the waterfall.
    """

    name: str
    dollars_per_hour: Decimal | None = None
    price: str | None = None
    count: int = 1
    aside: bool = False


@dataclass(frozen=True, kw_only=True)
class Configuration(Target):
    """One configuration, ready to be measured."""

    dollars_per_hour: Decimal
    is_aside: bool = False


def parse_entry(text: str) -> Entry:
    """``name=int8,peer=native,dtype=int8,prefix_cache=off,dollars_per_hour=0.08``. Raises ConfigError."""
    return parse_pairs(text, Entry, f"--config {text}")


def read_entries(file: Path) -> list[Entry]:
    """The list ``configurations`` of a YAML file. Raises ConfigError."""
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{file} can't be read as YAML: {error}") from None
    match found:
        case {"configurations": [_, *_] as entries} if len(found) == 1:
            return [
                as_entry(entry, Entry, f"{file}, configuration {number}") for number, entry in enumerate(entries, 1)
            ]
    raise ConfigError(f"{file} must have one name, configurations, with a list of them")


def resolve(entries: Sequence[Entry], serving: Serving, book: PriceBook) -> list[Configuration]:
    """The configurations of these entries. Raises ConfigError."""
    names = [entry.name for entry in entries]
    if len(set(names)) < len(names):
        raise ConfigError(f"two configurations have one name: {', '.join(names)}")
    return [_configuration(entry, serving, book) for entry in entries]


def _configuration(entry: Entry, serving: Serving, book: PriceBook) -> Configuration:
    found = target(entry, serving)
    return Configuration(
        name=entry.name,
        dollars_per_hour=_dollars_per_hour(entry, book),
        peer=found.peer,
        url=found.url,
        model=found.model,
        api_key_env=found.api_key_env,
        is_aside=entry.aside,
    )


def _dollars_per_hour(entry: Entry, book: PriceBook) -> Decimal:
    if (entry.dollars_per_hour is None) == (entry.price is None):
        raise ConfigError(f"configuration {entry.name}: give dollars_per_hour, or a price of the books, one of both")
    if entry.count < 1:
        raise ConfigError(f"configuration {entry.name}: count is {entry.count}, and must be 1 or more")
    if entry.price is None:
        dollars = entry.dollars_per_hour or Decimal()
    else:
        found = book.find(entry.price)
        if not isinstance(found, GpuPrice | MachinePrice):
            raise ConfigError(
                f"configuration {entry.name}: {entry.price} is a hosted model, which has no price an hour"
            )
        dollars = found.dollars_per_hour
    if not (dollars.is_finite() and dollars > 0):
        raise ConfigError(f"configuration {entry.name}: dollars_per_hour must be more than 0")
    return dollars * entry.count


def described(configuration: Configuration) -> Mapping[str, Any]:
    """For the result."""
    return {**configuration.describe(), "dollars_per_hour": float(configuration.dollars_per_hour)}
