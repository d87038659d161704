"""The way of a request as the settings make it, for people: what ``explain-config`` prints."""

from __future__ import annotations

from .auth import PUBLIC_PATHS
from .cache.open_cache import shown_store
from .config import (
    FaqSettings,
    OverloadSettings,
    ResponseCacheSettings,
    SemanticCacheSettings,
    Settings,
    TemplateSettings,
    UpstreamSettings,
)
from .config_record import RecordSettings
from .model_names import AnyEngineSettings, described_models


def describe_pipeline(settings: Settings) -> list[str]:
    """The way of a request, a line for each station with its settings. Keys are counted, never shown."""
    http, limits = settings.http, settings.limits
    known = f"{len(http.api_keys)} API keys" + (f" and {len(settings.tenants)} tenants" if settings.tenants else "")
    asks = http.api_keys or settings.tenants
    keys = f"{known}, all but {', '.join(sorted(PUBLIC_PATHS))}" if asks else "open to all"
    return [
        f"connection: {http.host}:{http.port}, at most {http.max_connections}, header {http.max_header_bytes} bytes"
        f" within {http.header_timeout:g} s, unread answers {http.write_timeout:g} s, idle {http.keep_alive:g} s",
        f"cors: {', '.join(http.cors_origins) or 'off'}",
        f"auth: {keys}",
        f"admission: {limits.max_waiting} waiting, body {limits.max_body_bytes} bytes within {http.body_timeout:g} s",
        f"recording: {_described_recording(settings.record)}",
        *_described_routing(settings),
        f"response cache: {_described_cache(settings.response_cache)}",
        f"overload: {_described_overload(settings.overload)}",
        f"semantic cache: {_described_semantic_cache(settings.semantic_cache)}",
        *(f"model {', '.join(names)}: {_described(one)}" for names, one in described_models(settings)),
        f"shutdown: {http.grace_period:g} s for what is under way",
    ]


def _described_routing(settings: Settings) -> list[str]:
    router = settings.router
    if not settings.tiers:
        return ["router: off, for there are no tiers"]
    by = f"{router.policy} between {' and '.join(router.between)}" if router.between else router.policy
    if router.policy == "cascade":
        by += f", judged by {', '.join(router.cascade.judges)}"
    lines = [f"router: {by}, ordered by {', '.join(router.order)}, {router.fallback_budget:g} second tries a request"]
    for name, tier in settings.tiers.items():
        fallbacks = f", then {', '.join(tier.fallbacks)}" if tier.fallbacks else ""
        lines.append(f"tier {name}: {', '.join(tier.models)}{fallbacks}")
    return lines


def _described_recording(record: RecordSettings) -> str:
    if record.directory is None:
        return "off"
    whose = ", ".join(record.tenants) or "everybody"
    share = "" if record.share == 1 else f" ({record.share:.2%})"
    left_out = f", without {', '.join(record.redact)}" if record.redact else ""
    kept = "" if record.max_age is None else f" for {record.max_age:g} s"
    return (
        f"requests of {whose}{share} to {record.directory}{left_out}, {'in the clear' if record.key_file is None else 'encrypted'}, "
        f"at most {record.max_bytes} bytes{kept}; an answer waits {record.write_timeout:g} s for its record"
    )


def _described_cache(cache: ResponseCacheSettings) -> str:
    if not cache.max_bytes:
        return "off"
    kept = f"{cache.max_bytes} bytes"
    if cache.store is not None:
        sealed = "in the clear" if cache.key_file is None else "encrypted"
        kept += f", then {shown_store(cache.store)} {sealed} within {cache.store_timeout:g} s"
    return f"{kept}, answers of {cache.ttl:g} s at most, for requests that fix their answer or ask for it"


def _described_overload(overload: OverloadSettings) -> str:
    if not overload.adaptive:
        return "left to the engines' own queues"
    wait = "without a bound" if overload.max_wait is None else f"of {overload.max_wait:g} s at most"
    pace = "" if overload.max_tpot is None else f", {overload.max_tpot:g} s between tokens"
    return f"a line for each engine, better priorities first, waits {wait}{pace}"


def _described_semantic_cache(cache: SemanticCacheSettings) -> str:
    if not cache.tenants:
        return "off"
    return (
        f"{len(cache.tenants)} tenants, embedded by {cache.embedder}, wrong answers at most {cache.bound:.2%} of {cache.bound_over}, "
        f"judged by {cache.judge}, {cache.max_entries} answers of {cache.ttl:g} s at most, index {cache.index.partition('://')[0]}"
    )


def _described(model: AnyEngineSettings) -> str:
    if isinstance(model, UpstreamSettings):
        name = model.model or "by the name that the client gave"
        return f"upstream, {model.base_url}, {name}, {model.dialect} dialect, {model.max_connections} connections"
    if isinstance(model, FaqSettings):
        return f"faq, {', '.join(model.documents)}, from a score of {model.threshold:g} on"
    if isinstance(model, TemplateSettings):
        return f"template, a text of {len(model.text)} characters"
    adapters = f", adapters of {model.adapters_dir}" if model.adapters_dir else ""
    return f"{model.kind}, {model.model}, dtype {model.dtype}, device {model.device}, {model.max_num_seqs} at once{adapters}"
