"""What tests of replays share: the command, and requests that are short."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from fakes.server_process import MODEL

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}, "capital": {"type": "boolean"}},
    "required": ["city", "capital"],
    "additionalProperties": False,
}
AS_JSON = {"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA}}


def chat(text: str, **fields: Any) -> dict[str, Any]:
    """A short chat's body."""
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 12} | fields


@dataclass(frozen=True)
class Finished:
    """A command that has ended. ``result`` is its last line."""

    code: int
    out: str
    err: str

    @property
    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return found

    @property
    def totals(self) -> dict[str, Any]:
        found: dict[str, Any] = self.result["data"]["totals"]
        return found


async def command(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> Finished:
    """Run pennyweight."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pennyweight.server.cli", *map(str, arguments)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=None if environment is None else dict(environment),
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return Finished(process.returncode, out.decode(), err.decode())


async def post(client: aiohttp.ClientSession, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """An answer of status 200."""
    async with client.post(path, json=body) as answer:
        found: dict[str, Any] = await answer.json()
        assert answer.status == 200, found
        return found
