"""Loads as they are written on a command line: single ones, lists and ranges."""

from __future__ import annotations

import math
from collections.abc import Sequence

MOST_LEVELS = 100


def parse_levels(texts: Sequence[str], what: str) -> list[float]:
    """The positive numbers of ``2``, ``1,2,4``, ``1:8`` (steps of 1), ``0.5:3:0.5`` or ``inf``, as they come, each once.

    Raises ValueError.
    """
    found: list[float] = []
    for text in (part for whole in texts for part in whole.split(",")):
        try:
            numbers = [float(number) for number in text.split(":")]
            if any(math.isnan(number) or number <= 0 for number in numbers) or len(numbers) > 3:
                raise ValueError
        except ValueError:
            raise ValueError(f"{text!r} is no {what}; write 2, 1,2,4 or a range, 1:8 or 0.5:3:0.5") from None
        if len(numbers) == 1:
            found.append(numbers[0])
            continue
        begin, end, step = (*numbers, 1.0)[:3]
        count = (end - begin) / step + 1
        if not 1 <= count <= MOST_LEVELS:
            raise ValueError(f"{text!r} is no range of 1 to {MOST_LEVELS} levels")
        # By multiplication: a sum of steps of 0.1 misses its end.
        found += [round(begin + step * number, 9) for number in range(math.floor(count + 1e-9))]
    return list(dict.fromkeys(found))
