"""The tiers and the tenants of a configuration file: sections of names that are the operator's own."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from .config import Settings, TenantSettings, TierSettings
from .config_values import converted, did_you_mean
from .errors import ConfigError
from .strict_yaml import Document

TIERS, TENANTS = "tiers", "tenants"
# The model that a client names who leaves the choice to the router; ``auto:TIER`` leaves it the choice within a tier.
AUTO = "auto"
# How who has a key and no name is called: see tenants.
KEY_PREFIX = "key:"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_T = TypeVar("_T", bound=msgspec.Struct)


def load_tiers(file: Path, document: Document) -> dict[str, TierSettings]:
    """The section ``tiers``. Raises ConfigError."""
    tiers = _load(file, document, TIERS, TierSettings)
    for name, tier in tiers.items():
        where = f"{document.place(file, TIERS, name)} {TIERS}.{name}"
        if not tier.models:
            raise ConfigError(f"{where} must have models")
        for setting in ("ttft", "tpot", "total", "first_token_timeout", "stale_if_error"):
            value = getattr(tier, setting)
            if value is not None and not 0 < value < 2**31:
                raise ConfigError(f"{where}.{setting} must be seconds, more than 0")
    return tiers


def load_tenants(file: Path, document: Document) -> dict[str, TenantSettings]:
    """The section ``tenants``. Raises ConfigError, which never shows what was given as a key."""
    tenants = _load(file, document, TENANTS, TenantSettings)
    seen: dict[str, str] = {}
    for name, tenant in tenants.items():
        where = f"{document.place(file, TENANTS, name)} {TENANTS}.{name}.api_keys"
        if not tenant.api_keys:
            raise ConfigError(f"{where} must have a key's digest, or nobody can be {name}")
        for digest in tenant.api_keys:
            if _DIGEST.fullmatch(digest) is None:
                raise ConfigError(
                    f"{where} must be digests of keys, each 'sha256:' and 64 hexadecimal digits: printf %s KEY | sha256sum"
                )
            if seen.setdefault(digest, name) != name:
                raise ConfigError(f"{where} has a key that {seen[digest]} has too; a key belongs to one tenant")
    return tenants


def check_tiers(settings: Settings) -> None:
    """Raise ConfigError for what tiers, tenants and the router's settings name and there isn't."""
    known = (*settings.models, *settings.aliases)
    for name, tier in settings.tiers.items():
        for setting in ("models", "fallbacks"):
            _check_known(getattr(tier, setting), known, f"{TIERS}.{name}.{setting}", "model")
        if tier.stale_if_error is not None and not settings.response_cache.max_bytes:
            raise ConfigError(
                f"{TIERS}.{name}.stale_if_error gives what the response cache has kept: set response_cache.max_bytes as well"
            )
    for name, tenant in settings.tenants.items():
        _check_known(tenant.tiers or (), settings.tiers, f"{TENANTS}.{name}.tiers", "tier")
    _check_known(
        (name for name in settings.record.tenants if name != "*" and not name.startswith(KEY_PREFIX)),
        settings.tenants,
        "record.tenants",
        "tenant",
    )
    router = settings.router
    _check_known(
        () if router.default_tier is None else (router.default_tier,), settings.tiers, "router.default_tier", "tier"
    )
    _check_known(router.between or (), settings.tiers, "router.between", "tier")
    in_tiers = [model for tier in settings.tiers.values() for model in tier.models]
    for place, rule in enumerate(router.rules, 1):
        _check_known(() if rule.tier is None else (rule.tier,), settings.tiers, f"router.rules, rule {place}", "tier")
        _check_known(
            () if rule.model is None else (rule.model,), in_tiers, f"router.rules, rule {place}", "model in a tier"
        )
    if settings.tiers and (taken := [name for name in known if name == AUTO or name.startswith(f"{AUTO}:")]):
        raise ConfigError(
            f"a model or an alias can't be called {taken[0]} where there are tiers: that name is for the router"
        )
    if router.policy != "default" and router.between is None:
        raise ConfigError(f"router.policy {router.policy} needs router.between: two tiers, the weaker first")
    if router.policy == "learned" and router.learned is None:
        raise ConfigError("router.policy learned needs router.learned: a directory made by `pennyweight router train`")


def _check_known(names: Iterable[str], known: Iterable[str], where: str, what: str) -> None:
    there = tuple(known)
    for name in names:
        if name not in there:
            raise ConfigError(f"{where}: there is no {what} {name}{did_you_mean(name, there) if there else ''}")


def _load(file: Path, document: Document, section: str, kind: type[_T]) -> dict[str, _T]:
    named = (document.value or {}).get(section) or {}
    if not isinstance(named, dict):
        raise ConfigError(f"the section {section} of {file} must be names, each with settings")
    return {
        str(name): _one(name, given, document.place(file, section, str(name)), section, kind)
        for name, given in named.items()
    }


def _one(name: object, given: Any, place: str, section: str, kind: type[_T]) -> _T:
    where = f"{place} {section}.{name}"
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise ConfigError(f"{where} can't be a name: letters, digits, '.', '_' and '-', 64 at most")
    if not isinstance(given, dict):
        raise ConfigError(f"{where} must have settings")
    known = kind.__struct_fields__
    for setting in given:
        if setting not in known:
            raise ConfigError(f"{where} has an unknown setting {setting}{did_you_mean(setting, known)}")
    values = {setting: converted(kind, setting, value, f"{where}.{setting}") for setting, value in given.items()}
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where} can't be used: {error}") from None
