"""Costs as tables for people."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from .estimate import Estimate
from .report import CostReport, Priced

THOUSAND = 1000


def cost_table(report: CostReport) -> Table:
    """A row for each configuration: its speed, what its tokens and answers cost, and what it saved over the step before."""
    table = Table(title="at the load's own throughput, with 95 % intervals; $/M: for a million tokens")
    table.add_column("configuration")
    for heading in (
        "$/h",
        "requests/h",
        "out tok/s",
        "$/M in",
        "$/M out",
        "$/M both",
        "$/1000 requests",
        "$/1000 accepted",
        "saved, of the first",
    ):
        table.add_column(heading, justify="right")
    saved = {step.name: step.saved_share for step in report.steps}
    for one in report.priced:
        share = saved.get(one.configuration.name)
        table.add_row(*_cost_cells(one), "" if share is None else f"{share:+.0%}")
    return table


def savings_table(report: CostReport) -> Table | None:
    """The steps that come after the last configuration; None without any."""
    savings = report.savings
    steps = [step for step in report.steps if step.basis is not None]
    if savings is None or not steps:
        return None
    table = Table(
        title=f"then, not measured on these configurations: the last one's cost, less what {escape(savings.result)} found of the prices of "
        f"tokens ({' and '.join(savings.prices)})"
    )
    table.add_column("step")
    table.add_column("with")
    for heading in ("$/M both", "saved, of the first"):
        table.add_column(heading, justify="right")
    for step in steps:
        low, high = step.interval
        table.add_row(
            step.name,
            step.basis,
            f"{step.dollars_per_million:.3g}\n{low:.3g} to {high:.3g}",
            f"{step.saved_share:+.0%}",
        )
    return table


def load_table(report: CostReport) -> Table | None:
    """What it costs at the loads that were asked for; None when none was."""
    if not any(one.at_load for one in report.priced):
        return None
    table = Table(title="at other loads")
    table.add_column("configuration")
    for heading in ("requests/h", "machines", "in use", "$/h", "$/M both", "$/1000 requests"):
        table.add_column(heading, justify="right")
    for one in report.priced:
        for level in one.at_load:
            table.add_row(
                escape(one.configuration.name),
                f"{level.requests_per_hour:,.0f}",
                str(level.machines),
                f"{level.utilisation:.0%}",
                f"{level.dollars_per_hour:.4g}",
                f"{level.per_million_total:.4g}",
                f"{level.per_request * THOUSAND:.4g}",
            )
    return table


def break_even_table(report: CostReport) -> Table | None:
    """From which load on each configuration is cheaper than hosted models, for this workload's mix of tokens."""
    if not report.break_even or report.mix is None:
        return None
    request = report.mix
    table = Table(
        title=f"requests/h from which one machine is cheaper (% of what it can do), at {request.input_tokens:.0f} tokens in "
        f"({request.cached_share:.0%} of them cached by the provider) and {request.output_tokens:.0f} out"
    )
    table.add_column("hosted model")
    table.add_column("$/1000 requests", justify="right")
    names = list(dict.fromkeys(one.configuration for one in report.break_even))
    for name in names:
        table.add_column(escape(name), justify="right")
    found = {(one.configuration, one.model): one for one in report.break_even}
    for model in dict.fromkeys(one.model for one in report.break_even):
        cells = []
        for name in names:
            one = found[name, model]
            cells.append(
                f"{one.requests_per_hour:,.0f} ({one.share_of_capacity:.0%})" if one.share_of_capacity <= 1 else "never"
            )
        table.add_row(escape(model), f"{found[names[0], model].hosted_per_request * THOUSAND:.4g}", *cells)
    return table


def _cost_cells(one: Priced) -> list[str]:
    name = escape(one.configuration.name) + (" (aside)" if one.configuration.is_aside else "")
    dollars = f"{one.configuration.dollars_per_hour:.4g}"
    if one.cost is None or one.capacity is None:
        return [f"{name}\n(failed)", dollars, *["-"] * 7]
    output = sum(each.output_tokens for each in one.rounds) / sum(each.seconds for each in one.rounds)
    return [
        name + ("\n(a round failed)" if any(each.failure for each in one.measured) else ""),
        dollars,
        f"{one.capacity.requests_per_hour:,.0f}",
        f"{output:.0f}",
        _estimate(one.cost.per_million_input),
        _estimate(one.cost.per_million_output),
        _estimate(one.cost.per_million_total),
        _estimate(one.cost.per_request, THOUSAND),
        _estimate(one.cost.per_accepted, THOUSAND),
    ]


def _estimate(found: Estimate | None, times: int = 1) -> str:
    if found is None:
        return "-"
    low, high = ("-" if end is None else f"{end * times:.3g}" for end in (found.low, found.high))
    return f"{found.value * times:.3g}\n{low} to {high}"
