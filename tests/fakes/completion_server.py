"""A server of scripted completions for the benchmark's tests; in a test's own process, or as a process to start."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class CompletionServer:
    """Streams as many words as a request asks for, and counts the requests that run at once.

    ``short_by`` tokens too few are given; ``error`` is sent in mid-stream; ``loading`` times /health answers 503 first;
    the first token takes ``prefill`` seconds more than the ``pause`` of each; the process ends on request ``dies_at``.
    """

    short_by: int = 0
    error: bool = False
    loading: int = 0
    pause: float = 0.002
    prefill: float = 0.0
    dies_at: int = 0
    running: int = 0
    most_running: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def app(self) -> web.Application:
        """The application, of which an aiohttp runner makes a server."""
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/completions", self._complete)
        return app

    async def _health(self, request: web.Request) -> web.Response:
        self.loading -= 1
        return web.Response(status=503 if self.loading >= 0 else 200)

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "scripted", "object": "model"}]})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        if len(self.bodies) == self.dies_at:
            os._exit(3)
        if body["model"] != "scripted":
            return web.json_response({"error": {"message": "no such model"}}, status=404)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        tokens = body["max_tokens"] - self.short_by
        await asyncio.sleep(self.prefill)
        for number in range(tokens):
            await asyncio.sleep(self.pause)
            await _send(response, {"choices": [{"index": 0, "text": f" {number}", "finish_reason": None}]})
        if self.error:
            await _send(response, {"error": {"message": "the engine has died"}})
        else:
            usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": tokens}
            await _send(response, {"choices": [], "usage": usage})
            await response.write(b"data: [DONE]\n\n")
        self.running -= 1
        return response


async def _send(response: web.StreamResponse, event: dict[str, Any]) -> None:
    """One event in two writes, as a network may cut it."""
    data = b"data: " + json.dumps(event).encode() + b"\n\n"
    await response.write(data[:9])
    await response.write(data[9:])


if __name__ == "__main__":
    # With a child of its own, as an engine is, which outlives it unless somebody ends it.
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    port, short_by = map(int, sys.argv[1:3])
    times = dict(zip(("pause", "prefill"), map(float, sys.argv[3:5]), strict=False))
    dies_at = int(sys.argv[5]) if len(sys.argv) > 5 else 0
    print(f"short by {short_by}", flush=True)
    server = CompletionServer(short_by=short_by, loading=2, dies_at=dies_at, **times)
    web.run_app(server.app(), host="127.0.0.1", port=port, print=None)
