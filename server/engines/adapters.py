"""LoRA adapters by model name: a directory of them, the engine around an engine that one is, and names found as they are asked for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pennyweight.server.errors import ConfigError, InvalidRequest, ModelError, ModelNotFound
from pennyweight.server.types import Adapter, Embeddings, EmbedRequest, Event, Request

from .adapted import with_adapter
from .around import EngineAround
from .base import Capabilities, Engine, Leased
from .local.peft_adapter import CONFIG_FILE, WEIGHTS_FILE, adapter_digest, read_peft_adapter

# How often the directory is looked through, at the most.
SCAN_SECONDS = 1.0
# A colon parts the model's name from the adapter's; a dot at the beginning hides what is being copied.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class AdapterDirectory:
    """The adapters that lie in a directory, each a directory in peft's format. Nothing outside of it is ever opened.

    Names are compared with what the directory lists and never made into paths before. ``describe`` may be called from any
    thread. Raises ConfigError for what is no directory.
    """

    def __init__(self, path: Path, *, max_rank: int) -> None:
        self._root = path.expanduser().resolve()
        if not self._root.is_dir():
            raise ConfigError(f"engine.adapters_dir is {str(path)!r}, which is no directory")
        self._max_rank = max_rank
        self._names: frozenset[str] = frozenset()
        self._scanned = float("-inf")
        self._described: dict[str, tuple[tuple[int, ...], Adapter]] = {}
        self.names()

    def names(self) -> frozenset[str]:
        """What lies there, as of a second ago at the most."""
        now = time.monotonic()
        if now - self._scanned >= SCAN_SECONDS:
            self._scanned = now
            self._names = frozenset(self._scan())
        return self._names

    def __contains__(self, name: str) -> bool:
        return name in self._names or name in self.names()

    def describe(self, name: str) -> Adapter:
        """The adapter as it lies there now. Raises ModelNotFound when it is gone, ModelError for one that can't be served."""
        directory = self._root / name
        files = (directory / CONFIG_FILE, directory / WEIGHTS_FILE)
        if not self._holds(directory):
            raise ModelNotFound(f"The adapter `{name}` does not exist any more.", param="model")
        for file in files:
            if not file.is_file():
                raise ModelError(f"it has no {file.name}")
            if not self._holds(file):
                raise ModelError(f"its {file.name} is a link that leads out of the adapters' directory")
        stats = [file.stat() for file in files]
        signature = tuple(number for stat in stats for number in (stat.st_ino, stat.st_mtime_ns, stat.st_size))
        known = self._described.get(name)
        if known is not None and known[0] == signature:
            return known[1]
        read_peft_adapter(directory, max_rank=self._max_rank)
        adapter = Adapter(name=name, path=str(directory.resolve()), digest=adapter_digest(directory))
        self._described[name] = signature, adapter
        return adapter

    def _scan(self) -> Iterator[str]:
        with contextlib.suppress(OSError), os.scandir(self._root) as entries:
            for entry in entries:
                path = Path(entry.path)
                if NAME.fullmatch(entry.name) and self._holds(path) and (path / CONFIG_FILE).is_file():
                    yield entry.name

    def _holds(self, path: Path) -> bool:
        """Whether something is there that lies in the directory, links followed."""
        try:
            return path.resolve(strict=True).is_relative_to(self._root)
        except (OSError, RuntimeError):
            return False


class AdapterEngine(EngineAround):
    """Leased as well: a model's engine, whose requests are answered with one adapter."""

    def __init__(self, engine: Engine, directory: AdapterDirectory, name: str) -> None:
        super().__init__(engine)
        self._directory = directory
        self._name = name

    async def generate(self, request: Request) -> AsyncGenerator[Event]:
        try:
            adapter = await asyncio.to_thread(self._directory.describe, self._name)
        except ModelError as error:
            raise InvalidRequest(f"The adapter {self._name} can't be used: {error}.", param="model") from error
        async with aclosing(self._engine.generate(msgspec.structs.replace(request, adapter=adapter))) as events:
            async for event in events:
                yield event

    async def embed(self, request: EmbedRequest) -> Embeddings:
        raise InvalidRequest("Adapters are for models that write text: embeddings have none.", param="model")

    def capabilities(self) -> Capabilities:
        """The model's; the fingerprint has the adapter's files in it, so that what is kept of its answers ends with them."""
        found = self._engine.capabilities()
        try:
            digest = self._directory.describe(self._name).digest
        except (ModelError, ModelNotFound):
            return found  # and ``generate`` says why
        return with_adapter(found, digest)

    def lease(self) -> AbstractAsyncContextManager[None]:
        return self._engine.lease() if isinstance(self._engine, Leased) else contextlib.nullcontext()

    def load_seconds(self) -> Mapping[str, tuple[int, float]]:
        return self._engine.load_seconds() if isinstance(self._engine, Leased) else {}

    async def aclose(self) -> None:
        """Does nothing: the engine is its model's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAdapters:
    """One model's adapters: ``aliases`` are more names, each with the adapter's that it stands for."""

    directory: AdapterDirectory
    aliases: Mapping[str, str]


class AdaptedEngines(Mapping[str, Engine]):
    """Implements AdapterNames: engines by their models' names and, looked up as ``model:adapter`` or by an alias, with adapters.

    ``adapters`` are by models' names; a model that has several may be in it with each, and its aliases count once. Raises
    ConfigError for an alias that is taken.
    """

    def __init__(self, engines: Mapping[str, Engine], adapters: Mapping[str, ModelAdapters]) -> None:
        self._engines = engines
        self._adapters = adapters
        self._made: dict[tuple[str, str], AdapterEngine] = {}
        self._aliases: dict[str, tuple[str, str]] = {}
        for model, one in adapters.items():
            for alias, adapter in one.aliases.items():
                known = self._aliases.setdefault(alias, (model, adapter))
                if alias in engines or adapters[known[0]] is not one:
                    raise ConfigError(f"engine.adapter_aliases: {alias} is the name of something else already")

    def __getitem__(self, name: str) -> Engine:
        if name in self._engines:
            return self._engines[name]
        model, adapter = self._parts(name)
        directory = self._adapters[model].directory
        if adapter not in directory:
            raise KeyError(name)
        if (model, adapter) not in self._made:
            self._made[model, adapter] = AdapterEngine(self._engines[model], directory, adapter)
        return self._made[model, adapter]

    def __iter__(self) -> Iterator[str]:
        return iter(self._engines)

    def __len__(self) -> int:
        return len(self._engines)

    def adapter_names(self) -> list[str]:
        names = [f"{model}:{name}" for model, one in self._adapters.items() for name in sorted(one.directory.names())]
        aliases = [alias for alias, (model, name) in self._aliases.items() if name in self._adapters[model].directory]
        return names + aliases

    def base_of(self, name: str) -> str:
        return name if name in self._engines else self._parts(name)[0]

    def _parts(self, name: str) -> tuple[str, str]:
        if name in self._aliases:
            return self._aliases[name]
        model, _, adapter = name.rpartition(":")
        if model not in self._adapters:
            raise KeyError(name)
        return model, adapter
