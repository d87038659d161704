from __future__ import annotations

from collections.abc import Callable

import pytest

from pennyweight.bench.report.quantities import (
    binary_bytes,
    change,
    dollars,
    plain,
    seconds,
    share,
    times,
    with_interval,
)


@pytest.mark.parametrize(
    ("show", "value", "shown"),
    [
        (plain, 0.01234, "0.0123"),
        (plain, 4.567, "4.57"),
        (plain, 12345.6, "12,346"),
        (plain, 5.0, "5"),
        (plain, 0.0, "0"),
        (plain, None, "–"),
        (plain, float("nan"), "–"),
        (seconds, 0.0000123, "12.3 µs"),
        (seconds, 0.0851, "85.1 ms"),
        (seconds, 1.5, "1.50 s"),
        (seconds, 600.0, "10 min"),
        (seconds, 9000.0, "2.50 h"),
        (share, 0.9876, "98.8 %"),
        (share, 0.5, "50 %"),
        (dollars, 12.345, "$12.35"),
        (dollars, 0.61, "$0.61"),
        (dollars, 0.5, "$0.50"),
        (dollars, 0.0012345, "$0.00123"),
        (dollars, -2.0, "-$2.00"),
        (binary_bytes, 3 * 2**30, "3 GiB"),
        (binary_bytes, 512.0, "512 B"),
        (times, 1.468, "1.47×"),
    ],
)
def test_numbers_are_written_for_people(show: Callable[[float | None], str], value: float | None, shown: str) -> None:
    assert show(value) == shown


def test_intervals_and_changes() -> None:
    assert with_interval(0.085, (0.08, 0.091), seconds) == "85 ms (80 ms to 91 ms)"
    assert with_interval(0.085, None, seconds) == "85 ms"
    assert (change(100, 104.2), change(0, 1)) == ("+4.2 %", "–")
