"""A drift as tables for people."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from pennyweight.bench.report.quantities import plain, share, with_interval
from pennyweight.quantize.quality.bootstrap import Estimate

from .summary import Drift

VALUE_LENGTH = 60


def tables(drift: Drift) -> Iterator[Table]:
    """The measures, what differs in the manifests, and the first answers that part."""
    yield _measures(drift)
    if drift.parts:
        table = Table(title="What differs in the manifests")
        for heading in ("part", "A", "B"):
            table.add_column(heading)
        for part in drift.parts:
            values = ("-" if one is None else one[:VALUE_LENGTH] for one in (part.one, part.other))
            table.add_row(*map(Text, (part.name, *values)))
        yield table
    if drift.parted:
        table = Table(title="The first answers that part")
        for heading in ("request", "token", "before", "A", "B"):
            table.add_column(heading, overflow="fold")
        for one in drift.parted:
            table.add_row(*map(Text, (one.id, str(one.position), one.before, one.one, one.other)))
        yield table


def _measures(drift: Drift) -> Table:
    table = Table(title=f"A: {drift.one.name}\nB: {drift.other.name}", show_header=False, title_justify="left")
    table.add_column()
    table.add_column(justify="right")
    table.add_row("requests", f"{drift.requests:,}")
    if drift.other_prompts:
        table.add_row("of other prompt tokens", f"{drift.other_prompts:,}")
    if drift.answers is not None:
        table.add_row("greedy answers that are equal", _shown(drift.answers.equal, is_share=True))
        table.add_row("tokens that begin alike", _shown(drift.answers.matched_tokens))
    if drift.forced is not None:
        forced = drift.forced
        table.add_section()
        table.add_row("recorded tokens", f"{forced.places:,} of {forced.requests:,} answers")
        table.add_row("top-1 agreement", _shown(forced.top1, is_share=True))
        table.add_row("KL(A || B), nats a token, at least", _shown(forced.kl))
        table.add_row("|logprob difference|, mean", _shown(forced.difference))
        table.add_row("|logprob difference|, largest", plain(forced.largest_difference))
    for reason, number in drift.left_out.items():
        table.add_row(Text(reason), f"{number:,}")
    return table


def _shown(found: Estimate, *, is_share: bool = False) -> str:
    return with_interval(found.value, (found.low, found.high), share if is_share else plain)
