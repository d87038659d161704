"""Fixed thresholds, as they are asked for."""

from __future__ import annotations

import re

FORM = re.compile(r"(0?\.\d+|0|1(?:\.0+)?)(?:\.\.(0?\.\d+|1(?:\.0+)?))?")


def read_sweep(text: str) -> list[float]:
    """``0.80..0.99`` in steps of a hundredth, or one threshold. Raises ValueError."""
    found = FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"the sweep is {text!r}; it must be like 0.80..0.99, or one cosine")
    first, last = round(100 * float(found[1])), round(100 * float(found[2] or found[1]))
    if first > last:
        raise ValueError(f"the sweep {text} ends before it begins")
    return [step / 100 for step in range(first, last + 1)]
