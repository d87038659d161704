"""How much of each request's input an engine's prefix cache would know, by the blocks of a trace."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict

import numpy as np

from .workload import Workload


def with_cached_prefixes(workload: Workload, kv_tokens: int) -> Workload:
    """The workload with its ``cached_tokens`` as one replica's cache of ``kv_tokens`` has them, from empty on.

    The least recently used block goes first. What sequences that run hold beside the cache isn't counted, so a cache that is
    too small for its load does worse than this. A workload whose trace tells no blocks is returned as it is.
    """
    if workload.blocks is None:
        return workload
    capacity = kv_tokens // workload.block_tokens
    cache: OrderedDict[int, None] = OrderedDict()
    cached = np.zeros(len(workload), dtype=np.int64)
    for request, blocks in enumerate(workload.blocks):
        known = 0
        for block in blocks:
            if block not in cache:
                break
            known += 1
        # The last token is always computed: its logits are asked for.
        cached[request] = min(known * workload.block_tokens, workload.input_tokens[request] - 1)
        for block in reversed(blocks):
            # A prefix's front outlives its end: it is touched last.
            cache[block] = None
            cache.move_to_end(block)
        while len(cache) > capacity:
            cache.popitem(last=False)
    return dataclasses.replace(workload, cached_tokens=cached)
