"""The configurations that a workload is priced on: what serves it, and what that costs an hour."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from pennyweight.bench.peers.base import Peer
from pennyweight.bench.peers.pennyweight import Pennyweight
from pennyweight.bench.peers.vllm import Vllm
from pennyweight.server.errors import ConfigError
from pennyweight.server.ledger.price_book import GpuPrice, MachinePrice, PriceBook

SWITCHES = {"on": True, "off": False, "yes": True, "no": False, "true": True, "false": False}
PEERS = ("native", "vllm")


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One configuration as users write it, on the command line or in a file.

    Either ``peer`` is started for each round and stopped after it, or ``url`` is measured as it is. The price is
    ``dollars_per_hour``, or ``count`` times the entry ``price`` of the price books. ``options`` are further ones of the
    peer's command, written as for a shell. ``aside`` keeps a configuration out of the waterfall.
    """

    name: str
    peer: Literal["native", "vllm"] | None = None
    url: str | None = None
    model: str | None = None  # as the URL's server calls it; its first one by default
    api_key_env: str | None = None
    dtype: str = "bfloat16"
    eager: bool = False
    prefix_cache: bool = True
    options: str = ""
    dollars_per_hour: Decimal | None = None
    price: str | None = None
    count: int = 1
    aside: bool = False


class Serving(msgspec.Struct, frozen=True):
    """What peers are started with: a model's directory, vLLM's Python, and the size of each KV cache."""

    model: Path | None
    vllm_python: Path | None
    kv_cache_gib: int


@dataclass(frozen=True)
class Configuration:
    """One configuration, ready to be measured; it has a ``peer`` or a ``url``."""

    name: str
    dollars_per_hour: Decimal
    peer: Peer | None
    url: str | None
    model: str | None = None
    api_key_env: str | None = None
    is_aside: bool = False


def parse_entry(text: str) -> Entry:
    """``name=int8,peer=native,dtype=int8,prefix_cache=off,dollars_per_hour=0.08``. Raises ConfigError."""
    found: dict[str, Any] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--config {text}: {part!r} is not of the form key=value")
        if key.strip() in found:
            raise ConfigError(f"--config {text}: {key.strip()} comes twice")
        found[key.strip()] = SWITCHES.get(value.strip().lower(), value.strip())
    return _entry(found, f"--config {text}")


def read_entries(file: Path) -> list[Entry]:
    """The list ``configurations`` of a YAML file. Raises ConfigError."""
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{file} can't be read as YAML: {error}") from None
    match found:
        case {"configurations": [_, *_] as entries} if len(found) == 1:
            return [_entry(entry, f"{file}, configuration {number}") for number, entry in enumerate(entries, 1)]
    raise ConfigError(f"{file} must have one name, configurations, with a list of them")


def resolve(entries: Sequence[Entry], serving: Serving, book: PriceBook) -> list[Configuration]:
    """The configurations of these entries. Raises ConfigError."""
    names = [entry.name for entry in entries]
    if len(set(names)) < len(names):
        raise ConfigError(f"two configurations have one name: {', '.join(names)}")
    return [_configuration(entry, serving, book) for entry in entries]


def _entry(found: object, where: str) -> Entry:
    try:
        return msgspec.convert(found, Entry, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {error} (a configuration has {', '.join(Entry.__struct_fields__)})") from None


def _configuration(entry: Entry, serving: Serving, book: PriceBook) -> Configuration:
    if (entry.peer is None) == (entry.url is None):
        raise ConfigError(f"configuration {entry.name}: name a peer ({', '.join(PEERS)}) or a url, one of both")
    return Configuration(
        name=entry.name,
        dollars_per_hour=_dollars_per_hour(entry, book),
        peer=None if entry.peer is None else _peer(entry, serving),
        url=entry.url,
        model=entry.model,
        api_key_env=entry.api_key_env,
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


def _peer(entry: Entry, serving: Serving) -> Peer:
    if serving.model is None:
        raise ConfigError(f"configuration {entry.name}: a peer wants --model, the directory of what it serves")
    model, options = serving.model, tuple(shlex.split(entry.options))
    if entry.peer == "native":
        return Pennyweight(model, entry.dtype, serving.kv_cache_gib, prefix_caching=entry.prefix_cache, options=options)
    if serving.vllm_python is None:
        raise ConfigError(f"configuration {entry.name}: vLLM wants --vllm-python, the Python that it is installed for")
    return Vllm(
        serving.vllm_python,
        model,
        entry.dtype,
        serving.kv_cache_gib,
        eager=entry.eager,
        dtype=entry.dtype,
        prefix_caching=entry.prefix_cache,
        # So that its usage tells what its prefix cache did, as ours does.
        options=("--enable-prompt-tokens-details", *options),
    )


def described(configuration: Configuration) -> Mapping[str, Any]:
    """For the result."""
    served = (
        {"url": configuration.url} if configuration.peer is None else {"command": list(configuration.peer.command(0))}
    )
    return {"name": configuration.name, "dollars_per_hour": float(configuration.dollars_per_hour), **served}
