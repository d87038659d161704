"""The command ``pennyweight router calibrate``: what a model's margins say of its answers' being right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def calibrate(
    prompts: Annotated[
        Path,
        typer.Argument(
            help="JSON Lines (or .gz) with prompt or messages, and expect (a regex) or schema, which say what is right.",
            show_default=False,
        ),
    ],
    url: Annotated[str, typer.Option(help="The server.", show_default=False)],
    model: Annotated[
        str, typer.Option(help="The model whose answers are to be judged: the weaker.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="The file to write the calibration to.", show_default=False)],
    margin_over: Annotated[
        Literal["mean", "least"], typer.Option(help="Of an answer's tokens, as router.cascade has it.")
    ] = "mean",
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Of the folds.")] = 0,
    api_key: Annotated[
        str | None, typer.Option(envvar=["PENNYWEIGHT_API_KEY", "OPENAI_API_KEY"], show_default=False, help="Its key.")
    ] = None,
) -> None:
    """Learn what a model's margins say of its answers' being right, for router.cascade.calibration.

    \b
        pennyweight router calibrate asked.jsonl.gz --url http://127.0.0.1:8000 --model small --out margin.json

    Asks the model each prompt, greedily and with logprobs, and fits the share of right answers at rising margins by isotonic
    regression. The table, in which each answer is judged by a calibration that has not seen it, says what a `min_right` would
    let through.
    """
    import asyncio
    import hashlib

    import msgspec
    import numpy as np
    from rich.console import Console

    from pennyweight.bench.cost.check import read_checks
    from pennyweight.bench.load.endpoint import Endpoint, base_url
    from pennyweight.bench.load.prompt_file import read_prompts
    from pennyweight.bench.load.sample import BadAnswer
    from pennyweight.bench.router.calibration import LEAST_ROWS, ask_all, cross_validated, fit
    from pennyweight.bench.router.progress import told
    from pennyweight.bench.router.table import levels_table
    from pennyweight.server.errors import ConfigError
    from pennyweight.server.router.cascade.calibration import FORMAT, Calibration

    try:
        rows = [
            (row.messages, check)
            for row, check in zip(read_prompts(prompts), read_checks(prompts), strict=True)
            if check is not None and row.messages
        ]
    except (OSError, ValueError) as error:
        raise ConfigError(str(error)) from None
    if len(rows) < LEAST_ROWS:
        raise ConfigError(f"{prompts} has {len(rows)} prompts with expect or schema; it takes {LEAST_ROWS} at least")
    endpoint = Endpoint(base_url(url), model, "chat", stream=False, api_key=api_key)
    with told({"answers": len(rows)}) as tell:
        try:
            judged = asyncio.run(
                ask_all(
                    endpoint,
                    [messages for messages, _ in rows],
                    [check for _, check in rows],
                    max_tokens=max_tokens,
                    over=margin_over,
                    tell=lambda: tell("answers", 1),
                )
            )
        except* BadAnswer as errors:
            raise ConfigError(str(errors.exceptions[0])) from None
    margins = np.array([one.margin for one in judged])
    right = np.array([float(one.is_right) for one in judged])
    levels = cross_validated(margins, right, seed)
    knots, shares = fit(margins, right)
    found = Calibration(
        format=FORMAT,
        model=model,
        over=margin_over,
        rows=len(judged),
        data_sha256=hashlib.sha256(prompts.read_bytes()).hexdigest(),
        margins=knots,
        shares=shares,
    )
    try:
        out.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2))
    except OSError as error:
        raise ConfigError(f"{out} can't be written: {error}") from None
    Console(width=160).print(levels_table(levels, float(right.mean())))
    told_at_last = {"out": str(out), "rows": len(judged), "right": float(right.mean()), "levels": levels}
    print(msgspec.json.encode(told_at_last).decode())
