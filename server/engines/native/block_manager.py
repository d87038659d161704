"""The paged KV cache's bookkeeping: which blocks are free, whose they are, and which hold a known prefix."""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Iterable

from .sequence import Sequence


class BlockManager:
    """Hands out KV blocks of ``block_size`` tokens and finds the ones that hold a prompt's prefix already.

    A block's key is a 128-bit BLAKE2b hash over its tokens and the key of the block before it, so equal keys mean equal
    prefixes; the first one's starts from the sequence's salt. A block whose last owner has gone keeps its contents and its key until it is handed out again, least
    recently used first. Blocks of a sequence are freed last block first: the front of a prefix outlives its end.

    Owned by the step loop; not thread-safe. Callers keep ``Sequence.block_table`` untouched.
    """

    def __init__(self, num_blocks: int, block_size: int, *, enable_prefix_caching: bool = True) -> None:
        if num_blocks < 1 or block_size < 1:
            raise ValueError(f"need at least one block of one token, not {num_blocks} of {block_size}")
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.enable_prefix_caching = enable_prefix_caching
        self._references = [0] * num_blocks
        self._key_of: list[bytes | None] = [None] * num_blocks
        self._block_of: dict[bytes, int] = {}
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(num_blocks))

    @property
    def num_free(self) -> int:
        """Blocks that no sequence holds; cached ones are among them."""
        return len(self._free)

    @property
    def usage(self) -> float:
        """Share of the blocks that sequences hold, 0 to 1."""
        return 1.0 - len(self._free) / self.num_blocks

    def blocks_for(self, num_tokens: int) -> int:
        """How many blocks hold ``num_tokens`` tokens."""
        return -(-num_tokens // self.block_size)

    def cached_prefix(self, sequence: Sequence) -> list[int]:
        """The blocks that hold the longest known prefix of a sequence, at most all tokens but its last.

        The last token is left out because its logits must be computed. Changes nothing but the sequence's hashes.
        """
        if not self.enable_prefix_caching or sequence.choice.prompt_logprobs is not None:
            return []
        blocks: list[int] = []
        for index in range((sequence.num_tokens - 1) // self.block_size):
            block = self._block_of.get(self._key(sequence, index))
            if block is None:
                break
            blocks.append(block)
        return blocks

    def can_admit(self, sequence: Sequence, prefix: list[int], *, reserve: int) -> bool:
        """Whether all of a sequence's tokens fit beside ``reserve`` free blocks, given its cached prefix."""
        revived = sum(1 for block in prefix if self._references[block] == 0)
        needed = self.blocks_for(sequence.num_tokens) - len(prefix) + revived
        return needed + reserve <= len(self._free)

    def adopt(self, sequence: Sequence, prefix: list[int]) -> None:
        """Give a sequence that holds no blocks its cached prefix; sets ``num_computed``."""
        if sequence.block_table:
            raise ValueError(f"{sequence.request_id} holds blocks already")
        for block in prefix:
            if self._references[block] == 0:
                del self._free[block]
            self._references[block] += 1
        sequence.block_table.extend(prefix)
        sequence.num_computed = len(prefix) * self.block_size

    def fork(self, parent: Sequence, child: Sequence) -> bool:
        """Give a child, which holds no blocks and has its parent's tokens, what its parent has computed.

        Full blocks are shared. For the tokens in one that isn't full the child gets a block of its own, into which the caller copies the
        parent's. Sets ``num_computed``. False, and nothing changed, when none is free.
        """
        if parent.num_computed % self.block_size and not self._free:
            return False
        self.adopt(child, parent.block_table[: parent.num_computed // self.block_size])
        child.num_computed = parent.num_computed
        return self.grow(child, child.num_computed)

    def grow(self, sequence: Sequence, num_tokens: int) -> bool:
        """Make a sequence's table cover ``num_tokens`` tokens. False, and nothing changed, when too few are free."""
        missing = self.blocks_for(num_tokens) - len(sequence.block_table)
        if missing > len(self._free):
            return False
        for _ in range(missing):
            block, _ = self._free.popitem(last=False)
            self._forget(block)
            self._references[block] = 1
            sequence.block_table.append(block)
        return True

    def commit(self, sequence: Sequence, num_before: int) -> None:
        """Make blocks findable that became full when ``num_computed`` rose from ``num_before``."""
        if not self.enable_prefix_caching:
            return
        for index in range(num_before // self.block_size, sequence.num_computed // self.block_size):
            block = sequence.block_table[index]
            key = self._key(sequence, index)
            # Two sequences may have computed the same prefix side by side: the first stays the findable one.
            if self._key_of[block] is None and key not in self._block_of:
                self._key_of[block] = key
                self._block_of[key] = block

    def free(self, sequence: Sequence) -> None:
        """Take all blocks back from a sequence; sets ``num_computed`` to 0. Idempotent."""
        for block in reversed(sequence.block_table):
            self._references[block] -= 1
            if self._references[block] == 0:
                self._free[block] = None
                if self._key_of[block] is None:
                    # Nothing to be found in it: use it up before any block that holds a prefix.
                    self._free.move_to_end(block, last=False)
        sequence.block_table.clear()
        sequence.num_computed = 0

    def reset_prefix_cache(self) -> None:
        """Forget every known prefix; sequences keep their blocks."""
        self._block_of.clear()
        self._key_of = [None] * self.num_blocks

    def check_integrity(self, sequences: Iterable[Sequence]) -> None:
        """Raise AssertionError unless the books balance with the sequences that are alive."""
        held = Counter(block for sequence in sequences for block in sequence.block_table)
        for block, references in enumerate(self._references):
            assert references == held[block], f"block {block} has {references} references, {held[block]} holders"
            assert (references == 0) == (block in self._free), f"block {block} is free and held, or neither"
        for key, block in self._block_of.items():
            assert self._key_of[block] == key, f"block {block} is found under a key that is not its own"
        known = sum(key is not None for key in self._key_of)
        assert known == len(self._block_of), "a block has a key under which it is not found"

    def _key(self, sequence: Sequence, index: int) -> bytes:
        hashes = sequence.block_hashes
        while len(hashes) <= index:
            start = len(hashes) * self.block_size
            digest = hashlib.blake2b(hashes[-1] if hashes else sequence.salt, digest_size=16)
            digest.update(sequence.tokens[start : start + self.block_size].tobytes())
            hashes.append(digest.digest())
        return hashes[index]

    def _forget(self, block: int) -> None:
        key = self._key_of[block]
        if key is not None:
            self._key_of[block] = None
            del self._block_of[key]
