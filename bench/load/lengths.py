"""How many tokens prompts and answers have: a number, or a distribution that each draws its own from."""

from __future__ import annotations

import math
from typing import Literal

import msgspec
import numpy as np

Shape = Literal["fixed", "uniform", "normal", "lognormal"]
FORMS = "256, 128-512 (uniform), normal:512:128 or lognormal:512:256 (mean and standard deviation)"


class Lengths(msgspec.Struct, frozen=True):
    """``first`` and ``second`` are the ends of a uniform distribution, both included, or the mean and the standard deviation
    of the lengths themselves (also of a lognormal one, not those of its logarithm).
    """

    shape: Shape
    first: float
    second: float = 0.0

    def draw(self, count: int, generator: np.random.Generator) -> list[int]:
        """So many lengths of at least one token."""
        if self.shape == "fixed":
            return [int(self.first)] * count
        if self.shape == "uniform":
            return [int(value) for value in generator.integers(int(self.first), int(self.second) + 1, count)]
        if self.shape == "normal":
            values = generator.normal(self.first, self.second, count)
        else:
            variance = math.log1p((self.second / self.first) ** 2)
            values = generator.lognormal(math.log(self.first) - variance / 2, math.sqrt(variance), count)
        return [max(1, round(value)) for value in values]


def parse_lengths(text: str) -> Lengths:
    """The lengths of ``256``, ``128-512``, ``normal:512:128`` or ``lognormal:512:256``. Raises ValueError."""
    name, _, rest = text.partition(":")
    try:
        if name in ("normal", "lognormal"):
            mean, deviation = map(float, rest.split(":"))
            if mean < 1 or deviation < 0:
                raise ValueError
            return Lengths("normal" if name == "normal" else "lognormal", mean, deviation)
        first, dash, last = text.partition("-")
        low, high = int(first), int(last) if dash else int(first)
        if low < 1 or high < low:
            raise ValueError
        return Lengths("uniform", low, high) if dash else Lengths("fixed", low)
    except ValueError:
        raise ValueError(f"{text!r} is no length in tokens; write {FORMS}") from None
