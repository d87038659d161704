"""Where settings come from: defaults, then a YAML file, then the environment, then the command line; the last one counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from .config import Settings
from .config_models import ALIASES, MODELS, load_aliases, load_models
from .config_named import TENANTS, TIERS, check_tiers, load_tenants, load_tiers
from .config_rules import check_rules
from .config_values import converted, did_you_mean
from .errors import ConfigError
from .strict_yaml import Document, read_yaml

PREFIX = "PENNYWEIGHT_"
# Variables that are no settings: read by the model store, by the CPU's kernels and their build, and by `pennyweight models` and `prices`.
ADMIN_URL_VARIABLE = "PENNYWEIGHT_ADMIN_URL"
PRICES_VARIABLE = "PENNYWEIGHT_PRICES"
OTHER_VARIABLES = (
    "PENNYWEIGHT_CACHE",
    "PENNYWEIGHT_CPU_ISA",
    "PENNYWEIGHT_KERNELS",
    ADMIN_URL_VARIABLE,
    PRICES_VARIABLE,
)
API_KEY_VARIABLE = "PENNYWEIGHT_API_KEY"

# Sections of names that are the operator's own.
NAMED = (MODELS, ALIASES, TIERS, TENANTS)
SECTIONS: Mapping[str, type[msgspec.Struct]] = {
    field.name: field.type for field in msgspec.structs.fields(Settings) if field.name not in NAMED
}


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Settings, and for each (as ``section.name``) that is not the default what has set it."""

    settings: Settings
    sources: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Given:
    section: str
    name: str
    value: Any
    source: str
    adds: bool = False


def load_settings(
    file: Path | None, environment: Mapping[str, str], overrides: Mapping[tuple[str, str], tuple[Any, str]]
) -> LoadedSettings:
    """The settings that a start has. ``overrides`` maps (section, name) to a value and the flag that gave it.

    Raises ConfigError, which names the setting, where it was given and what would be right, but never a key.
    """
    document = Document(None, {}) if file is None else read_yaml(file)
    given = [
        *_from_file(file, document),
        *_from_environment(environment),
        *(_Given(section, name, value, flag) for (section, name), (value, flag) in overrides.items()),
    ]
    values: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    sources: dict[str, str] = {}
    for one in given:
        setting, value, source = f"{one.section}.{one.name}", _value(one), one.source
        if one.adds and setting in sources:
            value, source = (*values[one.section][one.name], *value), f"{sources[setting]}, {source}"
        values[one.section][one.name] = value
        sources[setting] = source
    sections: dict[str, Any] = {section: kind(**values[section]) for section, kind in SECTIONS.items()}
    settings = msgspec.convert(sections, Settings)
    check_rules(settings, sources)
    if file is not None:
        models, aliases = load_models(file, document, settings.engine), load_aliases(file, document)
        tiers, tenants = load_tiers(file, document), load_tenants(file, document)
        settings = msgspec.structs.replace(settings, models=models, aliases=aliases, tiers=tiers, tenants=tenants)
        for section in NAMED:
            sources |= {f"{section}.{name}": str(file) for name in getattr(settings, section)}
    if settings.models and sources.get("engine.model") == "MODEL":
        raise ConfigError(f"{file} names models of its own: leave out MODEL, or the section models")
    check_tiers(settings)
    if settings.residency.memory_budget is not None and not settings.models:
        raise ConfigError(
            f"residency.memory_budget (from {sources['residency.memory_budget']}) is for several models: name them in the "
            "section models of a file for --config"
        )
    return LoadedSettings(settings, sources)


def _from_file(file: Path | None, document: Document) -> Iterable[_Given]:
    read = document.value
    if file is None or read is None:
        return
    if not isinstance(read, dict):
        raise ConfigError(f"the configuration {file} must be sections: {', '.join((*SECTIONS, *NAMED))}")
    for section, settings in read.items():
        if section in NAMED:
            continue  # see config_models and config_named
        if section not in SECTIONS:
            raise ConfigError(
                f"{document.place(file, section)} has an unknown section {section!r}{did_you_mean(section, (*SECTIONS, *NAMED))}"
            )
        if not isinstance(settings, dict):
            raise ConfigError(f"the section {section} of {file} must be settings, each a name with a value")
        for name, value in settings.items():
            if name not in _names(section):
                raise ConfigError(
                    f"{document.place(file, section, name)} has an unknown setting "
                    f"{section}.{name}{did_you_mean(name, _names(section))}"
                )
            yield _Given(section, name, value, str(file))


def _from_environment(environment: Mapping[str, str]) -> Iterable[_Given]:
    variables = {
        f"{PREFIX}{section}__{name}".upper(): (section, name) for section in SECTIONS for name in _names(section)
    }
    others = (*OTHER_VARIABLES, API_KEY_VARIABLE)
    for variable, value in sorted(environment.items()):
        if not variable.startswith(PREFIX) or variable in others:
            continue
        if variable not in variables:
            known = (*variables, *others)
            raise ConfigError(f"the environment has an unknown setting {variable}{did_you_mean(variable, known)}")
        # An empty variable is one that is not set: a secret that a deployment failed to fill in must not open the server.
        if value.strip():
            yield _Given(*variables[variable], value, variable)
    if (value := environment.get(API_KEY_VARIABLE, "")).strip():
        yield _Given("http", "api_keys", value, API_KEY_VARIABLE, adds=True)


def _names(section: str) -> tuple[str, ...]:
    return SECTIONS[section].__struct_fields__


def _value(given: _Given) -> Any:
    where = f"{given.section}.{given.name} (from {given.source})"
    return converted(SECTIONS[given.section], given.name, given.value, where)
