"""``pennyweight router calibrate`` against a server, and a cascade by what it wrote."""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from fakes.live_server import LiveEngine, live_server

from pennyweight.server.router.cascade.calibration import load_calibration
from pennyweight.server.types import ChatPrompt, Delta, FinishReason, Request, TokenLogprob, TopLogprob


def answer(request: Request) -> list[Delta]:
    """The number in the prompt, with a hundredth of it as the margin."""
    assert isinstance(request.prompt, ChatPrompt)
    number = request.prompt.messages[-1].content or ""
    margin = int(number) / 100
    likely = [math.log((1 + margin) / 2), math.log((1 - margin) / 2)]
    top = tuple(TopLogprob(token_id=0, token="t", bytes=b"t", logprob=one) for one in likely)
    token = TokenLogprob(token_id=0, token="t", bytes=b"t", logprob=likely[0], top=top)
    return [
        Delta(index=0, text=number, token_ids=(0,), logprobs=(token,)),
        Delta(index=0, text="", finish_reason=FinishReason.STOP),
    ]


async def run(*arguments: object) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pennyweight.server.cli", "router", "calibrate", *map(str, arguments)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"COLUMNS": "160", "NO_COLOR": "1"},
    )
    output, errors = await process.communicate()
    return process.returncode or 0, output.decode(), errors.decode()


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


async def test_margins_above_which_answers_were_right_are_told_from_those_below(tmp_path: Path) -> None:
    # Right from 60 on.
    rows = [{"prompt": str(number), "expect": f"^{number}$" if number >= 60 else "^never$"} for number in range(1, 100)]
    data, out = write(tmp_path / "asked.jsonl", rows), tmp_path / "margin.json"
    async with live_server(LiveEngine(script=answer)) as server:
        code, output, errors = await run(data, "--url", server.url, "--model", "scripted", "--out", out)
        assert code == 0, errors
        assert all(left.request.sampling.temperature == 0 for left in server.engine.left)
    found = json.loads(output.splitlines()[-1])
    assert (found["rows"], found["right"]) == (99, pytest.approx(40 / 99))
    level = next(one for one in found["levels"] if one["min_right"] == 0.8)
    assert level["right"] > 0.9
    assert level["given"] == pytest.approx(40 / 99, abs=0.05)
    calibration = load_calibration(out, "mean")
    assert (calibration.right(0.3), calibration.right(0.8)) == (0, 1)


async def test_what_can_t_be_calibrated_is_one_line_that_says_why(tmp_path: Path) -> None:
    few = write(tmp_path / "few.jsonl", [{"prompt": "1", "expect": "1"}])
    code, _, errors = await run(few, "--url", "http://127.0.0.1:1", "--model", "m", "--out", tmp_path / "x")
    assert (code, "it takes 20 at least" in errors) == (1, True)
    rows = [{"prompt": str(number), "expect": "1"} for number in range(1, 30)]
    data = write(tmp_path / "asked.jsonl", rows)
    code, _, errors = await run(data, "--url", "http://127.0.0.1:1", "--model", "m", "--out", tmp_path / "x")
    assert (code, "no answer with logprobs" in errors, "Traceback" in errors) == (1, True, False)
