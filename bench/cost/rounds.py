"""Rounds over all configurations, interleaved, so that whatever changes on the machine meanwhile changes for all."""

from __future__ import annotations

from collections.abc import Sequence

from pennyweight.bench.compare.rounds import interleaved
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
        for number, configuration in interleaved(configurations, len(selections)):
            measured.append(await measure(configuration, number, workload, selections[number], plan, view))
    return measured
