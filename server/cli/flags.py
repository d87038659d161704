"""The flags of ``serve`` and ``explain-config``: one table, each entry a setting. Names are those that vLLM's users know."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from pennyweight.server.config import Settings
from pennyweight.server.config_file import LoadedSettings, load_settings

SERVER, MODEL, ENGINE, LOG = "Server", "Model", "Engine", "Log"


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag that sets ``section.setting``. ``type`` is what the command line reads; sizes are read as text."""

    names: tuple[str, ...]
    section: str
    setting: str
    type: Any
    help: str
    panel: str

    @property
    def variable(self) -> str:
        return f"{self.section}__{self.setting}"

    def parameter(self) -> inspect.Parameter:
        default = getattr(getattr(Settings(), self.section), self.setting)
        shown = "" if default is None or default == () else f" [dim]\\[default: {_shown(default)}][/]"
        option = typer.Option(*self.names, help=self.help + shown, rich_help_panel=self.panel, show_default=False)
        return inspect.Parameter(
            self.variable, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[self.type | None, option]
        )


FLAGS = (
    Flag(("--host",), "http", "host", str, "Address to listen on; 0.0.0.0 for every network.", SERVER),
    Flag(("--port",), "http", "port", int, "Port to listen on; 0 takes a free one.", SERVER),
    Flag(
        ("--api-key",),
        "http",
        "api_keys",
        list[str],
        "A key that clients must send; may be given several times. Better in $PENNYWEIGHT_API_KEY, which no process list shows.",
        SERVER,
    ),
    Flag(
        ("--allowed-origins",),
        "http",
        "cors_origins",
        list[str],
        "An origin whose web pages may call the server (CORS); may be given several times.",
        SERVER,
    ),
    Flag(
        ("--grace-period",), "http", "grace_period", float, "Seconds that running requests get after SIGTERM.", SERVER
    ),
    Flag(
        ("--admin-port",),
        "admin",
        "port",
        int,
        "Port for `pennyweight models` to manage the running server's models, on 127.0.0.1. By default there is none.",
        SERVER,
    ),
    Flag(
        ("--max-waiting",),
        "limits",
        "max_waiting",
        int,
        "Requests that may wait for the engine; further ones get a 429.",
        SERVER,
    ),
    Flag(
        ("--max-wait",),
        "overload",
        "max_wait",
        float,
        "Seconds that a request may be expected to wait for the engine; further ones get a 429 at once, with a Retry-After. By default "
        "there is no bound but --max-waiting.",
        SERVER,
    ),
    Flag(
        ("--max-tpot",),
        "overload",
        "max_tpot",
        float,
        "Seconds between two tokens that answers are to keep: where steps get longer, the engine works on fewer at a time.",
        SERVER,
    ),
    Flag(
        ("--adaptive-limit/--no-adaptive-limit",),
        "overload",
        "adaptive",
        bool,
        "Keep what the engine can't begin yet in a line before it, better priorities first, or in the engine's own queue.",
        SERVER,
    ),
    Flag(
        ("--response-cache",),
        "response_cache",
        "max_bytes",
        str,
        "Memory for answers that are given again, such as 256MiB. Used where the request fixes its answer (temperature 0, or a seed) "
        'or asks for it ("cache": true). By default there is none.',
        SERVER,
    ),
    Flag(
        ("--response-cache-ttl",),
        "response_cache",
        "ttl",
        float,
        "Seconds for which an answer is given again.",
        SERVER,
    ),
    Flag(
        ("--response-cache-store",),
        "response_cache",
        "store",
        str,
        "Where answers are kept beside the memory: sqlite:///PATH (sqlite:////PATH for an absolute one) or redis://HOST. By default nowhere.",
        SERVER,
    ),
    Flag(
        ("--record",),
        "record",
        "directory",
        str,
        "Directory to record requests and their answers in, to run them again. By default nothing is recorded.",
        SERVER,
    ),
    Flag(
        ("--served-model-name",),
        "engine",
        "served_model_name",
        list[str],
        "What clients call the model; may be given several times. By default the model's own name.",
        MODEL,
    ),
    Flag(
        ("--dtype",),
        "engine",
        "dtype",
        str,
        "auto, bfloat16, int8 (weights and activations) or float32. auto is bfloat16 on every machine.",
        MODEL,
    ),
    Flag(
        ("--kv-cache-dtype",),
        "engine",
        "kv_cache_dtype",
        str,
        "auto or int8: how keys and values are kept. auto is as they are computed; int8 has room for nearly twice the tokens.",
        MODEL,
    ),
    Flag(
        ("--kernels",),
        "engine",
        "kernels",
        str,
        "auto or torch: which kernels the native engine computes with. auto is Pennyweight's own where the device has them; torch is PyTorch's, slower, to compare with.",
        ENGINE,
    ),
    Flag(
        ("--max-model-len",),
        "engine",
        "max_model_len",
        int,
        "Longest context in tokens. By default the model's own, or what the KV cache holds.",
        MODEL,
    ),
    Flag(
        ("--chat-template",),
        "engine",
        "chat_template",
        str,
        "A file with a Jinja template, or the template itself, instead of the model's own.",
        MODEL,
    ),
    Flag(
        ("--tool-call-parser",),
        "engine",
        "tool_call_parser",
        str,
        "How the model writes tool calls: hermes, llama3 or mistral. By default found out from the model.",
        MODEL,
    ),
    Flag(
        ("--generation-config",),
        "engine",
        "generation_config",
        str,
        "Where sampling defaults come from: auto (the model), neutral (none), or a directory.",
        MODEL,
    ),
    Flag(
        ("--adapters-dir",),
        "engine",
        "adapters_dir",
        str,
        "A directory of LoRA adapters in peft's format, each a directory in it, served as MODEL:ADAPTER.",
        MODEL,
    ),
    Flag(("--max-loras",), "engine", "max_loras", int, "Adapters that are kept ready at a time.", MODEL),
    Flag(("--max-lora-rank",), "engine", "max_lora_rank", int, "Adapters of a higher rank are refused.", MODEL),
    Flag(
        ("--allow-failed-gate/--no-allow-failed-gate",),
        "engine",
        "allow_failed_gate",
        bool,
        "Serve quantised weights all the same whose manifest says that they failed their quality gate.",
        MODEL,
    ),
    Flag(
        ("--engine",),
        "engine",
        "kind",
        str,
        "native (Pennyweight's own), vllm or tensorrt_llm (where they are installed; see --engine-python).",
        ENGINE,
    ),
    Flag(
        ("--engine-args",),
        "engine",
        "engine_args",
        str,
        "More arguments for vLLM or TensorRT-LLM, by its own names, as JSON: '{\"gpu_memory_utilization\": 0.8}'.",
        ENGINE,
    ),
    Flag(
        ("--engine-python",),
        "engine",
        "python",
        str,
        "The Python of another environment that has the engine and Pennyweight. By default the server's own.",
        ENGINE,
    ),
    Flag(("--device",), "engine", "device", str, "auto (CUDA where there is a card), cpu, cuda or cuda:N.", ENGINE),
    Flag(
        ("--kv-cache-memory",),
        "engine",
        "kv_cache_memory",
        str,
        "Memory for the KV cache, such as 2GiB. By default from what is free: 0.4 of it and at most 4 GiB on a CPU, 0.9 on a GPU.",
        ENGINE,
    ),
    Flag(("--block-size",), "engine", "block_size", int, "Tokens in a block of the KV cache.", ENGINE),
    Flag(("--max-num-seqs",), "engine", "max_num_seqs", int, "Sequences that run at once.", ENGINE),
    Flag(
        ("--max-num-batched-tokens",),
        "engine",
        "max_num_batched_tokens",
        int,
        "Tokens in a step: decodes first, prompts in chunks of what is left. By default 128 on a CPU, 2048 on a GPU.",
        ENGINE,
    ),
    Flag(
        ("--enable-prefix-caching/--no-enable-prefix-caching",),
        "engine",
        "enable_prefix_caching",
        bool,
        "Keep the KV of prompts for later ones that begin alike.",
        ENGINE,
    ),
    Flag(("--enforce-eager/--no-enforce-eager",), "engine", "enforce_eager", bool, "Do without CUDA graphs.", ENGINE),
    Flag(
        ("--deterministic",),
        "engine",
        "deterministic",
        str,
        "For requests that ask for none: off, seeded (choices follow from the seed) or bitwise (every logit is the same to the bit).",
        ENGINE,
    ),
    Flag(
        ("--threads",), "engine", "threads", int, "Threads that compute on a CPU. By default all usable cores.", ENGINE
    ),
    Flag(
        ("--memory-budget",),
        "residency",
        "memory_budget",
        str,
        "Memory that all models together may take, such as 20GiB: they are then loaded on demand, and dropped for each other.",
        ENGINE,
    ),
    Flag(
        ("--stall-seconds",),
        "engine",
        "stall_seconds",
        float,
        "Seconds without a sign of life after which a busy engine is started again.",
        ENGINE,
    ),
    Flag(
        ("--dollars-per-hour",),
        "telemetry",
        "dollars_per_hour",
        float,
        "What this machine costs an hour: /metrics then has the price of a million tokens.",
        SERVER,
    ),
    Flag(("--log-level",), "log", "level", str, "debug, info, warning or error.", LOG),
    Flag(("--log-format",), "log", "format", str, "json, or console for people.", LOG),
    Flag(("--log-prompts/--no-log-prompts",), "log", "prompts", bool, "Put prompts and answers into the log.", LOG),
)
_MODEL = Annotated[
    str | None,
    typer.Argument(
        metavar="[MODEL]",
        help="A directory in Hugging Face format, a .gguf file, or a hub id. [dim]\\[default: smollm2-135m-instruct][/]",
        show_default=False,
    ),
]
_CONFIG = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="A YAML file of settings. What the environment (PENNYWEIGHT_HTTP__PORT=...) and flags say counts before it.",
        show_default=False,
    ),
]


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command every flag of the table: it gets the loaded settings as its first argument, before its own options."""
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]

    def run(model: str | None, config: Path | None, **given: Any) -> None:
        options = {parameter.name: given.pop(parameter.name) for parameter in own}
        command(_load(model, config, given), **options)

    positional = inspect.Parameter.KEYWORD_ONLY
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter("model", positional, default=None, annotation=_MODEL),
            inspect.Parameter("config", positional, default=None, annotation=_CONFIG),
            *(flag.parameter() for flag in FLAGS),
            *(parameter.replace(kind=positional) for parameter in own),
        ]
    )
    run.__annotations__ = {}
    run.__doc__ = command.__doc__
    run.__name__ = command.__name__
    return run


def _load(model: str | None, config: Path | None, given: Mapping[str, Any]) -> LoadedSettings:
    overrides = {
        (flag.section, flag.setting): (given[flag.variable], flag.names[0].partition("/")[0])
        for flag in FLAGS
        if given[flag.variable] not in (None, [])
    }
    if model is not None:
        overrides["engine", "model"] = model, "MODEL"
    return load_settings(config, os.environ, overrides)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
