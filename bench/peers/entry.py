"""What to measure as users write it: a peer, a URL or a command, as key=value pairs or as the entry of a file."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import msgspec

from pennyweight.server.errors import ConfigError

from .base import Peer
from .llama_cpp import LlamaCpp, tokens_that_fit
from .pennyweight import Pennyweight
from .shell_command import PORT, ShellCommand
from .target import Target
from .vllm import Vllm

PeerName = Literal["native", "on-vllm", "vllm", "llama.cpp"]
PEERS: tuple[str, ...] = get_args(PeerName)
SWITCHES = {"on": True, "off": False, "yes": True, "no": False, "true": True, "false": False}
URLS = ("http://", "https://")
COMMAND = "command="
GIB = 1024**3


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of ``peer``, ``url`` and ``command`` says what is measured; the first and the last are started for each round.

    ``native`` is Pennyweight, ``on-vllm`` Pennyweight on vLLM's engine. ``model`` is the directory that a peer serves in
    place of everyone's, and elsewhere how the server calls what it is asked for. ``options`` are further ones of a peer's
    command, written as for a shell; ``dtype`` and ``eager`` (no compilation) are those of Pennyweight and vLLM,
    ``gguf`` is llama.cpp's file. A command's ``{port}`` is the port that it is to serve on; its ``ready_path`` answers 200
    once it takes requests.
    """

    name: str = ""
    peer: PeerName | None = None
    url: str | None = None
    command: str | None = None
    ready_path: str | None = None
    model: str | None = None
    api_key_env: str | None = None
    dtype: str = "bfloat16"
    eager: bool = False
    prefix_cache: bool = True
    gguf: str | None = None
    options: str = ""


E = TypeVar("E", bound=Entry)


class Serving(msgspec.Struct, frozen=True):
    """What peers are started with: a model's directory, vLLM's Python, the size of each KV cache, llama.cpp's server, and
    for how many requests at once that divides its cache.
    """

    model: Path | None
    vllm_python: Path | None
    kv_cache_gib: int
    llama_server: Path | None = None
    streams: int = 1
    ready_path: str = "/v1/models"  # of a command that names none


def parse_pairs(text: str, kind: type[E], where: str) -> E:
    """``name=int8,peer=native,dtype=int8,prefix_cache=off``. A command comes last, for it may have commas. Raises ConfigError."""
    found: dict[str, Any] = {}
    head, mark, command = text.partition(COMMAND) if text.startswith(COMMAND) else text.partition("," + COMMAND)
    if mark:
        found["command"] = command
    for part in head.split(",") if head else ():
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"{where}: {part!r} is not of the form key=value")
        if key.strip() in found:
            raise ConfigError(f"{where}: {key.strip()} comes twice")
        found[key.strip()] = SWITCHES.get(value.strip().lower(), value.strip())
    return as_entry(found, kind, where)


def as_entry(found: object, kind: type[E], where: str) -> E:
    """The entry of these keys. Raises ConfigError."""
    try:
        return msgspec.convert(found, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {error} (a configuration has {', '.join(kind.__struct_fields__)})") from None


def target(entry: Entry, serving: Serving) -> Target:
    """What an entry asks to measure, named after what it is where it has no name. Raises ConfigError."""
    called = f"configuration {entry.name}" if entry.name else "a configuration"
    if sum(one is not None for one in (entry.peer, entry.url, entry.command)) != 1:
        raise ConfigError(f"{called}: name a peer ({', '.join(PEERS)}), a url or a command, one of them")
    if entry.url is not None:
        return Target(name=entry.name or entry.url, url=entry.url, model=entry.model, api_key_env=entry.api_key_env)
    if entry.command is not None:
        if PORT not in entry.command:
            raise ConfigError(f"{called}: {entry.command!r} has no {PORT}, which stands for the port to serve on")
        command = ShellCommand(entry.command, entry.ready_path or serving.ready_path)
        return Target(name=entry.name or entry.command, peer=command, model=entry.model, api_key_env=entry.api_key_env)
    peer = _peer(entry, serving, called)
    cache = "" if entry.prefix_cache else " without prefix cache"
    return Target(name=entry.name or f"{peer.name} {peer.variant}{cache}", peer=peer)


def parse_target(text: str, serving: Serving) -> Target:
    """What an argument asks to measure: a URL, key=value pairs, or a command with ``{port}`` in it. Raises ConfigError."""
    if text.startswith(URLS):
        return target(Entry(url=text), serving)
    if text.partition("=")[0].strip() in Entry.__struct_fields__:
        return target(parse_pairs(text, Entry, text), serving)
    if PORT in text:
        return target(Entry(command=text), serving)
    raise ConfigError(
        f"{text!r} is no server to measure: write a URL (http://127.0.0.1:8000), peer=native,dtype=int8 "
        f"(peers are {', '.join(PEERS)}), or a command with {PORT} in it"
    )


def _peer(entry: Entry, serving: Serving, called: str) -> Peer:
    model = Path(entry.model) if entry.model else serving.model
    if model is None:
        raise ConfigError(f"{called}: a peer wants --model, the directory of what it serves")
    # Each server has a working directory of its own.
    model, options = model.absolute(), tuple(shlex.split(entry.options))
    if entry.peer == "llama.cpp":
        if serving.llama_server is None or entry.gguf is None:
            raise ConfigError(f"{called}: llama.cpp wants --llama-server, its binary, and gguf, the file to serve")
        cache_tokens = tokens_that_fit(model, serving.kv_cache_gib * GIB)
        binary, gguf = serving.llama_server.absolute(), Path(entry.gguf).absolute()
        return LlamaCpp(binary, gguf, cache_tokens, serving.streams, options=options)
    if entry.peer != "native" and serving.vllm_python is None:
        raise ConfigError(f"{called}: vLLM wants --vllm-python, the Python that it is installed for")
    if entry.peer == "vllm" and serving.vllm_python is not None:
        return Vllm(
            serving.vllm_python,
            model,
            model.name if entry.model else entry.dtype,
            serving.kv_cache_gib,
            eager=entry.eager,
            dtype=entry.dtype,
            prefix_caching=entry.prefix_cache,
            # So that its usage tells what its prefix cache did, as ours does.
            options=("--enable-prompt-tokens-details", *options),
        )
    return Pennyweight(
        model,
        entry.dtype,
        serving.kv_cache_gib,
        vllm_python=serving.vllm_python if entry.peer == "on-vllm" else None,
        eager=entry.eager,
        prefix_caching=entry.prefix_cache,
        options=options,
    )
