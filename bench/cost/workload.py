"""One workload for every configuration: real prompts of a file, behind one system prompt, and what their answers must be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from pennyweight.bench.load.endpoint import Endpoint
from pennyweight.bench.load.prompt_file import PromptRow, read_prompts
from pennyweight.bench.load.request import PlannedRequest

from .check import Check, read_checks


class Selection(msgspec.Struct, frozen=True):
    """The rows of one round, by number: to warm up with, to probe prefill with, and those that are measured. No row twice."""

    warm_up: list[int]
    probes: list[int]
    measured: list[int]


class Workload:
    """A file's first turns as chat requests of at most (or, where answers aren't checked, exactly) so many output tokens.

    Exact lengths make all configurations do the same work. Where a row has a check, its answer must come to its own end.
    """

    def __init__(self, path: Path, output_tokens: int, system_prompt: str | None) -> None:
        """Raises ValueError and OSError for a file that is none of prompts."""
        self._path = path
        self._rows: list[PromptRow] = read_prompts(path)
        is_json_lines = path.name.removesuffix(".gz").endswith(".jsonl")
        self._checks: list[Check | None] = read_checks(path) if is_json_lines else [None] * len(self._rows)
        self._output_tokens = output_tokens
        self._system_prompt = system_prompt
        self.is_exact = not any(self._checks)

    def describe(self) -> dict[str, Any]:
        """For the result."""
        return {
            "path": str(self._path),
            "rows": len(self._rows),
            "rows_with_a_check": sum(check is not None for check in self._checks),
            "output_tokens": self._output_tokens,
            "is_exact": self.is_exact,
            "system_prompt_characters": len(self._system_prompt or ""),
        }

    def select(
        self, rounds: int, warm_up: int, probes: int, requests: int, seed: int, *, anew: bool
    ) -> list[Selection]:
        """The rows of each round, at random but the same for the same seed.

        Rounds on servers that are started for each take the same rows; ``anew`` takes others for each, for a server that goes
        on running would answer the second round from its prefix cache. Raises ValueError when there are too few.
        """
        each = warm_up + probes + requests
        wanted = each * rounds if anew else each
        if wanted > len(self._rows):
            why = f", anew in each of {rounds} rounds since a URL is measured" if anew and rounds > 1 else ""
            raise ValueError(
                f"{self._path} has {len(self._rows)} rows, and {warm_up} to warm up with, {probes} probes and {requests} "
                f"requests{why} are {wanted}: take less --requests, --probes, --warm-up or --rounds"
            )
        order = [int(row) for row in np.random.default_rng([seed, 0xC057]).permutation(len(self._rows))]
        selections = []
        for number in range(rounds):
            rows = order[number * each :] if anew else order
            selections.append(
                Selection(rows[:warm_up], rows[warm_up : warm_up + probes], rows[warm_up + probes : each])
            )
        return selections

    def requests(
        self, endpoint: Endpoint, rows: Sequence[int], output_tokens: int | None = None
    ) -> list[PlannedRequest]:
        """The requests of these rows, in their order; with ``output_tokens`` of just so many. Raises ValueError."""
        planned = []
        for row in (self._rows[number] for number in rows):
            if row.token_ids is not None:
                raise ValueError(f"{self._path} has prompts of token ids, which can't follow a chat template")
            system = [{"role": "system", "content": self._system_prompt}] if self._system_prompt else []
            tokens = output_tokens or row.output_tokens or self._output_tokens
            body = endpoint.body([*system, *row.messages], tokens, exact=self.is_exact or output_tokens is not None)
            planned.append(PlannedRequest(body=body, output_tokens=tokens))
        return planned

    def is_right(self, row: int, text: str | None) -> bool:
        """Whether an answer to that row passes its check, or there is none."""
        check = self._checks[row]
        return check is None or check.is_passed(text or "")

    def has_checks(self, rows: Sequence[int]) -> bool:
        return any(self._checks[row] is not None for row in rows)
