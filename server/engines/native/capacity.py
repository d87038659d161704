"""How many KV blocks a model gets and how long its sequences may be, from the memory at hand."""

from __future__ import annotations

from dataclasses import dataclass

from pennyweight.server.config import EngineSettings
from pennyweight.server.errors import ModelError

GIB = 1 << 30

# By default a CPU's cache takes this share of the free memory and at most so much: the machine has other work, and more
# than a few GiB rarely hold anything that is asked for again.
CPU_SHARE = 0.4
CPU_MOST = 4 * GIB
# A GPU is the engine's alone; what is left over is for activations, graphs and the allocator's fragments.
CUDA_SHARE = 0.9

# Tokens in a step. Everyone who is being answered waits for the whole of it: on a CPU a step of so many takes 0.1 to 0.2 s for
# a model of 135 million weights, and more would make prompts no quicker.
CPU_STEP_TOKENS = 128
CUDA_STEP_TOKENS = 2048


@dataclass(frozen=True, slots=True)
class Capacity:
    """``num_blocks`` blocks of KV cache; sequences of at most ``max_model_len`` tokens, which fit into them."""

    num_blocks: int
    max_model_len: int


def step_tokens(settings: EngineSettings, *, is_cuda: bool) -> int:
    """How many tokens a step may have: as set, or by the device, and at least one for each sequence."""
    by_default = CUDA_STEP_TOKENS if is_cuda else CPU_STEP_TOKENS
    return max(settings.max_num_batched_tokens or by_default, settings.max_num_seqs)


def plan_capacity(
    settings: EngineSettings, *, model_len: int, bytes_per_block: int, free_memory: int, is_cuda: bool
) -> Capacity:
    """The KV cache's size, and the context it allows, for a model whose own context is ``model_len`` tokens.

    ``settings.kv_cache_memory`` bytes if given; else a share of ``free_memory`` (0.4 of it and at most 4 GiB on a CPU, 0.9
    of it on a GPU), but never more than ``max_num_seqs`` sequences of full length could use. The context is
    ``settings.max_model_len`` if given, else the model's own, shortened to what the cache holds.

    Raises ModelError when more is asked for than the model has or the memory holds.
    """
    asked = settings.max_model_len
    if asked is not None and not 1 <= asked <= model_len:
        raise ModelError(f"max_model_len is {asked}, but the model's context is 1 to {model_len} tokens")
    wanted_len = asked or model_len
    blocks_per_seq = -(-wanted_len // settings.block_size)
    memory = settings.kv_cache_memory
    if memory is None:
        memory = int(free_memory * CUDA_SHARE) if is_cuda else min(int(free_memory * CPU_SHARE), CPU_MOST)
    num_blocks = min(memory // bytes_per_block, settings.max_num_seqs * blocks_per_seq)
    if num_blocks < (1 if asked is None else blocks_per_seq):
        needed = bytes_per_block * (1 if asked is None else blocks_per_seq)
        raise ModelError(
            f"the KV cache has {memory / GIB:.2f} GiB, but a context of {asked or settings.block_size} tokens needs "
            f"{needed / GIB:.2f} GiB: give more with kv_cache_memory, or shorten the context with max_model_len"
        )
    return Capacity(num_blocks, min(wanted_len, num_blocks * settings.block_size))
