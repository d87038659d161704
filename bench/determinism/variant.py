"""One way of serving a model."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pennyweight.bench.peers.serve_command import ServeCommand, serve_command

MODEL = "measured"


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """A model, in a precision, by certain kernels on a device, and what must not matter: ``threads``, ``chunk`` (the most tokens of a step, into
    which prefills are cut), the prefix cache, the KV cache's size (as serve takes it), and how often the same has been started before.

    ``kernels`` are own, Pennyweight's, or torch, PyTorch's.
    """

    model: str
    dtype: str
    kernels: str = "own"
    device: str = "auto"
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

    @property
    def serve(self) -> ServeCommand:
        """A server of it. It has no response cache, so each answer is generated."""
        options = {
            "--dtype": self.dtype,
            "--threads": self.threads,
            "--max-num-batched-tokens": self.chunk,
            "--kv-cache-memory": self.kv_cache,
            "--device": self.device,
            "--kernels": "torch" if self.kernels == "torch" else "auto",
            "--served-model-name": MODEL,
        }
        cache = "--enable-prefix-caching" if self.has_prefix_cache else "--no-enable-prefix-caching"
        return serve_command(self.model, options, cache, variant=self.label)


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
