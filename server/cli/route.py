"""``pennyweight route``: ask a running server how it would route a prompt."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from .chat_client import ChatClient, ChatError

route = typer.Typer(
    name="route",
    help="See where a running server would send a prompt, and why.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@route.callback()
def _commands() -> None:
    pass


@route.command()
def explain(
    prompt: Annotated[str, typer.Argument(help="What would be asked; - reads it from the standard input.")],
    model: Annotated[str, typer.Option(help="auto, or auto:TIER.")] = "auto",
    tier: Annotated[str | None, typer.Option(help="A tier to ask for.", show_default=False)] = None,
    max_cost: Annotated[
        float | None, typer.Option(help="What the answer may cost, in US dollars.", show_default=False)
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest answer in tokens.", show_default=False)] = None,
    url: Annotated[str, typer.Option(help="The server.")] = "http://127.0.0.1:8000",
    api_key: Annotated[
        str | None, typer.Option(envvar=["PENNYWEIGHT_API_KEY", "OPENAI_API_KEY"], show_default=False, help="Its key.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object, for programs.")] = False,
) -> None:
    """The tier and the model that a prompt would go to now, with every number that the decision went by. Nothing is generated."""
    asked = {"service_tier": tier, "max_cost": max_cost, "max_tokens": max_tokens}
    text = sys.stdin.read() if prompt == "-" else prompt
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}]}
    client = ChatClient(url, api_key.partition(",")[0].strip() if api_key else None)
    try:
        found = client.explain_route(body | {name: value for name, value in asked.items() if value is not None})
    except ChatError as error:
        print(f"pennyweight: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    if as_json:
        print(json.dumps(found))
        return
    _show(found, Console(highlight=False))


def _show(found: dict[str, Any], console: Console) -> None:
    scores = "".join(f", {name} {value:g}" for name, value in found["scores"].items())
    console.print(f"{found['model']} in the tier {found['tier']}", style="bold", markup=False)
    console.print(f"by the policy {found['policy']}: {found['reason']}{scores}", markup=False, soft_wrap=True)
    console.print(f"then {', '.join(found['chain'][1:]) or 'none'}", markup=False)
    if (stronger := found["escalation"]) is not None:
        chain, judges = ", ".join(stronger["chain"]), ", ".join(stronger["judges"])
        console.print(
            f"judged by {judges}; where they are not sure, {chain} in the tier {stronger['tier']}",
            markup=False,
            soft_wrap=True,
        )
    orders: dict[str, Any] = next((one["order"] for one in found["considered"] if one["order"]), {})
    table = Table("tier", "model", *orders, "", box=None, padding=(0, 2, 0, 0))
    for one in found["considered"]:
        numbers = [_number(one["order"].get(name)) if one["order"] else "" for name in orders]
        table.add_row(one["tier"], one["model"], *numbers, one["refusal"] or "")
    console.print(table)


def _number(value: float | None) -> str:
    return "not known" if value is None else f"{value:.3g}"
