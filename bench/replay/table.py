"""A replay as tables for people."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from pennyweight.bench.report.quantities import plain, share

from .totals import Agreement, Shown, Totals
from .verdict import Verdict

FINGERPRINT_DIGITS = 19
VALUE_LENGTH = 60


def tables(totals: Totals) -> Iterator[Table]:
    """What became of the requests, what differs in the manifests, and the first divergences."""
    yield _summary(totals)
    if totals.manifests:
        yield _manifests(totals)
    if totals.shown:
        yield _divergences(totals)


def _summary(totals: Totals) -> Table:
    table = Table(title=f"{totals.requests:,} recorded requests, run again", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for verdict in Verdict:
        if number := totals.verdicts[verdict.value]:
            table.add_row(verdict.value, f"{number:,}")
    for reason, number in totals.reasons.most_common():
        table.add_row(Text(f"  {reason}"), f"{number:,}")
    table.add_section()
    table.add_row("tokens before the first difference", f"{totals.matched:,} of {totals.tokens:,}")
    for row in _agreement(totals.agreement):
        table.add_row(*row)
    for reason, number in totals.unscored.most_common():
        table.add_row(Text(f"not scored: {reason}"), f"{number:,}")
    if totals.routed:
        table.add_row("routed in all of it the same", f"{totals.same_route:,} of {totals.routed:,}")
    for name, number in totals.differences.most_common():
        table.add_row(f"{name} differs", f"{number:,}")
    if totals.cached.requests:
        _cached(table, totals)
    return table


def _agreement(found: Agreement) -> Iterator[tuple[str, str]]:
    """Of the requests that are not bitwise equal alone: equal logits say nothing more."""
    if found.share is not None:
        yield "recorded tokens that are the most probable here", f"{share(found.share)} of {found.places:,}"
    if found.mean_difference is not None:
        yield "|logprob difference|, mean", plain(found.mean_difference)
        yield "|logprob difference|, largest", plain(found.max_difference)


def _cached(table: Table, totals: Totals) -> None:
    found = totals.cached
    table.add_section()
    table.add_row("known to the response cache by the same key", f"{found.same_key:,} of {found.requests:,}")
    table.add_row("answered through it with the same tokens", f"{found.same_answer:,} of {found.requests:,}")
    for name, number in found.results.most_common():
        table.add_row(f"  {name}", f"{number:,}")


def _manifests(totals: Totals) -> Table:
    table = Table(title="What differs in the manifests")
    for heading in ("model", "part", "recorded", "now"):
        table.add_column(heading)
    table.add_column("requests", justify="right")
    for change in totals.manifests:
        for part in change.parts:
            values = (part.one, part.other)
            row = (change.model, part.name, *("-" if one is None else one[:VALUE_LENGTH] for one in values))
            table.add_row(*map(Text, row), f"{change.requests:,}")
    return table


def _divergences(totals: Totals) -> Table:
    table = Table(title="The first divergences")
    for heading in ("request", "where", "before", "recorded", "now"):
        table.add_column(heading, overflow="fold")
    for one in totals.shown:
        table.add_row(
            Text(one.id), _where(one), Text(one.before[-VALUE_LENGTH:]), *map(Text, (_recorded(one), _replayed(one)))
        )
    return table


def _where(one: Shown) -> str:
    if one.prompt_position is not None:
        return f"token {one.prompt_position} of the prompt"
    parting = one.parting
    assert parting is not None
    of = f" of choice {parting.choice}" if parting.choice else ""
    if parting.position is None:
        return f"logits from token {parting.logits}{of} on"
    if parting.logits is None or parting.logits == parting.position:
        return f"token {parting.position}{of}"
    return f"token {parting.position}{of}, logits from {parting.logits} on"


def _recorded(one: Shown) -> str:
    return _token(None if one.parting is None else one.parting.recorded, one.recorded_text)


def _replayed(one: Shown) -> str:
    return _token(None if one.parting is None else one.parting.replayed, one.replayed_text)


def _token(token: int | None, text: str) -> str:
    return text if token is None else f"{token}: {text}"
