from __future__ import annotations

import pytest
from fakes.toy_runner import make_sequence
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from pennyweight.server.engines.native.block_manager import BlockManager
from pennyweight.server.engines.native.sequence import Sequence

BLOCK_SIZE = 4


def compute(blocks: BlockManager, sequence: Sequence) -> None:
    blocks.adopt(sequence, blocks.cached_prefix(sequence))
    before = sequence.num_computed
    assert blocks.grow(sequence, sequence.num_tokens)
    sequence.num_computed = sequence.num_tokens
    blocks.commit(sequence, before)


def test_a_prefix_is_found_again_after_its_owner_has_gone() -> None:
    blocks = BlockManager(8, BLOCK_SIZE)
    first = make_sequence("first", list(range(10)), 4)
    compute(blocks, first)
    held = first.block_table[:2]
    blocks.free(first)
    assert blocks.num_free == 8
    assert blocks.cached_prefix(make_sequence("second", list(range(10)), 4)) == held


def test_the_last_token_is_always_computed() -> None:
    blocks = BlockManager(8, BLOCK_SIZE)
    compute(blocks, make_sequence("first", list(range(8)), 4))
    assert len(blocks.cached_prefix(make_sequence("same", list(range(8)), 4))) == 1


def test_a_prefix_that_differs_early_shares_nothing_after_it() -> None:
    blocks = BlockManager(8, BLOCK_SIZE)
    compute(blocks, make_sequence("first", [0, 1, 2, 3, 4, 5, 6, 7, 8], 4))
    assert blocks.cached_prefix(make_sequence("other", [9, 1, 2, 3, 4, 5, 6, 7, 8], 4)) == []


def test_shared_blocks_are_freed_by_their_last_holder() -> None:
    blocks = BlockManager(8, BLOCK_SIZE)
    first, second = (make_sequence(name, list(range(10)), 4) for name in ("first", "second"))
    compute(blocks, first)
    compute(blocks, second)
    assert first.block_table[:2] == second.block_table[:2]
    blocks.free(first)
    blocks.check_integrity([second])
    assert blocks.num_free == 8 - 3
    blocks.free(second)
    assert blocks.num_free == 8


def test_the_least_recently_used_prefix_is_evicted_first() -> None:
    blocks = BlockManager(4, BLOCK_SIZE)
    old, new = make_sequence("old", [1] * 5, 1), make_sequence("new", [2] * 5, 1)
    for sequence in (old, new):
        compute(blocks, sequence)
        blocks.free(sequence)
    third = make_sequence("third", [3] * 12, 1)
    compute(blocks, third)
    assert blocks.cached_prefix(make_sequence("old", [1] * 5, 1)) == []
    assert len(blocks.cached_prefix(make_sequence("new", [2] * 5, 1))) == 1


def test_growing_past_the_free_blocks_changes_nothing() -> None:
    blocks = BlockManager(2, BLOCK_SIZE)
    sequence = make_sequence("long", [0] * 12, 1)
    assert not blocks.grow(sequence, 12)
    assert sequence.block_table == []
    assert blocks.num_free == 2


def test_without_prefix_caching_nothing_is_found() -> None:
    blocks = BlockManager(8, BLOCK_SIZE, enable_prefix_caching=False)
    first = make_sequence("first", list(range(10)), 4)
    compute(blocks, first)
    assert blocks.cached_prefix(make_sequence("second", list(range(10)), 4)) == []


def test_a_manager_without_blocks_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one block"):
        BlockManager(0, BLOCK_SIZE)


class Books(RuleBasedStateMachine):
    """Sequences come, share prefixes, grow, are preempted and leave in any order; the books always balance."""

    sequences = Bundle("sequences")

    def __init__(self) -> None:
        super().__init__()
        self.blocks = BlockManager(12, BLOCK_SIZE)
        self.alive: list[Sequence] = []

    @rule(target=sequences, prompt=st.lists(st.integers(0, 1), min_size=1, max_size=20))
    def arrive(self, prompt: list[int]) -> Sequence:
        sequence = make_sequence(f"s{len(self.alive)}", prompt, 30)
        self.alive.append(sequence)
        return sequence

    @rule(sequence=sequences)
    def admit(self, sequence: Sequence) -> None:
        if sequence.block_table:
            return
        prefix = self.blocks.cached_prefix(sequence)
        if self.blocks.can_admit(sequence, prefix, reserve=0):
            self.blocks.adopt(sequence, prefix)
            assert self.blocks.grow(sequence, sequence.num_tokens), "what can be admitted must fit"

    @rule(sequence=sequences, num_tokens=st.integers(1, 9))
    def compute(self, sequence: Sequence, num_tokens: int) -> None:
        if not sequence.block_table:
            return
        before = sequence.num_computed
        sequence.num_computed = min(sequence.num_tokens, before + num_tokens)
        self.blocks.commit(sequence, before)

    @rule(sequence=sequences, token_id=st.integers(0, 1))
    def decode(self, sequence: Sequence, token_id: int) -> None:
        if sequence.block_table and sequence.num_tokens < len(sequence.tokens):
            sequence.append(token_id)
            if not self.blocks.grow(sequence, sequence.num_tokens):
                self.blocks.free(sequence)

    @rule(sequence=sequences)
    def preempt(self, sequence: Sequence) -> None:
        self.blocks.free(sequence)

    @rule(sequence=consumes(sequences))
    def leave(self, sequence: Sequence) -> None:
        self.blocks.free(sequence)
        self.alive.remove(sequence)

    @rule()
    def reset(self) -> None:
        self.blocks.reset_prefix_cache()

    @invariant()
    def balances(self) -> None:
        self.blocks.check_integrity(self.alive)
        assert 0 <= self.blocks.usage <= 1


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
