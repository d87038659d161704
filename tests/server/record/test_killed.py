"""The real server with the real model, killed in the middle of a load: what it acknowledged is in the files."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from pathlib import Path

import aiohttp
import pytest
from fakes.recordings import recorded_in
from fakes.server_process import MODEL, ServerProcess, server_process

from pennyweight.server.engines.manifest import Manifest
from pennyweight.server.record.reader import RecordingReader
from pennyweight.server.record.segment_name import segments_in

pytestmark = [pytest.mark.slow]

STREAMS = 8
ENOUGH = 24


class Load:
    """Asks again and again, until the server is gone. ``told`` is by request id whether it said that it had recorded the answer."""

    def __init__(self, server: ServerProcess) -> None:
        self.told: dict[str, bool] = {}
        self._server = server

    async def run(self) -> None:
        await asyncio.gather(*(self._client(number) for number in range(STREAMS)))

    async def _client(self, number: int) -> None:
        place = 0
        with contextlib.suppress(aiohttp.ClientError, asyncio.IncompleteReadError):
            while True:
                place += 1
                # Greedy and drawn, whole and streamed.
                body = {
                    "model": MODEL,
                    "messages": [{"role": "user", "content": f"Tell me about the number {number * 100 + place}."}],
                    "max_tokens": 4 + place % 5,
                    "temperature": number % 2,
                    "stream": number % 4 > 1,
                }
                async with self._server.client.post("/v1/chat/completions", json=body) as answer:
                    assert answer.status == 200
                    data = await answer.read()
                told = answer.headers["x-pennyweight-recorded"]
                if told == "pending":
                    assert data.endswith(b"data: [DONE]\n\n")
                    told = json.dumps(json.loads(data.split(b"\n\n")[-3][6:])["pennyweight"]["recorded"])
                self.told[answer.headers["x-request-id"]] = told == "true"


async def test_what_a_killed_server_acknowledged_is_in_the_files(tmp_path: Path) -> None:
    directory = tmp_path / "recordings"
    record = {"directory": str(directory), "write_timeout": 5.0}
    async with server_process(stop=signal.SIGKILL, record=record) as server:
        load = Load(server)
        running = asyncio.create_task(load.run())
        while len(load.told) < ENOUGH:  # noqa: ASYNC110 (a count has no event)
            await asyncio.sleep(0.005)
        server.signal(signal.SIGKILL)
        await server.ended()
        await running
    found = {one.id: one for one in recorded_in(directory)}
    assert {id for id, was_told in load.told.items() if was_told} <= found.keys()
    assert all(load.told.values())
    for one in found.values():
        assert one.received is not None
        assert one.prompt_token_ids
        assert len(one.choices[0].logits_hashes) == 8 * len(one.choices[0].token_ids)
        assert len(one.choices[0].token_ids) == one.usage.completion_tokens if one.usage else one.error
        assert (one.seed is None) is (json.loads(one.received)["temperature"] == 0)
    # Another server goes on in a file of its own.
    before = segments_in(directory)
    async with server_process(record=record) as server:
        body = {"model": MODEL, "prompt": "One, two,", "max_tokens": 2, "temperature": 0}
        async with server.client.post("/v1/completions", json=body) as answer:
            assert answer.headers["x-pennyweight-recorded"] == "true"
            id = answer.headers["x-request-id"]
    assert segments_in(directory)[:-1] == before
    manifest, record_after = RecordingReader([segments_in(directory)[-1]])
    assert isinstance(manifest, Manifest)
    assert not isinstance(record_after, Manifest)
    assert (record_after.id, record_after.manifest) == (id, manifest.fingerprint)
    assert {one.manifest for one in found.values()} == {manifest.fingerprint}
    assert manifest.parts["weights"]
