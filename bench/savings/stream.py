"""Streams of requests of which a stated share repeats an earlier one, from prompts of a file that are otherwise used once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from pennyweight.bench.cost.check import Check, read_checks
from pennyweight.bench.load.endpoint import Endpoint
from pennyweight.bench.load.mode import OpenLoop
from pennyweight.bench.load.prompt_file import PromptRow, read_prompts
from pennyweight.bench.load.request import PlannedRequest
from pennyweight.bench.load.trace import TraceRow, part

Popularity = Literal["zipf", "uniform"]


def parse_popularity(text: str) -> Popularity:
    """Raises ValueError."""
    match text:
        case "zipf" | "uniform" as popularity:
            return popularity
    raise ValueError(f"--repeats is zipf or uniform, not {text}")


class Stream(msgspec.Struct, frozen=True):
    """One stream: the row of each request, in the order in which they arrive, and when, in seconds.

    ``repeat_share`` is what was asked for; exactly ``round(repeat_share * len(rows))`` requests repeat an earlier one.
    """

    repeat_share: float
    rows: list[int]
    times: list[float]

    @property
    def repeats(self) -> int:
        return len(self.rows) - len(set(self.rows))


def draw_rows(
    fresh: Sequence[int],
    count: int,
    repeat_share: float,
    popularity: Popularity,
    exponent: float,
    generator: np.random.Generator,
) -> list[int]:
    """The rows of ``count`` requests: which of them repeat is drawn evenly, never the first; the others take ``fresh`` in turn.

    What a repeat repeats is one of the prompts already asked: each as likely (uniform), or the k-th that was asked in proportion to
    k to the power of -``exponent`` (zipf). Raises ValueError where ``fresh`` doesn't suffice or every request would repeat.
    """
    repeats = round(repeat_share * count)
    if not 0 <= repeats < count:
        raise ValueError(
            f"of {count} requests {repeats} can't repeat an earlier one: a repeat share is from 0 to less than 1"
        )
    if len(fresh) < count - repeats:
        raise ValueError(f"{count - repeats} prompts are needed and {len(fresh)} are left")
    repeating = set(generator.choice(np.arange(1, count), repeats, replace=False).tolist()) if repeats else set()
    asked: list[int] = []
    found = []
    for place in range(count):
        if place in repeating:
            weights = np.arange(1, len(asked) + 1, dtype=float) ** (-exponent if popularity == "zipf" else 0.0)
            found.append(asked[int(generator.choice(len(asked), p=weights / weights.sum()))])
        else:
            asked.append(fresh[len(asked)])
            found.append(asked[-1])
    return found


class Workload:
    """A file's first turns as chat requests, greedy, of at most so many output tokens; each answer comes to its own end."""

    def __init__(self, path: Path, output_tokens: int) -> None:
        """Raises ValueError and OSError for a file that is none of prompts, or of prompts that can't be chatted with."""
        self.path = path
        self._rows: list[PromptRow] = read_prompts(path)
        if any(row.token_ids is not None for row in self._rows):
            raise ValueError(f"{path} has prompts of token ids, which can't follow a chat template")
        is_json_lines = path.name.removesuffix(".gz").endswith(".jsonl")
        self._checks: list[Check | None] = read_checks(path) if is_json_lines else [None] * len(self._rows)
        self._output_tokens = output_tokens

    def __len__(self) -> int:
        return len(self._rows)

    def describe(self) -> dict[str, Any]:
        """For the result."""
        return {
            "path": str(self.path),
            "rows": len(self._rows),
            "rows_with_a_check": sum(check is not None for check in self._checks),
            "output_tokens": self._output_tokens,
        }

    def distinct(self, seed: int) -> list[int]:
        """The rows in random order, of rows that ask the same only the first."""
        first: dict[bytes, int] = {}
        for number, row in enumerate(self._rows):
            first.setdefault(msgspec.json.encode(row.messages), number)
        rows = np.fromiter(first.values(), dtype=int)
        return [int(row) for row in np.random.default_rng([seed, 0x5A7E]).permutation(rows)]

    def question(self, row: int) -> str:
        """What the row's user asks, as routers read it."""
        messages = self._rows[row].messages
        return next((str(one.get("content") or "") for one in reversed(messages) if one.get("role") == "user"), "")

    def characters(self, row: int) -> int:
        """Of all messages together."""
        return sum(len(str(one.get("content") or "")) for one in self._rows[row].messages)

    def requests(self, endpoint: Endpoint, rows: Sequence[int], times: Sequence[float]) -> list[PlannedRequest]:
        """The requests of these rows at these times."""
        planned = []
        for number, at in zip(rows, times, strict=True):
            row = self._rows[number]
            tokens = row.output_tokens or self._output_tokens
            body = endpoint.body(row.messages, tokens, exact=False)
            planned.append(PlannedRequest(at=at, body=body, output_tokens=tokens))
        return planned

    def is_right(self, row: int, text: str | None) -> bool:
        """Whether an answer to that row passes its check, or there is none."""
        check = self._checks[row]
        return check is None or check.is_passed(text or "")


class Drawing(msgspec.Struct, frozen=True):
    """How streams are drawn: ``count`` requests each, at ``rate`` a second. ``exponent`` is Zipf's."""

    count: int
    repeat_shares: tuple[float, ...]
    rate: float
    popularity: Popularity = "zipf"
    exponent: float = 1.0
    seed: int = 0

    def arrivals(self, trace: Sequence[TraceRow], place: int) -> list[float]:
        """When a stream's requests arrive: as in a part of the trace that begins at random, every interval by the same factor longer
        or shorter, so that the whole trace has the rate; without a trace a Poisson process. Raises ValueError for a trace that is too
        short."""
        if not trace:
            return OpenLoop(self.rate).times(self.count, self.seed * 1000 + place)
        if len(trace) < self.count:
            raise ValueError(f"the trace has {len(trace)} requests, and a stream {self.count}")
        generator = np.random.default_rng([self.seed, 0xA221, place])
        skip = int(generator.integers(0, len(trace) - self.count + 1))
        factor = self.stretch(trace)
        return [row.at * factor for row in part(trace, skip=skip, limit=self.count)]

    def stretch(self, trace: Sequence[TraceRow]) -> float:
        """What the trace's intervals are multiplied with."""
        seconds = trace[-1].at - trace[0].at
        return len(trace) / seconds / self.rate if seconds else 1.0

    def distinct(self, repeat_share: float) -> int:
        """How many prompts a stream of that share asks."""
        return self.count - round(repeat_share * self.count)


def stratified(rows: Sequence[int], dear: Collection[int], sizes: Sequence[int], share: float, seed: int) -> list[int]:
    """The rows in another order: of each block of so many of them the ``share`` (rounded) is among ``dear``, at places drawn evenly.

    Of a stream's few prompts the share would else be left to chance, and its cost with it. What is left over comes last. Raises
    ValueError where there are too few of either.
    """
    if len(rows) < sum(sizes):
        raise ValueError(f"{sum(sizes)} prompts are needed and {len(rows)} are left")
    left = {True: [row for row in rows if row in dear], False: [row for row in rows if row not in dear]}
    found: list[int] = []
    for place, size in enumerate(sizes):
        number = round(share * size)
        wanted = {True: number, False: size - number}
        for is_dear, count in wanted.items():
            if len(left[is_dear]) < count:
                kind = "dear" if is_dear else "cheap"
                raise ValueError(f"{count} prompts for the {kind} tier are needed and {len(left[is_dear])} are left")
        block = [left[is_dear].pop(0) for is_dear, count in wanted.items() for _ in range(count)]
        found += np.random.default_rng([seed, 0x57A7, place]).permutation(block).tolist()
    return [*found, *left[True], *left[False]]


def draw_streams(
    drawing: Drawing, rows: Sequence[int], trace: Sequence[TraceRow], rounds: int
) -> tuple[list[list[Stream]], list[int]]:
    """The streams of each round, one for each share, and the rows that are left over. No two streams have a prompt in common.

    Raises ValueError where the rows don't suffice.
    """
    unused = list(rows)
    found = []
    for number in range(rounds):
        streams = []
        for index, share in enumerate(drawing.repeat_shares):
            place = number * len(drawing.repeat_shares) + index
            generator = np.random.default_rng([drawing.seed, 0x5E9E, place])
            chosen = draw_rows(unused, drawing.count, share, drawing.popularity, drawing.exponent, generator)
            unused = unused[len(set(chosen)) :]
            streams.append(Stream(share, chosen, drawing.arrivals(trace, place)))
        found.append(streams)
    return found, unused
