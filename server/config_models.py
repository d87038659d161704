"""The models of a configuration file, and the aliases that stand for them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from .config import EngineSettings, FaqSettings, ModelSettings, Settings, TemplateSettings, TokenPrice, UpstreamSettings
from .config_rules import check_rules
from .config_values import converted, did_you_mean
from .errors import ConfigError
from .strict_yaml import Document

_T = TypeVar("_T", FaqSettings, TemplateSettings)

MODELS, ALIASES = "models", "aliases"
UPSTREAM, FAQ, TEMPLATE = "upstream", "faq", "template"


def load_models(file: Path, document: Document, base: EngineSettings) -> dict[str, ModelSettings]:
    """The section ``models``: by each name, the settings of its engine; what one doesn't say is as ``base`` has it.

    Raises ConfigError.
    """
    section = (document.value or {}).get(MODELS) or {}
    if not isinstance(section, dict):
        raise ConfigError(f"the section {MODELS} of {file} must be models, each a name with settings")
    found = {}
    for name, given in section.items():
        place = document.place(file, MODELS, str(name))
        if not isinstance(name, str) or not isinstance(given, dict):
            raise ConfigError(f"{place} must give {MODELS} names, and each settings")
        own, where = dict(given), f"{place} {MODELS}.{name}"
        kind = own.pop("engine", base.kind)
        if kind == UPSTREAM:
            price = _price(own, where)
            found[name] = ModelSettings(upstream=_upstream(own, where), price=price)
            continue
        if kind == FAQ:
            price = _price(own, where)
            faq = _written(FaqSettings, own, where, "documents", "a list of files")
            found[name] = ModelSettings(faq=faq, price=price)
            continue
        if kind == TEMPLATE:
            price = _price(own, where)
            template = _written(TemplateSettings, own, where, "text", "what it answers")
            found[name] = ModelSettings(template=template, price=price)
            continue
        if "model" not in own:
            raise ConfigError(f"{place} must give {MODELS}.{name} a model")
        if not isinstance(pinned := own.pop("pinned", False), bool):
            raise ConfigError(f"{where}.pinned must be true or false")
        price = _price(own, where)
        level = converted(ModelSettings, "sleep_level", own.pop("sleep_level", None), f"{where}.sleep_level")
        values = _values(EngineSettings, own, where, ("engine", "pinned", "sleep_level", "price"))
        engine = msgspec.structs.replace(base, **({"served_model_name": ()} | values), kind=kind)
        settings = (f"engine.{setting}" for setting in EngineSettings.__struct_fields__)
        check_rules(Settings(engine=engine), dict.fromkeys(settings, f"{MODELS}.{name} in {file}"))
        found[name] = ModelSettings(local=engine, pinned=pinned, sleep_level=level, price=price)
    return found


def _price(own: dict[str, Any], where: str) -> str | TokenPrice | None:
    """Takes the price out of a model's settings."""
    given = own.pop("price", None)
    try:
        price = msgspec.convert(given, str | TokenPrice | None, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"{where}.price must be the id of a model in the price book, or input and output in dollars for a million tokens: {error}"
        ) from None
    if isinstance(price, TokenPrice) and not all(
        0 <= one < math.inf for one in (price.input, price.output, price.cached_input or 0.0)
    ):
        raise ConfigError(f"{where}.price must be numbers of at least 0")
    return price


def _upstream(own: Mapping[str, Any], where: str) -> UpstreamSettings:
    if "base_url" not in own:
        raise ConfigError(f"{where}: an upstream needs a base_url, such as https://example.com/v1")
    values = _values(UpstreamSettings, own, where, ("engine", "price"))
    try:
        return msgspec.convert(values, UpstreamSettings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where} can't be used: {error}") from error


def _written(kind: type[_T], own: Mapping[str, Any], where: str, needed: str, what: str) -> _T:
    if needed not in own:
        raise ConfigError(f"{where} must have {needed}: {what}")
    return kind(**_values(kind, own, where, ("engine",)))


def _values(kind: type[msgspec.Struct], own: Mapping[str, Any], where: str, more: Sequence[str]) -> dict[str, Any]:
    """A model's own settings, each of its type. ``more`` are names that it may have beside those of ``kind``."""
    known = (*kind.__struct_fields__, *more)
    for setting in own:
        if setting not in known:
            raise ConfigError(f"{where} has an unknown setting {setting}{did_you_mean(setting, known)}")
    return {setting: converted(kind, setting, value, f"{where}.{setting}") for setting, value in own.items()}


def load_aliases(file: Path, document: Document) -> dict[str, str]:
    """The section ``aliases``. Raises ConfigError."""
    section = (document.value or {}).get(ALIASES) or {}
    try:
        return msgspec.convert(section, dict[str, str])
    except msgspec.ValidationError:
        raise ConfigError(f"the section {ALIASES} of {file} must be aliases, each with the name of a model") from None
