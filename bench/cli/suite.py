"""``pennyweight bench suite``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pennyweight.server.ledger.price_book import PriceBook


def suite(
    out: Annotated[Path, typer.Option(help="A directory for everything; named again, a suite that was ended goes on.")],
    profile: Annotated[str, typer.Option(help="rented-gpu or cpu.")] = "rented-gpu",
    minutes: Annotated[float, typer.Option(min=0.5, help="That it may take; what would not fit is left out.")] = 25.0,
    model: Annotated[
        str, typer.Option(help="What is served: as for pennyweight serve, but fetched already.")
    ] = "smollm2-135m-instruct",
    dtype: Annotated[str, typer.Option(help="Its numerics.")] = "bfloat16",
    quantised: Annotated[str, typer.Option(help="Its numerics where the cheapest are compared.")] = "int8",
    dollars_per_hour: Annotated[float | None, typer.Option(min=0, help="What this machine costs.")] = None,
    price: Annotated[str | None, typer.Option(help="The same as an entry of the books (pennyweight prices).")] = None,
    vllm_python: Annotated[
        Path | None, typer.Option(help="The Python that vLLM is installed for, to compare with it.")
    ] = None,
    vllm_dtype: Annotated[str, typer.Option(help="vLLM's numerics; float32 on a CPU without AVX-512.")] = "bfloat16",
    device: Annotated[str | None, typer.Option(help="This machine's name in the planner's book of devices.")] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="Real prompts for the costs; by default questions of ours.")
    ] = None,
    traces: Annotated[Path | None, typer.Option(help="A directory with a trace to replay (azure*).")] = None,
    kv_cache_gib: Annotated[int, typer.Option(min=1, help="Of each server.")] = 2,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    plan_only: Annotated[bool, typer.Option("--plan", help="Show what would be run, and run nothing.")] = False,
) -> None:
    """Everything that a rented machine should be asked, in one go: the most valuable first, within a budget of time.

        pennyweight bench suite --profile rented-gpu --minutes 25 --model ~/models/llama-3.1-8b --dollars-per-hour 2.49 --out results
        pennyweight bench suite --profile cpu --minutes 15 --dollars-per-hour 0.10 --out results

    The steps are shown before the first one begins. Each leaves its result in a directory of its own and report.html is
    written anew, so that whatever comes in between, what was measured is there; the same command goes on after the last step
    that has a result. The exit code is 1 when a step failed.
    """
    import msgspec
    from rich.console import Console

    from pennyweight.bench.compare.rounds import until_terminated
    from pennyweight.bench.report.write import write_report
    from pennyweight.bench.result import Run, show
    from pennyweight.bench.suite.profiles import PROFILES, Subject, write_prompts
    from pennyweight.bench.suite.record import Outcome, State, open_record
    from pennyweight.bench.suite.runner import run_steps
    from pennyweight.bench.suite.step import Step
    from pennyweight.bench.suite.table import make_table
    from pennyweight.server.errors import ConfigError
    from pennyweight.server.ledger.price_book import load_prices

    if profile not in PROFILES:
        raise typer.BadParameter(
            f"there is no profile {profile}; there are {', '.join(PROFILES)}", param_hint="--profile"
        )
    if (dollars_per_hour is None) == (price is None):
        raise typer.BadParameter("say what this machine costs: --dollars-per-hour or --price")
    subject = Subject(
        model=_directory(model),
        dollars_per_hour=_price(load_prices(None), price) if dollars_per_hour is None else dollars_per_hour,
        dtype=dtype,
        quantised=quantised,
        vllm_python=vllm_python.absolute() if vllm_python else None,
        vllm_dtype=vllm_dtype,
        device=device,
        prompts=prompts.absolute() if prompts else None,
        traces=traces.absolute() if traces else None,
        kv_cache_gib=kv_cache_gib,
        seed=seed,
    )
    options = msgspec.to_builtins(subject, enc_hook=str)
    try:
        record = open_record(out.absolute(), profile, options)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    steps = PROFILES[profile](subject)
    console = Console(stderr=True)
    console.print(make_table(steps, record, minutes))
    if plan_only:
        return
    out.mkdir(parents=True, exist_ok=True)
    write_prompts(out)
    run = Run("suite", {"profile": profile, "minutes": minutes, **options})

    def on_change(step: Step, outcome: Outcome | None) -> None:
        if outcome is None:
            console.print(f"{step.name}: {step.what} (about {step.seconds:.0f} s)", highlight=False)
            return
        console.print(f"{step.name}: {outcome.state} {outcome.reason}", highlight=False, markup=False)
        if outcome.state in (State.DONE, State.INVALID):
            write_report([out], out)

    asyncio.run(until_terminated(run_steps(steps, record, out.absolute(), 60 * minutes, on_change)))
    outcomes = list(record.outcomes.values())
    complaints = tuple(f"{one.name} failed: {one.reason}" for one in outcomes if one.state is State.FAILED)
    show(run.result({"steps": outcomes}, versions={}, complaints=complaints), None, make_table(steps, record, minutes))
    if complaints:
        sys.exit(1)


def _price(book: PriceBook, id: str | None) -> float:
    """Dollars per hour of a machine or of one card of the books. Raises ConfigError."""
    from pennyweight.server.errors import ConfigError
    from pennyweight.server.ledger.price_book import GpuPrice, MachinePrice

    found = book.find(id or "")
    if not isinstance(found, GpuPrice | MachinePrice):
        raise ConfigError(f"--price {id} is of a hosted model: name a machine or a card (pennyweight prices)")
    return float(found.dollars_per_hour)


def _directory(model: str) -> Path:
    """Where a model lies; fetched first if it comes from a package. Raises ConfigError."""
    from pennyweight.bench.peers.base import PeerFailed, output_of
    from pennyweight.server.errors import ConfigError

    if (path := Path(model).expanduser()).exists():
        return path.absolute()
    try:
        return Path(output_of([sys.executable, "-m", "pennyweight.server.cli", "pull", model]).splitlines()[-1])
    except PeerFailed as error:
        raise ConfigError(f"the model {model} can't be had: {error}") from None
