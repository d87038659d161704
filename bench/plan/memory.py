"""Whether a model fits onto a device, and how many tokens of KV cache are left beside it."""

from __future__ import annotations

from dataclasses import dataclass

from pennyweight.server.errors import ConfigError

from .device import Device
from .model_shape import ModelShape
from .quantisation import Quantisation

GIB = 1 << 30
# What engines take of a device's memory: vLLM's gpu_memory_utilization, and the native engine's share.
SHARE = 0.9
# The driver's context, libraries' workspaces, captured graphs; on a CPU the process and its libraries.
RUNTIME_BYTES = {"gpu": 1 * GIB, "cpu": GIB // 2}
# The native engine's cache on a CPU, by default: this share of what is free, and at most so much.
CPU_CACHE_SHARE = 0.4
CPU_CACHE_MOST = 4 * GIB


class DoesNotFit(ConfigError):
    """A model that has no room on a device; the message says by how much it misses."""


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes on each device. ``kv_tokens`` are those of the cache, on all devices of the replica together one cache."""

    usable: int
    weights: int
    activations: int
    runtime: int
    kv_bytes_per_token: int
    kv_tokens: int


def plan_memory(
    shape: ModelShape,
    quantisation: Quantisation,
    device: Device,
    *,
    tp: int,
    max_num_seqs: int,
    max_num_batched_tokens: int,
    longest: int,
) -> MemoryPlan:
    """What goes where on each of ``tp`` devices. ``longest`` is the longest request in tokens, which must fit.

    Raises DoesNotFit.
    """
    usable = round(device.memory * SHARE)
    weights = -(-quantisation.weight_bytes(shape) // tp)
    # A step's widest moment: the residual stream and its copy, an MLP's gate and up, in 16 bits; logits in 32.
    width = 2 * shape.hidden_size + 2 * shape.active_experts * shape.intermediate_size // tp
    activations = 2 * max_num_batched_tokens * width + 4 * max_num_seqs * shape.vocab_size
    runtime = RUNTIME_BYTES[device.kind]
    room = usable - weights - activations - runtime
    if device.kind == "cpu":
        room = min(round(room * CPU_CACHE_SHARE), CPU_CACHE_MOST)
    per_token = shape.kv_bytes_per_token(quantisation.kv_bits, tp)
    if room < longest * per_token:
        missing = (longest * per_token - room) / GIB
        cards = f"{tp} x {device.name}" if tp > 1 else device.name
        raise DoesNotFit(
            f"{shape.name} in {quantisation.name} misses {cards} by {missing:.1f} GiB a device: {weights / GIB:.1f} of weights, "
            f"{(activations + runtime) / GIB:.1f} of workspace and {longest * per_token / GIB:.1f} of KV cache for one request of "
            f"{longest} tokens, of {usable / GIB:.1f} usable"
        )
    return MemoryPlan(usable, weights, activations, runtime, per_token, room // per_token)
