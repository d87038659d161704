"""What a client may call a model: models under their own names, and aliases that are moved from one version to the next."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from .engines.base import Engine
from .errors import ConfigError, InvalidRequest, ModelNotFound

# How many earlier targets of an alias are remembered, to go back to.
MAX_HISTORY = 16


class Registry(Mapping[str, Engine]):
    """Engines by name. Moving an alias is one assignment: a request has the engine that its name meant when it came.

    Names never change after the start; what an alias means does. ``state_file`` keeps that for the next start; it counts
    before the configuration, as long as the models that it names are served. All methods belong to the event loop's thread.
    """

    def __init__(
        self, models: Mapping[str, Engine], aliases: Mapping[str, str], *, state_file: Path | None = None
    ) -> None:
        """Raises ConfigError for an alias that is a model's name, or that names no model."""
        for alias, model in aliases.items():
            if alias in models:
                raise ConfigError(f"aliases.{alias}: a model is called so already")
            if model not in models:
                raise ConfigError(f"aliases.{alias}: there is no model {model}; there are {', '.join(models)}")
        self._models = dict(models)
        self._history = {alias: [model] for alias, model in aliases.items()}
        self._state_file = state_file
        if state_file is not None and state_file.exists():
            self._restore(state_file)

    def __getitem__(self, name: str) -> Engine:
        history = self._history.get(name)
        return self._models[name if history is None else history[-1]]

    def __iter__(self) -> Iterator[str]:
        yield from self._models
        yield from self._history

    def __len__(self) -> int:
        return len(self._models) + len(self._history)

    @property
    def models(self) -> Mapping[str, Engine]:
        """The models under their own names."""
        return self._models

    @property
    def aliases(self) -> Mapping[str, str]:
        """What each alias means now."""
        return {alias: history[-1] for alias, history in self._history.items()}

    def promote(self, alias: str, model: str) -> str:
        """Have an alias mean another model from here on; returns what it meant. Raises ModelNotFound or InvalidRequest."""
        history = self._known(alias)
        if model not in self._models:
            raise ModelNotFound(f"There is no model {model}; there are {', '.join(self._models)}.", param="model")
        before = history[-1]
        if model != before:
            history.append(model)
            del history[:-MAX_HISTORY]
            self._save()
        return before

    def roll_back(self, alias: str) -> str:
        """Have an alias mean again what it meant before; returns that. Raises ModelNotFound or InvalidRequest."""
        history = self._known(alias)
        if len(history) == 1:
            raise InvalidRequest(f"The alias {alias} has meant nothing but {history[0]}.", param="alias")
        history.pop()
        self._save()
        return history[-1]

    def _known(self, alias: str) -> list[str]:
        if alias not in self._history:
            there = ", ".join(self._history) or "none"
            raise ModelNotFound(f"There is no alias {alias}; there are: {there}.", param="alias")
        return self._history[alias]

    def _restore(self, file: Path) -> None:
        try:
            found = msgspec.json.decode(file.read_bytes(), type=dict[str, list[str]])
        except (OSError, msgspec.DecodeError) as error:
            raise ConfigError(f"the registry's state {file} can't be read: {error}") from error
        for alias, history in found.items():
            served = [model for model in history if model in self._models]
            if alias in self._history and served:
                self._history[alias] = served

    def _save(self) -> None:
        if self._state_file is None:
            return
        self._state_file.parent.mkdir(parents=True, exist_ok=True)
        written = self._state_file.with_name(self._state_file.name + ".new")
        with written.open("wb") as file:
            file.write(msgspec.json.encode(self._history))
            file.flush()
            os.fsync(file.fileno())
        written.replace(self._state_file)
