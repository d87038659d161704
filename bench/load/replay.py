"""A trace as requests: its times, its lengths, and its prefix blocks as real tokens."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from .endpoint import Endpoint
from .infinite_cache import HitRate, infinite_hit_rate
from .request import PlannedRequest
from .trace import MOONCAKE_BLOCK, TraceRow, mean_rate
from .vocabulary import Vocabulary

BLOCKS_KEPT = 65536


class TraceWorkload(msgspec.Struct, frozen=True):
    """The requests of ``rows``. Each prefix block is a run of ``block_tokens`` tokens of its own, the same wherever it comes;
    a prompt's last one is shorter in proportion, as in the trace. Without blocks a prompt is as long as its row says, times
    ``input_scale``. Answers are as long as theirs, times ``output_scale``; ``most_input`` and ``most_output`` cut both.
    """

    path: Path
    rows: list[TraceRow]
    vocabulary: Vocabulary
    block_tokens: int = MOONCAKE_BLOCK
    input_scale: float = 1.0
    output_scale: float = 1.0
    most_input: int | None = None
    most_output: int | None = None

    def describe(self) -> dict[str, Any]:
        """For the result; with what a prefix cache without end would hit in these rows, where they have prefixes."""
        found = {
            name: getattr(self, name) for name in self.__struct_fields__ if name not in ("rows", "vocabulary", "path")
        }
        cache = self.infinite_cache()
        return {
            "kind": "trace",
            "path": str(self.path),
            "rows": len(self.rows),
            "trace_rate": mean_rate(self.rows),
            **found,
            "infinite_cache": msgspec.to_builtins(cache) if cache else None,
        }

    def times_at(self, rate: float) -> list[float]:
        """When the requests are due, in seconds, with the trace stretched or squeezed to ``rate`` requests a second."""
        own = mean_rate(self.rows)
        return [row.at * own / rate if row.at else 0.0 for row in self.rows]

    def requests(self, endpoint: Endpoint, count: int, seed: Sequence[int], exact: bool) -> list[PlannedRequest]:
        """The first ``count`` rows' requests. The same seed gives the same ones."""
        ids = np.array(self.vocabulary.ids)

        @lru_cache(maxsize=BLOCKS_KEPT)
        def block(number: int) -> list[int]:
            generator = np.random.default_rng([*seed, 0xB10C, number])
            return [int(token) for token in ids[generator.integers(0, len(ids), self.block_tokens)]]

        generator = np.random.default_rng([*seed, 0x7ACE])
        found = []
        for row in self.rows[:count]:
            lengths = self._lengths(row)
            if row.blocks:
                tokens = [
                    token
                    for number, length in zip(row.blocks, lengths, strict=True)
                    for token in block(number)[:length]
                ]
            else:
                tokens = [int(token) for token in ids[generator.integers(0, len(ids), sum(lengths))]]
            output = max(1, round(row.output_tokens * self.output_scale))
            output = min(output, self.most_output or output)
            prompt = tokens if endpoint.api == "completions" else self.vocabulary.text(tokens)
            found.append(
                PlannedRequest(
                    body=endpoint.body(prompt, output, exact=exact), prompt_tokens=len(tokens), output_tokens=output
                )
            )
        return found

    def infinite_cache(self) -> HitRate | None:
        """What a prefix cache without end would hit; None where the trace has no blocks."""
        if not any(row.blocks for row in self.rows):
            return None
        return infinite_hit_rate((row.blocks, self._lengths(row)) for row in self.rows)

    def _lengths(self, row: TraceRow) -> tuple[int, ...]:
        """The tokens of each of a row's blocks, or of its whole prompt; none of those beyond ``most_input``."""
        if not row.blocks:
            length = max(1, round(row.input_tokens * self.input_scale))
            return (min(length, self.most_input or length),)
        last = row.input_tokens - (len(row.blocks) - 1) * MOONCAKE_BLOCK
        share = min(max(last, 0) / MOONCAKE_BLOCK, 1.0)
        lengths = [*[self.block_tokens] * (len(row.blocks) - 1), max(1, round(share * self.block_tokens))]
        room = sum(lengths) if self.most_input is None else self.most_input
        for index, length in enumerate(lengths):
            lengths[index] = min(length, room)
            room -= lengths[index]
        return tuple(lengths)
