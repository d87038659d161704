"""Choosing tokens: a program for each row of logits, which takes its random numbers and its sums from nothing but that row."""

from __future__ import annotations

import triton
import triton.language as tl

from .threshold_kernels import BEFORE, COUNT, WEIGHT, key_of, measure, search, value_of


@triton.jit
def _next_largest(
    row: tl.tensor, value: tl.tensor, token: tl.tensor, size: tl.tensor, BLOCK: tl.constexpr
) -> tuple[tl.tensor, tl.tensor]:
    """The largest logit that comes after (value, token), larger ones first and of equal ones the lower ids; and its token."""
    largest, best = tl.full((), float("-inf"), tl.float32), tl.zeros((), tl.int32)
    for first in range(0, size, BLOCK):
        here = first + tl.arange(0, BLOCK)
        logit = tl.load(row + here, mask=here < size, other=float("-inf"))
        after = (logit < value) | ((logit == value) & (here > token))
        logit = tl.where(after, logit, float("-inf"))
        most = tl.max(logit, axis=0)
        lowest = tl.min(tl.where(logit == most, here, size), axis=0)
        best = tl.where(most > largest, lowest, best)
        largest = tl.maximum(largest, most)
    return largest, best


@triton.jit
def _kept(
    row: tl.tensor,
    largest: tl.tensor,
    temperature: tl.tensor,
    top_k: tl.tensor,
    top_p: tl.tensor,
    size: tl.tensor,
    BLOCK: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """What top-k and then top-p leave: the tokens above a threshold (a key), and of those at it the ones up to a token."""
    threshold = tl.zeros((), tl.uint32)
    nothing = tl.zeros((), tl.float32)
    allowed, tied_weight = nothing, nothing
    above = threshold + tl.arange(0, 16).to(tl.uint32) * 0
    if (top_k > 0) & (top_k < size):
        threshold = search(row, top_k.to(tl.float32), threshold, nothing, largest, temperature, size, COUNT, BLOCK)
        higher = measure(row, above + threshold + 1, threshold, largest, temperature, size, COUNT, BLOCK)
        allowed = top_k - tl.max(higher, axis=0)
        tied_weight = allowed * tl.exp(tl.div_rn(value_of(threshold) - largest, temperature))
    if top_p < 1:
        weights = measure(row, above, threshold, largest, temperature, size, WEIGHT, BLOCK)
        wanted = tl.maximum(top_p * (tl.max(weights, axis=0) + tied_weight), 1e-30)
        reached = search(row, wanted, threshold, tied_weight, largest, temperature, size, WEIGHT, BLOCK)
        before = measure(row, above + reached + 1, threshold, largest, temperature, size, WEIGHT, BLOCK)
        each = tl.exp(tl.div_rn(value_of(reached) - largest, temperature))
        enough = tl.maximum(tl.ceil(tl.div_rn(wanted - tl.max(before, axis=0), each)), 1.0)
        allowed = tl.where(reached > threshold, enough, tl.minimum(allowed, enough))
        threshold = tl.maximum(threshold, reached)
    last = tl.zeros((), tl.int32) + size
    if allowed > 0:
        # The measure is of the tied tokens before a candidate, negative: as long as they are fewer than are allowed.
        last = search(row, 0.5 - allowed, threshold, nothing, largest, temperature, size, BEFORE, BLOCK).to(tl.int32)
    return threshold, last


@triton.jit
def choose(
    logits: tl.tensor,
    stride: tl.tensor,
    size: tl.tensor,
    columns: tl.tensor,
    token_ids: tl.tensor,
    logprobs: tl.tensor,
    top_ids: tl.tensor,
    top_logprobs: tl.tensor,
    width: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """``sampling.sample`` for float32 logits [R, size] that are masked already: see SamplingBatch and Sampled.

    ``columns`` int64 [7, R]: the bits of temperature, top_p and min_p; top_k, seed, position, num_top. Gumbel noise is that of
    ``sampling.gumbel_noise``. ``top_ids`` and ``top_logprobs`` are [R, width].
    """
    index, rows = tl.program_id(0), tl.num_programs(0)
    row = logits + index.to(tl.int64) * stride
    temperature = tl.load(columns + index).to(tl.int32).to(tl.float32, bitcast=True)
    top_p = tl.load(columns + rows + index).to(tl.int32).to(tl.float32, bitcast=True)
    min_p = tl.load(columns + 2 * rows + index).to(tl.int32).to(tl.float32, bitcast=True)
    top_k = tl.load(columns + 3 * rows + index).to(tl.int32)
    num_top = tl.load(columns + 6 * rows + index).to(tl.int32)
    largest, chosen = _next_largest(row, tl.full((), float("inf"), tl.float32), size * 0 - 1, size, BLOCK)
    if temperature > 0:
        threshold, last = _kept(row, largest, temperature, top_k, top_p, size, BLOCK)
        floor = tl.full((), float("-inf"), tl.float32)
        if min_p > 0:
            floor = tl.div_rn(largest, temperature) + tl.log(min_p)
        seed = tl.load(columns + 4 * rows + index).to(tl.uint64)
        position = tl.load(columns + 5 * rows + index)
        best = tl.full((), float("-inf"), tl.float32)
        for first in range(0, tl.cdiv(size, 4), BLOCK):
            group = first + tl.arange(0, BLOCK)
            zero = tl.zeros_like(group)
            low, high = zero + position.to(tl.int32), zero + (position >> 32).to(tl.int32)
            words = tl.philox(seed, group, zero, low, high)
            for word in tl.static_range(4):
                token = 4 * group + word
                logit = tl.load(row + token, mask=token < size, other=float("-inf"))
                # 24 bits, as the reference has them.
                uniform = ((words[word] >> 8).to(tl.float32) + 0.5) * 5.9604644775390625e-08
                scaled = tl.div_rn(logit, tl.zeros_like(logit) + temperature)
                key = key_of(logit)
                kept = (key > threshold) | ((key == threshold) & (token <= last))
                kept = kept & (scaled >= floor)
                value = tl.where(kept, scaled - tl.log(-tl.log(uniform)), float("-inf"))
                most = tl.max(value, axis=0)
                lowest = tl.min(tl.where(value == most, token, size), axis=0)
                chosen = tl.where((most > best) | ((most == best) & (lowest < chosen)), lowest, chosen)
                best = tl.maximum(best, most)
    tl.store(token_ids + index, chosen)
    if num_top >= 0:
        total = tl.zeros((), tl.float32)
        for first in range(0, size, BLOCK):
            here = first + tl.arange(0, BLOCK)
            total += tl.sum(tl.exp(tl.load(row + here, mask=here < size, other=float("-inf")) - largest), axis=0)
        normaliser = largest + tl.log(total)
        tl.store(logprobs + index, tl.load(row + chosen) - normaliser)
        value, token = tl.full((), float("inf"), tl.float32), size * 0 - 1
        for place in range(num_top):
            value, token = _next_largest(row, value, token, size, BLOCK)
            tl.store(top_ids + index * width + place, token)
            tl.store(top_logprobs + index * width + place, value - normaliser)
