"""What a load cost: the machine's time at its price, divided over the answers.

A machine is paid for by the hour, whatever it does. So a round's bill is its price times the round's length, from the first
request's sending to the last answer's end, and each request is charged for the time for which it held a place on the machine:
its end-to-end latency over the sum of all. In a closed loop of C clients these latencies add up to C times the length, so that
this is the division of the machine that took place. Failed requests are charged like others: they took the time, and gave nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

import msgspec

SECONDS_PER_HOUR = 3600
# The parts of a bill are whole multiples of this many dollars.
QUANTUM = Decimal("1e-15")


class Answer(msgspec.Struct, frozen=True):
    """One request of a round, as far as its cost goes. ``seconds`` is from its sending to its end.

    ``cached_tokens`` are a part of ``input_tokens``. ``is_accepted`` says that it met its SLO and its check.
    """

    seconds: float
    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    is_completed: bool = True
    is_accepted: bool = True


class Round(msgspec.Struct, frozen=True):
    """One load on one configuration. ``seconds`` is its length; ``prefill_share`` the part of it that prompts took."""

    seconds: float
    answers: tuple[Answer, ...]
    prefill_share: float

    @property
    def input_tokens(self) -> int:
        """Of the completed requests."""
        return sum(answer.input_tokens for answer in self.answers if answer.is_completed)

    @property
    def output_tokens(self) -> int:
        return sum(answer.output_tokens for answer in self.answers if answer.is_completed)

    @property
    def cached_tokens(self) -> int:
        return sum(answer.cached_tokens for answer in self.answers if answer.is_completed)

    @property
    def completed(self) -> int:
        return sum(answer.is_completed for answer in self.answers)

    @property
    def accepted(self) -> int:
        return sum(answer.is_accepted for answer in self.answers)

    def bill(self, dollars_per_hour: Decimal) -> Decimal:
        """What the machine cost meanwhile, in dollars."""
        seconds = Decimal(self.seconds)
        return (dollars_per_hour * seconds / SECONDS_PER_HOUR).quantize(QUANTUM)

    def charges(self, dollars_per_hour: Decimal) -> list[Decimal]:
        """Each answer's part of the bill, in dollars; their sum is the bill, to the last digit."""
        return divided(self.bill(dollars_per_hour), [answer.seconds for answer in self.answers])


def divided(total: Decimal, weights: Sequence[float]) -> list[Decimal]:
    """``total`` in parts that are in proportion to ``weights`` and add up to it exactly; equal parts where all weigh 0.

    Parts are rounded down to QUANTUM, and what is left goes, one QUANTUM each, to those that lost most by it
    (Hamilton's method). ``total`` must be a multiple of QUANTUM.
    """
    exact = [Fraction(weight) for weight in weights]
    if not sum(exact):
        exact = [Fraction(1)] * len(weights)
    units, whole = Fraction(total / QUANTUM), sum(exact)
    shares = [units * weight / whole for weight in exact]
    parts = [int(share) for share in shares]
    by_loss = sorted(range(len(parts)), key=lambda index: shares[index] - parts[index], reverse=True)
    for index in by_loss[: int(units) - sum(parts)]:
        parts[index] += 1
    return [QUANTUM * part for part in parts]


def prefill_share(probe_seconds: float, probe_tokens: int, seconds: float, input_tokens: int) -> float:
    """Which part of a round its prompts took, by a probe: a load of like prompts with one output token each.

    The probe's seconds per prompt token, times the round's prompt tokens, over the round's seconds; at most 1. One output token
    comes from the prefill itself, so that a probe's time is prefill alone.
    """
    if not (probe_tokens and seconds):
        return 0.0
    return min(1.0, probe_seconds / probe_tokens * input_tokens / seconds)


def weighted_share(input_tokens: int, output_tokens: int, output_weight: float) -> float:
    """The same by rule, where nothing was measured: an output token takes ``output_weight`` times an input token's time."""
    total = input_tokens + output_weight * output_tokens
    return input_tokens / total if total else 0.0
