"""Choosing tokens: the arguments, the results and the reference of the sampling kernels."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .cpu.library import load_library
from .cpu.sampling import rows_logprobs, sample_rows
from .triton import has_triton

_WORD = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class SamplingBatch:
    """One row for each of R rows of logits, already adjusted (penalties, bias, forbidden tokens).

    A temperature of 0 takes the largest logit, ties by the lower id. Otherwise the Gumbel-max of logits / temperature over
    the tokens that top-k, top-p and min-p leave, in that order, with noise from Philox4x32-10 keyed by (seed, position)
    and counted by token id, so that a row's choice depends on that row alone. ``top_k`` 0, ``top_p`` 1 and ``min_p`` 0 are off.
    ``mask`` is a bitmask [R, ceil(V / 32)] of allowed tokens for the rows where ``masked`` is true; None if there are none.
    ``num_top`` is how many alternatives to report with logprobs, -1 for no logprobs at all.
    """

    temperature: NDArray[np.float32]
    top_k: NDArray[np.int32]
    top_p: NDArray[np.float32]
    min_p: NDArray[np.float32]
    seed: NDArray[np.uint64]
    position: NDArray[np.int64]
    num_top: NDArray[np.int32]
    mask: NDArray[np.int32] | None = None
    masked: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True)
class Sampled:
    """Chosen ids [R]; logprobs [R] of them; the most probable alternatives [R, max(num_top)].

    Logprobs are the log-softmax of the adjusted and masked logits, before temperature and truncation: of the very
    logits that were sampled. Undefined where a row's ``num_top`` is -1.
    """

    token_ids: NDArray[np.int32]
    logprobs: NDArray[np.float32]
    top_ids: NDArray[np.int32]
    top_logprobs: NDArray[np.float32]


def sample(logits: Tensor, batch: SamplingBatch) -> Sampled:
    """Choose a token for each row of float32 [R, V] logits, on their device. Masked-out logits are set to -inf in place."""
    if logits.device.type == "cpu" and (library := load_library()) is not None:
        columns = {field.name: getattr(batch, field.name) for field in fields(batch)}
        return Sampled(*sample_rows(library, logits, **columns))
    if logits.device.type == "cuda" and has_triton(logits.device):
        # Only here, so that no other device pays for Triton's import.
        from .triton import sampling as triton_sampling

        if batch.mask is not None and batch.masked is not None:
            _apply_mask(logits, batch.mask, batch.masked)
        return triton_sampling.sample_rows(logits, batch)
    return sample_reference(logits, batch)


@torch.inference_mode()
def sample_reference(logits: Tensor, batch: SamplingBatch) -> Sampled:
    """What ``sample`` means, in plain PyTorch on any device."""
    if batch.mask is not None and batch.masked is not None:
        _apply_mask(logits, batch.mask, batch.masked)
    chosen = logits.argmax(dim=-1)
    random = np.flatnonzero(batch.temperature > 0)
    if random.size:
        rows = torch.from_numpy(random).to(logits.device)
        chosen[rows] = _choose_at_random(logits[rows], batch, random)
    num_top = max(0, int(batch.num_top.max(initial=0)))
    if (batch.num_top < 0).all():
        empty = np.zeros((len(chosen), 0))
        nothing = np.zeros(len(chosen), np.float32)
        return Sampled(_int32(chosen), nothing, empty.astype(np.int32), empty.astype(np.float32))
    return Sampled(_int32(chosen), *_logprobs_of(logits, chosen, num_top))


@torch.inference_mode()
def logprobs_of(
    logits: Tensor, token_ids: NDArray[np.int32], num_top: int
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    """Logprobs [R] of a token for each row of float32 [R, V] logits; the most probable ids and their logprobs, [R, num_top] each.

    The same numbers as ``sample`` gives for tokens that it chooses; of equal logits the lower id comes first.
    """
    num_top = min(num_top, logits.shape[1])
    if logits.device.type == "cpu" and logits.dtype is torch.float32 and (library := load_library()) is not None:
        return rows_logprobs(library, logits, token_ids, num_top)
    return _logprobs_of(logits, torch.from_numpy(token_ids.astype(np.int64)).to(logits.device), num_top)


def _logprobs_of(
    logits: Tensor, token_ids: Tensor, num_top: int
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    logprobs = logits.log_softmax(dim=-1)
    top = _largest(logits, num_top)
    return (
        logprobs.gather(1, token_ids[:, None])[:, 0].cpu().numpy(),
        _int32(top),
        logprobs.gather(1, top).cpu().numpy(),
    )


def _largest(logits: Tensor, count: int) -> Tensor:
    """The ids of the largest logits, [R, count], the largest first and of equal ones the lowest id; ``topk`` takes any of these."""
    if count == 0:
        return torch.empty((logits.shape[0], 0), dtype=torch.int64, device=logits.device)
    least = logits.topk(count, dim=-1).values[:, -1:]
    above, equal = logits > least, logits == least
    room = count - above.sum(dim=-1, keepdim=True)
    taken = above | (equal & (equal.cumsum(dim=-1) <= room))
    ids = taken.nonzero()[:, 1].view(-1, count)
    order = logits.gather(1, ids).sort(dim=-1, descending=True, stable=True).indices
    return ids.gather(1, order)


def gumbel_noise(seeds: Tensor, positions: Tensor, vocab_size: int) -> Tensor:
    """Standard Gumbel noise, float32 [R, vocab_size], for int64 seeds and positions [R].

    Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) with the seed as its key; the
    counter is (token id // 4, 0, position's low half, its high half), and token id % 4 picks one of the four words.
    """
    rows = seeds.shape[0]
    groups = torch.arange(-(-vocab_size // 4), device=seeds.device).expand(rows, -1)
    low = positions[:, None].expand_as(groups)
    counter = [groups, torch.zeros_like(groups), low & _WORD, (low >> 32) & _WORD]
    key = [seeds[:, None] & _WORD, (seeds[:, None] >> 32) & _WORD]
    for _ in range(10):
        # The products of two 32-bit words wrap round in int64, which keeps all their 64 bits.
        first, second = counter[0] * 0xD2511F53, counter[2] * 0xCD9E8D57
        counter = [
            ((second >> 32) & _WORD) ^ counter[1] ^ key[0],
            second & _WORD,
            ((first >> 32) & _WORD) ^ counter[3] ^ key[1],
            first & _WORD,
        ]
        key = [(key[0] + 0x9E3779B9) & _WORD, (key[1] + 0xBB67AE85) & _WORD]
    words = torch.stack(counter, dim=-1).reshape(rows, -1)[:, :vocab_size]
    # 24 bits, so that float32 holds every value exactly and none of them is 0 or 1.
    uniform = ((words >> 8).float() + 0.5) * 2.0**-24
    return -torch.log(-torch.log(uniform))


def _choose_at_random(logits: Tensor, batch: SamplingBatch, rows: NDArray[np.intp]) -> Tensor:
    def column(values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values[rows])).to(logits.device)

    vocab_size = logits.shape[-1]
    logits = logits.float() / column(batch.temperature)[:, None]
    top_k, top_p, min_p = column(batch.top_k), column(batch.top_p), column(batch.min_p)
    if bool((top_k > 0).any() or (top_p < 1).any()):
        # Stable, so that equal logits are ranked by the lower id.
        ranked, order = logits.sort(dim=-1, descending=True, stable=True)
        ranks = torch.arange(vocab_size, device=logits.device)
        ranked = ranked.masked_fill((ranks >= top_k[:, None]) & (top_k[:, None] > 0), -torch.inf)
        probabilities = ranked.softmax(dim=-1)
        before = probabilities.cumsum(dim=-1) - probabilities
        ranked = ranked.masked_fill((before >= top_p[:, None]) & (ranks > 0), -torch.inf)
        logits = torch.empty_like(logits).scatter_(1, order, ranked)
    if bool((min_p > 0).any()):
        floor = logits.amax(dim=-1, keepdim=True) + min_p.log()[:, None]
        logits = logits.masked_fill(logits < floor, -torch.inf)
    seeds, positions = column(batch.seed.view(np.int64)), column(batch.position)
    return (logits + gumbel_noise(seeds, positions, vocab_size)).argmax(dim=-1)


def _apply_mask(logits: Tensor, mask: NDArray[np.int32], masked: NDArray[np.bool_]) -> None:
    rows = np.flatnonzero(masked)
    bits = np.unpackbits(mask[rows].view(np.uint8), axis=1, bitorder="little")[:, : logits.shape[1]]
    forbidden = torch.from_numpy(bits == 0).to(logits.device)
    where = torch.from_numpy(rows).to(logits.device)
    logits[where] = logits[where].masked_fill(forbidden, -torch.inf)


def _int32(ids: Tensor) -> NDArray[np.int32]:
    return ids.to(torch.int32).cpu().numpy()
