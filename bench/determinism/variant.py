"""One way of serving a model, as a server to start."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from pennyweight.bench.result import own_version

NO_COMPILED_KERNELS = {"PENNYWEIGHT_CPU_ISA": "none"}


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """A model, in a precision, by certain kernels, and what must not matter: ``threads``, ``chunk`` (the most tokens of a step, into
    which prefills are cut), the prefix cache, the KV cache's size (as serve takes it), and how often the same has been started before.

    ``kernels`` are our own or torch, PyTorch's with oneDNN.
    """

    model: str
    dtype: str
    kernels: str = "own"
    threads: int = 2
    chunk: int = 512
    has_prefix_cache: bool = True
    kv_cache: str = "512MiB"
    start: int = 0

    @property
    def label(self) -> str:
        """What it differs in, for people."""
        cache = "prefix cache" if self.has_prefix_cache else "no prefix cache"
        start = f", start {self.start + 1}" if self.start else ""
        return f"{self.threads} threads, chunks of {self.chunk}, {cache}, {self.kv_cache} of KV{start}"


class Server(msgspec.Struct, frozen=True):
    """``pennyweight serve`` of a variant, as a peer to start. It has no response cache, so each answer is generated."""

    variant_served: Variant
    name: str = "pennyweight"
    ready_path: str = "/ready"

    @property
    def variant(self) -> str:
        return self.variant_served.label

    @property
    def environment(self) -> Mapping[str, str]:
        return NO_COMPILED_KERNELS if self.variant_served.kernels == "torch" else {}

    def command(self, port: int) -> Sequence[str]:
        one = self.variant_served
        options = {
            "--dtype": one.dtype,
            "--threads": str(one.threads),
            "--max-num-batched-tokens": str(one.chunk),
            "--kv-cache-memory": one.kv_cache,
            "--served-model-name": "measured",
            "--host": "127.0.0.1",
            "--port": str(port),
        }
        cache = "--enable-prefix-caching" if one.has_prefix_cache else "--no-enable-prefix-caching"
        serve = [sys.executable, "-m", "pennyweight.server.cli", "serve", one.model, cache]
        return [*serve, *(part for pair in options.items() for part in pair)]

    def version(self) -> str:
        return own_version()


class Axes(msgspec.Struct, frozen=True):
    """The values of what must not matter. The first of each is what the others are compared with."""

    threads: tuple[int, ...] = (2, 1)
    chunk: tuple[int, ...] = (512, 64)
    has_prefix_cache: tuple[bool, ...] = (True, False)
    kv_cache: tuple[str, ...] = ("512MiB", "24MiB")
    start: tuple[int, ...] = (0, 1)


def one_at_a_time(base: Variant, axes: Axes) -> Iterator[Variant]:
    """The base, and for every other value of each axis the base with that."""
    names = axes.__struct_fields__
    base = msgspec.structs.replace(base, **{name: getattr(axes, name)[0] for name in names})
    yield base
    for name in names:
        for value in getattr(axes, name)[1:]:
            yield msgspec.structs.replace(base, **{name: value})
