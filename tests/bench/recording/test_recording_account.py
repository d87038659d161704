"""What is asked, what clients were told, what the files have, and what the command makes of a server that was really killed."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from pennyweight.bench.load.sample import BadAnswer
from pennyweight.bench.recording.account import Account
from pennyweight.bench.recording.crash import Kept, Replayed
from pennyweight.bench.recording.load import ASKED, Load, Told, bodies
from pennyweight.bench.recording.overhead import Round, overhead_of

PROMPTS = [[{"role": "user", "content": text}] for text in ("one", "two")]


def stream(*events: dict[str, Any]) -> bytes:
    return b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events) + b"data: [DONE]\n\n"


async def told_by(answer: web.Response | bytes, body: dict[str, Any]) -> tuple[Told, int]:
    """What a load makes of a server that gives that answer, or that breaks off after these bytes of a stream."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if isinstance(answer, web.Response):
            return answer
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(answer)
        assert request.transport is not None
        request.transport.abort()
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", handle)
    async with TestServer(app) as server, ClientSession(server.make_url("/")) as session:
        load = Load(session, iter([body]), 1, lambda: None)
        await load.run()
    (found,) = load.answered
    return found.told, found.tokens


def test_each_prompt_is_asked_often_in_all_four_manners() -> None:
    asked = list(bodies(PROMPTS, 3 * ASKED, 8))
    assert [one["messages"] for one in asked] == [PROMPTS[place] for place in (0, 1, 0) for _ in range(ASKED)]
    assert {(one["temperature"], "stream" in one) for one in asked[:ASKED]} == {
        (0, False),
        (1, False),
        (0, True),
        (1, True),
    }


@pytest.mark.parametrize(
    ("says", "told"), [("true", Told.RECORDED), ("false", Told.UNRECORDED), (None, Told.UNRECORDED)]
)
async def test_a_whole_answer_says_by_its_header_whether_it_is_recorded(says: str | None, told: Told) -> None:
    headers = {"x-request-id": "a"} | ({} if says is None else {"x-pennyweight-recorded": says})
    answer = web.json_response({"usage": {"completion_tokens": 3}}, headers=headers)
    assert await told_by(answer, {}) == (told, 3)


async def test_a_stream_says_it_by_its_last_event() -> None:
    usage = {"choices": [], "usage": {"completion_tokens": 5}}
    data = stream({"choices": [{}]}, usage, {"choices": [], "pennyweight": {"recorded": True}})
    assert await told_by(web.Response(body=data), {"stream": True}) == (Told.RECORDED, 5)
    assert await told_by(web.Response(body=stream(usage)), {"stream": True}) == (Told.UNRECORDED, 5)


async def test_what_breaks_off_is_no_answer_and_what_is_refused_ends_the_load() -> None:
    assert await told_by(b"data: {}\n\n", {"stream": True}) == (Told.BROKEN, 0)
    with pytest.raises(ExceptionGroup) as raised:
        await told_by(web.Response(status=400, text="no"), {})
    assert isinstance(raised.value.exceptions[0], BadAnswer)


def account(**changes: int) -> Account:
    kept = dict.fromkeys(Kept.__struct_fields__, 0) | {"asked": 10, "answered": 10, "acknowledged": 9, "records": 10}
    told = {
        "requests": 10,
        "bitwise": 10,
        "acknowledged": 9,
        "acknowledged_bitwise": 9,
        "tokens": 80,
        "generations": 10,
    }
    for name, value in changes.items():
        (kept if name in kept and name != "acknowledged" else told)[name] = value
    return Account(prompts=2, kept=Kept(**kept), replayed=Replayed(**told, others={}), rounds=[], overhead=None)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({}, None),
        ({"lost": 1, "acknowledged_bitwise": 8}, "1 records that were acknowledged are in no file"),
        ({"acknowledged_bitwise": 7}, "2 acknowledged records did not give the same bits"),
        ({"generations": 9}, "counted 9 generations only"),
        # Nobody was told that this one is kept.
        ({"bitwise": 9}, None),
    ],
)
def test_only_what_was_promised_is_complained_of(changes: dict[str, int], complaint: str | None) -> None:
    complaints = account(**changes).complaints
    assert len(complaints) == (complaint is not None)
    assert complaint is None or complaint in complaints[0]


def test_recording_takes_the_median_of_the_rounds_ratios() -> None:
    numbers = count()
    rounds = [
        Round(
            tokens_per_second=100.0 * (1 + next(numbers)),
            cpu=1.0,
            recording_tokens_per_second=speed,
            recording_cpu=cpu,
            requests=1,
            unacknowledged=0,
        )
        for speed, cpu in ((98.0, 1.01), (202.0, 1.02), (291.0, 1.06))
    ]
    found = overhead_of(rounds)
    assert (found.throughput, found.low, found.high, found.cpu) == pytest.approx((0.02, -0.01, 0.03, 0.02))


@pytest.mark.slow
def test_the_command_kills_a_server_and_replays_what_it_recorded(tmp_path: Path, prompts: list[dict[str, Any]]) -> None:
    import subprocess
    import sys

    texts = [row["turns"][0] for row in prompts if len(row["turns"][0]) < 200][:6]
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    out = tmp_path / "result"
    command = [sys.executable, "-m", "pennyweight.server.cli", "bench", "recording", "--prompts", str(file)]
    sizes = ["--requests", "48", "--output-tokens", "4", "--streams", "8", "--overhead-rounds", "0"]
    done = subprocess.run([*command, *sizes, "--out", str(out)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((out / "result.json").read_text())["data"]
    assert found["kept"]["asked"] == 48
    assert 0 < found["kept"]["broken"] <= 8
    assert found["kept"]["lost"] == 0
    assert found["replayed"]["acknowledged_bitwise"] == found["kept"]["acknowledged"] > 0
