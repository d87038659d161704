"""``pennyweight prices``: see the price books, and check one's own."""

from __future__ import annotations

import os
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from pennyweight.server.ledger.price_book import GpuPrice, MachinePrice, ModelPrice, Price, PriceBook

OLD_DAYS = 90
WIDTH = 160

prices = typer.Typer(
    name="prices",
    help="See what GPUs, machines and hosted models cost by their providers' lists, and check a file of your own.",
    invoke_without_command=True,
    rich_markup_mode="rich",
)
_OWN = Annotated[
    Path | None,
    typer.Option(
        "--prices",
        envvar="PENNYWEIGHT_PRICES",
        help="A file of your own, whose entries replace those of the same id and add to the others.",
    ),
]
_JSON = Annotated[bool, typer.Option("--json", help="As one line of JSON, for programs.")]


@prices.callback()
def _list_by_default(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        own = os.environ.get("PENNYWEIGHT_PRICES")
        list_prices(Path(own) if own else None)


@prices.command("list")
def list_prices(
    own: _OWN = None,
    kind: Annotated[str | None, typer.Option(help="Only gpus, machines or models.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only those of providers whose names contain this.")] = None,
    terms: Annotated[str | None, typer.Option(help="Only on-demand, spot or reserved.")] = None,
    match: Annotated[str | None, typer.Option(help="Only those whose id, card or model contains this.")] = None,
    as_json: _JSON = False,
) -> None:
    """Every price, cheapest first: GPUs for one card and hour, machines whole, models for a million tokens."""
    if kind not in (None, "gpus", "machines", "models"):
        raise typer.BadParameter("must be gpus, machines or models", param_hint="--kind")
    if terms not in (None, "on-demand", "spot", "reserved"):
        raise typer.BadParameter("must be on-demand, spot or reserved", param_hint="--terms")
    book = _book(own)

    def is_wanted(price: Price) -> bool:
        names = " ".join((price.id, getattr(price, "card", ""), getattr(price, "model", ""))).lower()
        return (
            (provider is None or provider.lower() in price.provider.lower())
            and (terms is None or getattr(price, "terms", None) == terms)
            and (match is None or match.lower() in names)
        )

    gpus = [price for price in book.gpus.values() if kind in (None, "gpus") and is_wanted(price)]
    machines = [price for price in book.machines.values() if kind in (None, "machines") and is_wanted(price)]
    models = [price for price in book.models.values() if kind in (None, "models") and is_wanted(price)]
    if as_json:
        _print_json({"gpus": gpus, "machines": machines, "models": models})
        return
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    if gpus:
        console.print(_gpu_table(gpus))
    if machines:
        console.print(_machine_table(machines))
    if models:
        console.print(_model_table(models))
    if not (gpus or machines or models):
        console.print("no price fits")


@prices.command()
def show(id: Annotated[str, typer.Argument(show_default=False)], own: _OWN = None, as_json: _JSON = False) -> None:
    """One price with all that is known of it: its source, its day, and what to mind."""
    price = _book(own).find(id)
    if as_json:
        _print_json(price)
        return
    for name in price.__struct_fields__:
        value = getattr(price, name)
        if value not in (None, ""):
            print(f"{name:18}{value}")


@prices.command()
def check(
    file: Annotated[
        Path | None, typer.Argument(help="A file of prices; without it those in effect.", show_default=False)
    ] = None,
    own: _OWN = None,
    older_than: Annotated[int, typer.Option(min=0, help="Days after which a price is old.")] = OLD_DAYS,
) -> None:
    """Check a file of prices, and tell which are old or at their end. The exit code is 1 when any is, or the file is wrong."""
    from pennyweight.server.ledger.price_book import read_prices

    book = _book(own) if file is None else read_prices(file)
    today = date.today()
    found = list(book)
    complaints = 0
    for price in found:
        faults = []
        if price.as_of > today:
            faults.append(f"is of {price.as_of}, a day to come")
        elif (age := price.age_days(today)) > older_than:
            faults.append(f"is of {price.as_of}, {age} days ago")
        if price.ends is not None and price.ends < today:
            faults.append(f"ended on {price.ends}")
        if faults:
            complaints += 1
            print(f"{price.id} {' and '.join(faults)}: look at {price.url or price.source}")
    print(f"{len(found)} prices, {complaints} of them to be looked at (older than {older_than} days, or ended)")
    if complaints:
        raise typer.Exit(1)


def _book(own: Path | None) -> PriceBook:
    from pennyweight.server.ledger.price_book import load_prices

    return load_prices(own)


def _gpu_table(found: list[GpuPrice]) -> Table:
    table = _table("GPUs, $ for one and hour", "id", "card", "provider", "terms", ">GB", ">$/h", ">rented by", "as of")
    for price in sorted(found, key=lambda price: (price.card, price.dollars_per_hour)):
        cells = (price.memory_gb, _dollars(price.dollars_per_hour), price.least_gpus, price.as_of)
        table.add_row(escape(price.id), escape(price.card), escape(price.provider), price.terms, *map(str, cells))
    return table


def _machine_table(found: list[MachinePrice]) -> Table:
    table = _table(
        "machines, $ for the whole and hour", "id", "provider", "terms", ">cores", ">GB", ">$/h", ">$/core h", "as of"
    )
    for price in sorted(found, key=lambda price: price.dollars_per_core_hour):
        money = (_dollars(price.dollars_per_hour), _dollars(price.dollars_per_core_hour))
        cells = (price.cores, price.memory_gb, *money, price.as_of)
        table.add_row(escape(price.id), escape(price.provider), price.terms, *map(str, cells))
    return table


def _model_table(found: list[ModelPrice]) -> Table:
    table = _table("hosted models, $ for a million tokens", "id", "provider", ">input", ">cached", ">output", "as of")
    for price in sorted(found, key=lambda price: price.input + price.output):
        cached = "-" if price.cached_input is None else _dollars(price.cached_input)
        cells = (_dollars(price.input), cached, _dollars(price.output), str(price.as_of))
        table.add_row(escape(price.id), escape(price.provider), *cells)
    return table


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(
            heading.removeprefix(">"), justify="right" if heading.startswith(">") else "left", no_wrap=True
        )
    return table


def _dollars(value: Any) -> str:
    """At least two decimals, at most four."""
    text = f"{value:.4f}"
    return text[:-2] if text.endswith("00") else text


def _print_json(value: object) -> None:
    import msgspec

    print(msgspec.json.encode(value).decode())
