"""How commands reach a running server's administration."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from typing import Annotated, Any

import typer

from pennyweight.server.config_file import ADMIN_URL_VARIABLE, API_KEY_VARIABLE
from pennyweight.server.errors import ConfigError

# A model may take minutes to load.
TIMEOUT_SECONDS = 3600.0
DEFAULT_URL = "http://127.0.0.1:8001"

Url = Annotated[
    str, typer.Option("--url", envvar=ADMIN_URL_VARIABLE, help="Where the server's administration listens.")
]


def call_administration(url: str, method: str, path: str, body: Any = None) -> Any:
    """What the administration answers. Raises ConfigError with the server's reason, or with what to check."""
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get(API_KEY_VARIABLE):
        headers["Authorization"] = f"Bearer {key}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url.rstrip("/") + path, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise ConfigError(_reason(error)) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ConfigError(
            f"no administration answers at {url} ({reason}): was the server started with --admin-port?"
        ) from None


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the administration answered {error.code}: is this its port?"
