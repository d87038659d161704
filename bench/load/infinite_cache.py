"""What a prefix cache that never evicts would hit: the bound that a measured hit rate is held against."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class HitRate(msgspec.Struct, frozen=True):
    """Shares of all prompts' blocks, and of all their tokens, that an earlier prompt had in the same place."""

    blocks: float
    tokens: float


def infinite_hit_rate(prompts: Iterable[tuple[tuple[int, ...], tuple[int, ...]]]) -> HitRate:
    """The hit rate over prompts in their order, each given as its blocks' ids and as their lengths in tokens.

    Only blocks before the first miss hit, as in a prefix cache. It is of just these prompts: the cache is empty before the
    first one, and one that is still being computed has its blocks in the cache already.
    """
    seen: set[int] = set()
    all_blocks = all_tokens = hit_blocks = hit_tokens = 0
    for blocks, lengths in prompts:
        is_hit = True
        for block, tokens in zip(blocks, lengths, strict=True):
            is_hit = is_hit and block in seen
            all_blocks += 1
            all_tokens += tokens
            hit_blocks += is_hit
            hit_tokens += tokens * is_hit
        seen.update(blocks)
    if not all_blocks:
        return HitRate(0.0, 0.0)
    return HitRate(hit_blocks / all_blocks, hit_tokens / all_tokens)
