"""A plan as tables for people."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from .demand import Demand
from .plan import Plan
from .search import Configuration

MOST_HOSTED = 8


def make_tables(plan: Plan, demand: Demand) -> Iterator[Table]:
    """The ranking, then what there is to know of its first line."""
    yield _ranking(plan, demand)
    yield _best(plan)
    yield _break_even(plan)
    yield _sensitivity(plan)


def _ranking(plan: Plan, demand: Demand) -> Table:
    workload = demand.workload
    table = Table(
        title=f"{workload.rate:.3g} requests/s of {demand.mean_input:.0f} + {demand.mean_output:.0f} tokens, "
        f"SLO {', '.join(map(str, demand.slo))}"
    )
    for name in ("", "devices", "quantisation", "batch", "shares"):
        table.add_column(name)
    for name in (
        "$/h",
        "$/M tokens",
        "over the day",
        "$/1000 accepted",
        "TTFT p50/p99",
        "TPOT p50/p99",
        "headroom",
        "KV slots",
    ):
        table.add_column(name, justify="right")
    for rank, (one, headroom) in enumerate(zip(plan.found.configurations, plan.headroom, strict=True), start=1):
        economics, candidate = one.economics, one.candidate
        quality = "" if candidate.quantisation.quality is None else f" ({candidate.quantisation.quality:.1%})"
        accepted = "-" if economics.per_accepted is None else f"{economics.per_accepted * 1000:.4g}"
        table.add_row(
            str(rank),
            f"{one.replicas} x {candidate.tp} {candidate.offer.name}",
            candidate.quantisation.name + quality,
            str(candidate.max_num_seqs),
            _shares(one),
            f"{economics.dollars_per_hour:.2f}",
            f"{economics.per_million:.4g}",
            f"{economics.per_million_over_the_day:.4g}",
            accepted,
            _pair(one, "ttft"),
            _pair(one, "tpot"),
            f"{(headroom - 1) * 100:+.0f} %",
            f"{one.kv_tokens:,}",
        )
    rejected = plan.found.rejected
    missing = sum(one.missing for one in rejected)
    table.caption = (
        f"devices: replicas x tensor parallelism; times in ms; {missing} candidates had no room for the model, "
        f"{len(rejected) - missing} could not keep the SLO, {plan.found.passed_over} were passed over as dearer"
    )
    return table


def _best(plan: Plan) -> Table:
    table = Table(title="The first one: predictions, with 90 % intervals")
    for name in ("", "predicted", "from", "to"):
        table.add_column(name, justify="left" if not name else "right")
    for name, interval in plan.intervals.items():
        is_time = name != "headroom"
        cells = [
            f"{value * 1000:.1f} ms" if is_time else f"x {value:.2f}"
            for value in (interval.value, interval.low, interval.high)
        ]
        metric, _, percent = name.partition("_")
        table.add_row(f"{metric.upper()} {percent}" if is_time else "rate that keeps the SLO", *cells)
    table.add_section()
    for name, use in (("at the peak", plan.peak), ("in the trough", plan.trough)):
        if use is not None:
            label = f"use {name} (x {use.relative_rate:.2f})"
            table.add_row(label, f"{use.of_capacity:.0%} of capacity", f"{use.busy:.0%} busy", "")
    if plan.calibration is None:
        table.caption = "not calibrated: the parameters are defaults (pennyweight plan --calibrate)"
    else:
        errors = ", ".join(f"{name} {error:.0%}" for name, error in plan.calibration.errors.items())
        table.caption = (
            f"calibrated on {plan.calibration.device} with {plan.calibration.model} on {plan.calibration.date}; "
            f"median errors measured then: {errors}"
        )
    return table


def _break_even(plan: Plan) -> Table:
    table = Table(title="Against hosted models, at list prices and this traffic")
    for name in ("hosted model", "$/M tokens", "$/h there", "break-even (requests/h)", "of capacity"):
        table.add_column(name, justify="left" if name == "hosted model" else "right")
    for one in plan.break_even[:MOST_HOSTED]:
        share = f"{one.share_of_capacity:.0%}" if one.share_of_capacity <= 1 else "never pays"
        table.add_row(
            one.model,
            f"{one.hosted_per_million:.4g}",
            f"{one.hosted_per_hour:.2f}",
            f"{one.requests_per_hour:,.0f}",
            share,
        )
    if len(plan.break_even) > MOST_HOSTED:
        table.caption = f"the dearest {MOST_HOSTED} of {len(plan.break_even)}; all are in the result (--hosted picks)"
    return table


def _sensitivity(plan: Plan) -> Table:
    table = Table(title="What a change of one input does to the first one")
    for name in ("input", "", "TTFT p99 (ms)", "rate that keeps the SLO", "$/M tokens at that rate"):
        table.add_column(name, justify="left" if name == "input" else "right")
    for one in sorted(plan.sensitivity, key=lambda change: change.input):
        dollars = "-" if one.per_million_at_limit is None else f"{one.per_million_at_limit:.4g}"
        table.add_row(
            one.input,
            f"{(one.factor - 1) * 100:+.0f} %",
            f"{one.ttft_p99 * 1000:.0f}",
            f"x {one.headroom:.2f}",
            dollars,
        )
    return table


def _shares(one: Configuration) -> str:
    shares = one.candidate.shares
    named = (("prefix", shares.prefix), ("cache", shares.response_cache), ("route", shares.route))
    return ", ".join(f"{name} {share:.0%}" for name, share in named if share)


def _pair(one: Configuration, metric: str) -> str:
    return f"{one.percentiles[f'{metric}_p50'] * 1000:.0f} / {one.percentiles[f'{metric}_p99'] * 1000:.0f}"
