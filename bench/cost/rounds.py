"""Rounds over all configurations, interleaved, so that whatever changes on the machine meanwhile changes for all."""

from __future__ import annotations

from collections.abc import Sequence

from pennyweight.bench.load.view import View

from .configuration import Configuration
from .measure import Measured, Plan, measure
from .workload import Selection, Workload


async def run_rounds(
    configurations: Sequence[Configuration], workload: Workload, selections: Sequence[Selection], plan: Plan
) -> list[Measured]:
    """Measure every configuration once a round, on that round's rows; each round begins with another one."""
    measured = []
    with View() as view:
        for number, selection in enumerate(selections):
            first = number % len(configurations)
            for configuration in (*configurations[first:], *configurations[:first]):
                measured.append(await measure(configuration, number, workload, selection, plan, view))
    return measured
