"""The options of every command that loads a server: what they are called, what they say, and the panels they stand in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ARRIVALS = "Arrivals"
PROMPTS = "Prompts"
MEASURING = "Measuring"

Url = Annotated[str, typer.Option("--url", "--base-url", help="The server's.")]
Model = Annotated[str | None, typer.Option(help="By default the first that the server lists.", show_default=False)]
Api = Annotated[str, typer.Option("--endpoint", help="completions or chat.")]
ApiKeyEnv = Annotated[str, typer.Option(help="The environment variable with the API key, if it is set.")]

Rate = Annotated[
    list[str] | None,
    typer.Option(
        "--rate",
        "--request-rate",
        help="Open loop: requests/s. May be repeated; also 1,2,4 or 1:8 or 0.5:3:0.5, or inf for all at once.",
        rich_help_panel=ARRIVALS,
        show_default=False,
    ),
]
Concurrency = Annotated[
    list[str] | None,
    typer.Option(
        help="Closed loop: requests (or sessions) at a time. May be repeated, or a list or range.",
        rich_help_panel=ARRIVALS,
        show_default=False,
    ),
]
Sweep = Annotated[
    str | None,
    typer.Option(
        help="rate or concurrency: find the saturation without being told loads.",
        rich_help_panel=ARRIVALS,
        show_default=False,
    ),
]
Requests = Annotated[
    int | None,
    typer.Option(
        "--requests",
        "--num-prompts",
        min=1,
        help="Of each load; by default 60 s of an open loop, 8 for each client of a closed one (at least 32).",
        rich_help_panel=ARRIVALS,
        show_default=False,
    ),
]
Duration = Annotated[
    float | None,
    typer.Option(
        min=0.1,
        help="Seconds that requests are sent in each load, in place of --requests; of a trace, those of it that are replayed.",
        rich_help_panel=ARRIVALS,
        show_default=False,
    ),
]

Prompts = Annotated[
    Path | None,
    typer.Option(
        help="A file: JSON Lines with prompt, messages, turns or conversations, or .txt of a prompt a line; .gz too.",
        rich_help_panel=PROMPTS,
        show_default=False,
    ),
]
InputTokens = Annotated[
    str | None,
    typer.Option(
        "--input-tokens",
        "--input-len",
        "--random-input-len",
        help="Synthetic prompts: 256, 128-512, normal:512:128 or lognormal:512:256 (mean and standard deviation). By default 512.",
        rich_help_panel=PROMPTS,
        show_default=False,
    ),
]
OutputTokens = Annotated[
    str | None,
    typer.Option(
        "--output-tokens",
        "--output-len",
        "--random-output-len",
        help="Of answers, in the same forms. By default 128.",
        rich_help_panel=PROMPTS,
        show_default=False,
    ),
]
TokenizerPath = Annotated[
    Path | None,
    typer.Option(
        "--tokenizer",
        help="tokenizer.json or a model's directory; by default the server's /tokenize is asked.",
        rich_help_panel=PROMPTS,
        show_default=False,
    ),
]

WarmupRequests = Annotated[
    int,
    typer.Option(
        "--warmup-requests",
        "--num-warmups",
        min=0,
        help="Sent before all, and counted nowhere.",
        rich_help_panel=MEASURING,
    ),
]
Processes = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Of the client; by default by load, and half of the cores at most.",
        rich_help_panel=MEASURING,
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="The same one sends the same requests at the same times.")]
Out = Annotated[Path | None, typer.Option(help="A directory for the result and the samples.", show_default=False)]
