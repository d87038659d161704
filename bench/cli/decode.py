"""``pennyweight bench decode``."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

TOKENIZER_OF = "smollm2-135m-instruct"


def decode(
    shape: Annotated[str, typer.Option(help="llama-3.1-8b, or tiny to see whether it works.")] = "llama-3.1-8b",
    batch: Annotated[list[int], typer.Option(min=1, help="May be repeated.")] = [1, 16, 64, 256],  # noqa: B006
    dtype: Annotated[str, typer.Option(help="bfloat16, int8 or float32.")] = "bfloat16",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    prompt_tokens: Annotated[int, typer.Option(min=1)] = 128,
    short: Annotated[int, typer.Option(min=1, help="Output tokens of the short answers.")] = 32,
    long: Annotated[int, typer.Option(min=2, help="Output tokens of the long answers.")] = 160,
    model: Annotated[Path | None, typer.Option(help="Where the model is written, or was.")] = None,
    out: Annotated[Path | None, typer.Option(help="A directory for the result.")] = None,
) -> None:
    """Tokens per second of decode steps at each batch size, and the share of memory bandwidth that they reach.

    The model has Llama-3.1-8B's shape and random weights: 16 GB of disk and of memory in bfloat16, written once.
    """
    from rich.console import Console

    from pennyweight.bench.bandwidth import device_bandwidth, driver_version
    from pennyweight.bench.decode import WEIGHT_BYTES, Lengths, Served, make_table, measure
    from pennyweight.bench.peers.base import output_of
    from pennyweight.bench.random_model import SHAPES, write_model
    from pennyweight.bench.result import Run, show

    if shape not in SHAPES or dtype not in WEIGHT_BYTES or long <= short:
        raise typer.BadParameter("shape and dtype must be of those in --help, and long above short")
    sizes, lengths = SHAPES[shape], Lengths(prompt_tokens, short, long)
    run = Run("decode", {"shape": shape, "dtype": dtype, "lengths": lengths, "batch": batch, "rounds": rounds})
    directory = model or Path(tempfile.gettempdir()) / f"pennyweight-random-{shape}"
    progress = Console(stderr=True)
    progress.print(f"writing {sizes.parameters / 1e9:.2f} billion random parameters to {directory}", highlight=False)
    tokenizer = Path(output_of([sys.executable, "-m", "pennyweight.server.cli", "pull", TOKENIZER_OF]).splitlines()[-1])
    write_model(sizes, directory, tokenizer)
    bandwidth = device_bandwidth(device)
    served = Served(directory, dtype, device, max(batch), prompt_tokens + long)
    steps = asyncio.run(measure(served, sizes, lengths, batch, rounds, bandwidth, progress))
    data = {"device": bandwidth, "shape": sizes, "parameters": sizes.parameters, "steps": steps}
    versions = {"driver": found} if (found := driver_version()) else {}
    show(run.result(data, versions=versions), out, make_table(steps, shape, dtype, bandwidth))
