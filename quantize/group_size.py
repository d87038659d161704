"""How many columns share a scale: a size that divides every projection."""

from __future__ import annotations

from collections.abc import Iterable

from .errors import QuantizeError

# Those that every kernel for four bits takes, the usual one first.
SIZES = (128, 64, 32)


def choose_group_size(columns: Iterable[int], given: int | None = None) -> int:
    """The largest of SIZES that divides all of ``columns``, the inputs of the projections; ``given`` if that does.

    Raises QuantizeError where ``given`` doesn't, proposing one that does, and where none does.
    """
    widths = sorted(set(columns))
    fitting = [size for size in SIZES if not any(width % size for width in widths)]
    if given is None:
        if fitting:
            return fitting[0]
        raise QuantizeError(
            f"{_odd(widths, SIZES[-1])}: no group of {', '.join(map(str, SIZES))} columns fits this model"
        )
    if given not in SIZES:
        raise QuantizeError(f"--group-size {given} is not done: use {', '.join(map(str, SIZES))}")
    if given in fitting:
        return given
    instead = (
        f"use --group-size {' or '.join(map(str, fitting))}" if fitting else "no size that is done fits this model"
    )
    raise QuantizeError(f"--group-size {given} does not fit: {_odd(widths, given)}; {instead}")


def _odd(widths: Iterable[int], size: int) -> str:
    first = next(width for width in widths if width % size)
    return f"it has projections of {first} columns, which {size} does not divide"
