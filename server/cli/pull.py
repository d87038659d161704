"""``pennyweight pull``."""

from __future__ import annotations

from typing import Annotated

import typer

from pennyweight.server.config import LogSettings


def pull(
    model: Annotated[
        str,
        typer.Argument(
            help="smollm2-135m-instruct, all-minilm-l6-v2, or a hub id such as organisation/name.", show_default=False
        ),
    ],
) -> None:
    """Fetch a model into this user's cache; the directory is the last line printed."""
    from pennyweight.server.engines.local import model_store
    from pennyweight.server.loading import LoadingReport
    from pennyweight.server.telemetry.logs import make_logger

    with LoadingReport(make_logger(LogSettings(format="console"))) as report:
        path = model_store.pull(model, on_progress=report.advance)
    print(path)
