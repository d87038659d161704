"""How many KV blocks there are, and how long a context may be."""

from __future__ import annotations

import pytest

from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.native.capacity import GIB, Capacity, plan_capacity, step_tokens
from pennyweight.server.errors import ModelError

BLOCK = 1 << 20


def plan(free_memory: int = 100 * GIB, is_cuda: bool = False, model_len: int = 131_072, **changes: int) -> Capacity:
    settings = EngineSettings(**changes)
    return plan_capacity(settings, model_len=model_len, bytes_per_block=BLOCK, free_memory=free_memory, is_cuda=is_cuda)


def test_a_cpu_gives_a_share_of_its_memory_up_to_a_bound() -> None:
    assert plan(free_memory=5 * GIB).num_blocks == 2048
    assert plan(free_memory=100 * GIB).num_blocks == 4096


def test_a_gpu_gives_nearly_all_of_its_memory() -> None:
    assert plan(free_memory=40 * GIB, is_cuda=True).num_blocks == 36 * 1024


def test_what_is_asked_for_is_taken() -> None:
    assert plan(kv_cache_memory=10 * GIB, free_memory=0).num_blocks == 10 * 1024
    assert plan(kv_cache_memory=10 * GIB, max_model_len=1000).max_model_len == 1000


def test_no_more_blocks_than_all_sequences_could_use() -> None:
    assert plan(model_len=1000, max_num_seqs=4) == Capacity(4 * 63, 1000)
    assert plan(model_len=1000, max_num_seqs=4, max_model_len=17) == Capacity(8, 17)


def test_the_context_is_shortened_to_what_the_cache_holds() -> None:
    assert plan(free_memory=5 * GIB) == Capacity(2048, 2048 * 16)


@pytest.mark.parametrize("changes", [{"max_model_len": 131_073}, {"max_model_len": 0}, {"max_model_len": -5}])
def test_a_context_that_the_model_does_not_have_is_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ModelError, match="context is 1 to 131072 tokens"):
        plan(**changes)


def test_a_context_that_does_not_fit_is_refused_with_what_it_needs() -> None:
    with pytest.raises(ModelError, match=r"has 4\.00 GiB, but a context of 131072 tokens needs 8\.00 GiB"):
        plan(max_model_len=131_072)
    with pytest.raises(ModelError, match="give more with kv_cache_memory"):
        plan(free_memory=BLOCK)


@pytest.mark.parametrize(
    ("changes", "is_cuda", "expected"),
    [
        ({}, False, 128),
        ({}, True, 2048),
        ({"max_num_seqs": 300}, False, 300),
        ({"max_num_batched_tokens": 512}, False, 512),
    ],
)
def test_a_step_is_short_on_a_cpu_and_has_room_for_every_sequence(
    changes: dict[str, int], is_cuda: bool, expected: int
) -> None:
    assert step_tokens(EngineSettings(**changes), is_cuda=is_cuda) == expected
