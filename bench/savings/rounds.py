"""Rounds over all steps, interleaved, with one server behind them that stands for a hosted one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from pennyweight.bench.compare.rounds import interleaved
from pennyweight.bench.load.view import View
from pennyweight.bench.peers.process import running

from .measure import Measured, Plan, measure
from .policy import Policy
from .step import STEPS, Prices, Serving, serve, settings, upstream_settings
from .stream import Stream, Workload


async def run_rounds(
    serving: Serving,
    prices: Prices,
    policy: Policy,
    workload: Workload,
    rounds: Sequence[Sequence[Stream]],
    plan: Plan,
    keep: Callable[[Measured], None],
) -> None:
    """Measure every step once a round on that round's streams; ``keep`` gets each as it is measured. Raises PeerFailed when the
    hosted one doesn't start."""
    with tempfile.TemporaryDirectory(prefix="pennyweight-savings-") as name, View() as view:
        directory = Path(name)
        view.say("starting the upstream")
        async with running(serve(upstream_settings(serving), directory / "upstream.yaml")) as upstream:
            for number, step in interleaved(STEPS, len(rounds)):
                own = settings(step, serving, prices, policy.settings, upstream.url)
                keep(await measure(step, own, number, workload, rounds[number], plan, directory, view))
