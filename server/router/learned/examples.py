"""Prompts with what became of them in both models: what a router is trained and judged on."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import msgspec
import numpy as np
from numpy.typing import NDArray

from pennyweight.server.errors import ConfigError

Floats = NDArray[np.float64]


class Example(msgspec.Struct, frozen=True):
    """A prompt, and whether (or how probably) each model's answer was right; costs in any one unit, of this request."""

    prompt: str
    weak_ok: float | bool
    strong_ok: float | bool
    task: str = ""
    weak_cost: float | None = None
    strong_cost: float | None = None


class Examples(msgspec.Struct, frozen=True):
    """Examples as columns. ``kinds`` are the tasks up to their first slash; without costs, weak is 0 and strong is 1."""

    prompts: Sequence[str]
    weak: Floats
    strong: Floats
    kinds: Sequence[str]
    weak_cost: Floats
    strong_cost: Floats
    sha256: str

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def gain(self) -> Floats:
        """What the strong model is better by."""
        return self.strong - self.weak

    def folds(self, count: int, seed: int = 0) -> NDArray[np.int64]:
        """The fold of each example, by its prompt without case and spacing: what was asked twice lies in one fold."""
        texts = (f"{seed}:{' '.join(prompt.lower().split())}" for prompt in self.prompts)
        return np.array([crc32(text.encode("utf-8", "surrogatepass")) % count for text in texts], dtype=np.int64)


def read_examples(path: Path) -> Examples:
    """The examples of a file of JSON Lines, also gzipped. Raises ConfigError, which names the line that is wrong."""
    try:
        raw = path.read_bytes()
        text = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError) as error:
        raise ConfigError(f"{path} can't be read: {error}") from None
    decoder = msgspec.json.Decoder(Example)
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            example = decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}, line {number}: {error}") from None
        if not (0 <= example.weak_ok <= 1 and 0 <= example.strong_ok <= 1):
            raise ConfigError(f"{path}, line {number}: weak_ok and strong_ok are true, false or from 0 to 1")
        if (example.weak_cost is None) != (example.strong_cost is None):
            raise ConfigError(f"{path}, line {number}: give weak_cost and strong_cost, or neither")
        found.append(example)
    if not found:
        raise ConfigError(f"{path} has no examples")
    with_costs = sum(one.weak_cost is not None for one in found)
    if with_costs not in (0, len(found)):
        raise ConfigError(f"{path}: {with_costs} of {len(found)} examples have costs; all must, or none")
    return as_columns(found, hashlib.sha256(text).hexdigest())


def as_columns(examples: Sequence[Example], sha256: str = "") -> Examples:
    """The same as columns."""

    def column(values: Sequence[float | None], default: float) -> Floats:
        return np.array([default if value is None else value for value in values], dtype=np.float64)

    return Examples(
        prompts=[one.prompt for one in examples],
        weak=np.array([one.weak_ok for one in examples], dtype=np.float64),
        strong=np.array([one.strong_ok for one in examples], dtype=np.float64),
        kinds=[one.task.split("/", 1)[0] for one in examples],
        weak_cost=column([one.weak_cost for one in examples], 0.0),
        strong_cost=column([one.strong_cost for one in examples], 1.0),
        sha256=sha256,
    )
