"""Settings: frozen, one struct per concern, loaded once from defaults, a YAML file, the environment and the command line."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from .config_record import RecordSettings
from .config_routing import CascadeSettings, Rule


class HttpSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where and for whom the server listens. Times are in seconds."""

    host: str = "127.0.0.1"
    port: int = 8000
    api_keys: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    grace_period: float = 30.0
    header_timeout: float = 15.0
    body_timeout: float = 60.0
    write_timeout: float = 60.0
    keep_alive: float = 65.0
    max_header_bytes: int = 64 * 1024
    max_connections: int = 4096


class LimitSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one request may ask for. Going over is a 400 that names the parameter (413 for the body)."""

    max_body_bytes: int = 8 * 1024 * 1024
    max_json_depth: int = 64
    max_json_values: int = 256 * 1024
    max_messages: int = 2048
    max_prompts: int = 64
    max_embedding_inputs: int = 2048
    max_n: int = 16
    max_stop: int = 16
    max_stop_length: int = 256
    max_stop_token_ids: int = 64
    max_logit_bias: int = 1024
    max_top_logprobs: int = 20
    max_tools: int = 128
    max_schema_bytes: int = 64 * 1024
    max_choices: int = 4096
    constraint_compile_seconds: float = 5.0
    max_waiting: int = 1024
    max_metadata: int = 16


class EngineSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One model and how an engine on this machine runs it. None means: decided from the model and the machine.

    ``kind`` is the engine: native (for embedding models the encoder), encoder, vllm or tensorrt_llm; ``engine_args`` are a library's own arguments, by its names, and
    ``python`` is the interpreter of an environment that has the library, where that isn't the server's own.
    ``adapters_dir`` holds LoRA adapters, each a directory in peft's format (None: none are served), of which ``max_loras`` are
    kept ready at a time; ``adapter_aliases`` are more names for some of them. ``deterministic`` is the mode for requests that ask for
    none (see ``types.Determinism``), which the engine must be able to honour. ``kernels`` are the device's own where there are any, or
    PyTorch's. With ``allow_failed_gate`` weights are served whose
    manifest says that they failed their quality gate.
    """

    kind: str = "native"
    engine_args: dict[str, Any] = msgspec.field(default_factory=dict)
    python: str | None = None
    model: str = "smollm2-135m-instruct"
    served_model_name: tuple[str, ...] = ()
    dtype: str = "auto"
    kv_cache_dtype: str = "auto"
    device: str = "auto"
    kernels: Literal["auto", "torch"] = "auto"
    max_model_len: int | None = None
    kv_cache_memory: int | None = None
    block_size: int = 16
    max_num_seqs: int = 64
    max_num_batched_tokens: int | None = None
    enable_prefix_caching: bool = True
    enforce_eager: bool = False
    threads: int | None = None
    chat_template: str | None = None
    tool_call_parser: str | None = None
    generation_config: str = "auto"
    adapters_dir: str | None = None
    adapter_aliases: dict[str, str] = msgspec.field(default_factory=dict)
    max_loras: int = 8
    max_lora_rank: int = 64
    deterministic: Literal["off", "seeded", "bitwise"] = "off"
    allow_failed_gate: bool = False
    stall_seconds: float = 30.0
    start_timeout: float = 600.0


class UpstreamSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model that another server answers for, over the OpenAI API. Times are in seconds.

    ``base_url`` ends as the ``openai`` client's does, mostly in /v1. ``model`` is the upstream's name of the model, None
    for the one that the client gave. ``dialect`` is what may be sent: ``openai`` for OpenAI's own parameters alone,
    ``vllm`` for those that vLLM and this server take beside them. The key comes from a variable or a file; ``headers``
    and ``parameters`` are added to every request, in the place of what would be sent otherwise.

    ``first_token_timeout`` begins when the request is sent, ``token_timeout`` with each token. ``retry_budget`` is how many
    retries there may be for each request, taken over all of them. ``check_interval`` is between two questions whether the
    upstream is there; after ``failures_to_open`` failures in a row it is asked nothing else. What a
    ``private`` one is sent does not leave the operator's own machines. ``deterministic`` is what the operator knows of it: ``seeded`` where its
    choices follow from the seed.
    """

    base_url: str
    model: str | None = None
    dialect: Literal["openai", "vllm"] = "openai"
    tools: bool = True
    max_model_len: int | None = None
    api_key_env: str | None = None
    api_key_file: str | None = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    parameters: dict[str, Any] = msgspec.field(default_factory=dict)
    connect_timeout: float = 5.0
    first_token_timeout: float = 120.0
    token_timeout: float = 60.0
    max_connections: int = 256
    max_event_bytes: int = 1024 * 1024
    max_retries: int = 2
    retry_budget: float = 0.1
    max_retry_after: float = 10.0
    check_interval: float = 15.0
    failures_to_open: int = 5
    private: bool = False
    deterministic: Literal["off", "seeded"] = "off"


class TokenPrice(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """US dollars for a million tokens; ``cached_input`` for those of the prompt that come from the prefix cache (None: as ``input``)."""

    input: float
    output: float
    cached_input: float | None = None


class FaqSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model that answers from FAQ ``documents`` (.jsonl, .csv, .md) and has no weights. Fields of its ``template`` are answer, question,
    id, tags and document. An entry that scores below ``threshold`` is no answer: 1 is about a question that has all the words.
    ``check_interval`` is between two looks whether a document has changed, in seconds.
    """

    documents: tuple[str, ...]
    template: str = "{answer}"
    threshold: float = 0.5
    check_interval: float = 5.0


class TemplateSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model that gives one ``text`` to all, with the fields model, date, request_id and, if it is set, ``retry_after`` (seconds)."""

    text: str
    retry_after: int | None = None


class ModelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One of several models: on this machine (``local``), another server's (``upstream``), or answers without a model (``faq``,
    ``template``). A ``pinned`` one stays loaded.

    One with a ``sleep_level`` is put to sleep where others are unloaded, as far as its engine can: at level 1 its weights are kept
    in the host's memory, at level 2 its process alone. ``price`` is what its tokens cost, or the id of a model in the price book.
    """

    local: EngineSettings | None = None
    upstream: UpstreamSettings | None = None
    faq: FaqSettings | None = None
    template: TemplateSettings | None = None
    pinned: bool = False
    sleep_level: Literal[1, 2] | None = None
    price: str | TokenPrice | None = None


class TenantSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One who uses the server, known by API keys that are kept as digests (``sha256:`` and 64 hexadecimal digits).

    Only with ``data_may_leave`` requests go to upstreams that are not ``private``. ``tiers`` are those that may be asked for; None is all.
    """

    api_keys: tuple[str, ...]
    data_may_leave: bool = False
    tiers: tuple[str, ...] | None = None


class TierSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Models that will do for one kind of request, and those to fall back to, in their order, when none of them answers.

    ``ttft`` and ``total`` are the seconds within which the first token and the whole answer are wanted, ``tpot`` those for each token
    after the first; they order the models. A model that has given no token after ``first_token_timeout`` is left for the next. When no model
    answers, a kept answer is given whose time in the response cache was over ``stale_if_error`` seconds ago at most (None: none).
    Of requests that wait, those of the lower ``priority`` go first. ``deterministic`` is the mode for requests that ask for none; models
    that don't honour it are then passed over.
    """

    models: tuple[str, ...]
    fallbacks: tuple[str, ...] = ()
    ttft: float | None = None
    tpot: float | None = None
    total: float | None = None
    first_token_timeout: float | None = None
    stale_if_error: float | None = None
    priority: int = 0
    deterministic: Literal["off", "seeded", "bitwise"] | None = None


class RouterSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How requests for ``auto`` find their tier and their model.

    The first of ``rules`` that holds says where a request goes; else ``policy`` decides between the two tiers ``between``, the weaker first: ``length`` by the prompt's characters (``long_prompt`` and
    more are for the stronger), ``learned`` by the router in the directory ``learned``, which gives the stronger ``strong_share`` (a
    half) of them, or as few as keep ``quality`` of its own; ``cascade`` has the weaker answer, and the stronger where ``cascade`` is not sure of
    that; ``default`` leaves all to ``default_tier`` (None: the first). ``order`` is what counts among a tier's models, the first thing
    first. ``data_may_leave`` is for requests of no named tenant. For each request there may be ``fallback_budget`` of a second try, taken
    over all of them; a model that failed ``failures_to_open`` times in a row rests for ``reset_seconds``.
    """

    default_tier: str | None = None
    rules: tuple[Rule, ...] = ()
    policy: Literal["default", "length", "learned", "cascade"] = "default"
    between: tuple[str, str] | None = None
    long_prompt: int = 1000
    learned: str | None = None
    strong_share: float | None = None
    quality: float | None = None
    cascade: CascadeSettings = msgspec.field(default_factory=CascadeSettings)
    order: tuple[Literal["affinity", "slo", "price", "load"], ...] = ("affinity", "slo", "price", "load")
    data_may_leave: bool = False
    fallback_budget: float = 0.2
    failures_to_open: int = 5
    reset_seconds: float = 10.0


class ResidencySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How several models share the memory. Without a ``memory_budget`` (bytes) all are loaded at the start and stay.

    With one they are loaded on demand. ``max_queue`` requests may wait for a model to be loaded; it then stays for at least
    ``min_residence`` seconds; after ``idle_timeout`` seconds without a request (None: never) it is unloaded, or put to sleep.
    """

    memory_budget: int | None = None
    max_queue: int = 256
    min_residence: float = 5.0
    idle_timeout: float | None = None


class AdminSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where operators reach a running server. Off without a ``port``; the server's API keys count there too.

    ``state_file`` keeps what aliases were promoted to for the next start.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    state_file: str | None = None


class ResponseCacheSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The response cache: whole answers, given again to the same tenant's same request for ``ttl`` seconds.

    ``max_bytes`` is what they may take in memory; 0 is no cache. ``store`` is the URL of where they are kept beside that, in a file of
    SQLite's (of ``store_max_bytes``) or in Redis, encrypted by the key in ``key_file`` where there is one; a lookup there may take
    ``store_timeout`` seconds.
    """

    max_bytes: int = 0
    ttl: float = 3600.0
    store: str | None = None
    store_max_bytes: int = 1 << 30
    store_timeout: float = 0.05
    key_file: str | None = None


class OverloadSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What happens when more comes than the engines can do.

    ``adaptive`` keeps what an engine can't start on yet in a line here, in the order of its classes, and not in the engine.
    ``max_wait`` is how many seconds a request may be expected to wait in it; one that would wait longer is refused at once. None
    refuses nothing before ``limits.max_waiting`` are waiting. ``max_tpot`` is how many seconds there may be between two tokens of an
    answer: an engine that gets slower than that works on fewer at a time. None leaves that to the engine.
    """

    adaptive: bool = True
    max_wait: float | None = None
    max_tpot: float | None = None


class SemanticCacheSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The semantic cache: answers to what the same tenant asked in other words. Off without ``tenants`` ("*" is all) and an ``embedder``,
    a model of this server or an alias that makes embeddings, which has ``embed_timeout`` seconds for a text.

    At most ``bound`` of ``bound_over`` get a wrong answer; what would be answered is generated and judged all the same for
    ``audit_share`` of it. With ``strict`` the bound over requests holds by these audits alone. ``judge`` is ``exact``, ``model:NAME`` or
    ``function:MODULE:NAME``. Texts of a cosine below ``least_cosine`` are not looked at. ``index`` is ``memory``, or the URL of
    a PostgreSQL with pgvector.
    """

    tenants: tuple[str, ...] = ()
    embedder: str | None = None
    embed_timeout: float = 0.25
    bound: float = 0.01
    bound_over: Literal["requests", "hits"] = "requests"
    audit_share: float = 0.1
    strict: bool = False
    judge: str = "exact"
    least_cosine: float = 0.7
    max_entries: int = 10_000
    max_bytes: int = 256 * 1024 * 1024
    ttl: float = 3600.0
    index: str = "memory"


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is logged. ``prompts`` puts the text of prompts and answers into the log; off by default."""

    level: str = "info"
    format: str = "json"
    prompts: bool = False


class TelemetrySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What /metrics tells of the devices. They are asked every ``interval`` seconds; 0 asks them nothing.

    ``dollars_per_hour`` is what the machine costs, for the price of its tokens. ``peak_flops`` (a second, at the precision that is
    served) and ``peak_bandwidth`` (bytes a second) are what MFU and MBU are shares of; None takes them from the table of
    cards, and gives neither for what is not in it.
    """

    interval: float = 1.0
    dollars_per_hour: float | None = None
    peak_flops: float | None = None
    peak_bandwidth: float | None = None


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything the server reads at its start.

    ``models`` are by the names that clients give; none means the one of ``engine``. ``aliases`` are further names, each of a
    model, that are moved from one version to the next while the server runs. ``tiers`` and ``tenants`` are by names of
    the operator's own.
    """

    http: HttpSettings = msgspec.field(default_factory=HttpSettings)
    limits: LimitSettings = msgspec.field(default_factory=LimitSettings)
    engine: EngineSettings = msgspec.field(default_factory=EngineSettings)
    response_cache: ResponseCacheSettings = msgspec.field(default_factory=ResponseCacheSettings)
    overload: OverloadSettings = msgspec.field(default_factory=OverloadSettings)
    semantic_cache: SemanticCacheSettings = msgspec.field(default_factory=SemanticCacheSettings)
    log: LogSettings = msgspec.field(default_factory=LogSettings)
    record: RecordSettings = msgspec.field(default_factory=RecordSettings)
    telemetry: TelemetrySettings = msgspec.field(default_factory=TelemetrySettings)
    residency: ResidencySettings = msgspec.field(default_factory=ResidencySettings)
    admin: AdminSettings = msgspec.field(default_factory=AdminSettings)
    router: RouterSettings = msgspec.field(default_factory=RouterSettings)
    models: dict[str, ModelSettings] = msgspec.field(default_factory=dict)
    tiers: dict[str, TierSettings] = msgspec.field(default_factory=dict)
    tenants: dict[str, TenantSettings] = msgspec.field(default_factory=dict)
    aliases: dict[str, str] = msgspec.field(default_factory=dict)
