"""A suite of small steps: what is run, what is left out and why, and how one that was ended goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import completion_server
from fakes.tiny_words import save_word_tokenizer

from pennyweight.bench.peers.process import free_port
from pennyweight.bench.suite.profiles import PROFILES, Subject
from pennyweight.bench.suite.record import Outcome, Record, State, open_record
from pennyweight.bench.suite.runner import run_steps
from pennyweight.bench.suite.step import OUT, Step


@pytest.fixture
def url() -> Iterator[str]:
    port = free_port()
    with subprocess.Popen([sys.executable, completion_server.__file__, str(port), "0"]) as server:
        time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
        server.kill()


def load(name: str, url: str, tokenizer: Path) -> Step:
    save_word_tokenizer(tokenizer)
    command = ("serve", "--url", url, "--concurrency", "1", "--requests", "2", "--warmup-requests", "0")
    lengths = ("--input-tokens", "4", "--output-tokens", "3", "--processes", "1", "--tokenizer", str(tokenizer))
    return Step(name=name, what="a load", command=(*command, *lengths), seconds=20)


async def run(steps: list[Step], record: Record, out: Path, seconds: float = 100) -> list[str]:
    begun: list[str] = []

    def on_change(step: Step, outcome: Outcome | None) -> None:
        if outcome is None:
            begun.append(step.name)

    await run_steps(steps, record, out, seconds, on_change)
    return begun


async def test_every_step_has_its_directory_or_the_reason_why_not(tmp_path: Path) -> None:
    steps = [
        Step(name="report", what="", command=("report", f"{OUT}/nothing"), seconds=10),
        Step(name="late", what="", command=("report", "x"), seconds=1000),
        Step(name="missing", what="", command=("report", "x"), seconds=10, missing="there is no card"),
        Step(name="after", what="", command=("report", "x"), seconds=10, needs=("report",)),
    ]
    record = Record(profile="cpu", subject={})
    assert await run(steps, record, tmp_path) == ["report", "late", "missing", "after"]
    states = {name: one.state for name, one in record.outcomes.items()}
    assert states == {"report": "failed", "late": "late", "missing": "missing", "after": "missing"}
    assert f"{tmp_path}/nothing" in record.outcomes["report"].reason.splitlines()[-1]
    assert "about 1000 s" in record.outcomes["late"].reason
    assert record.outcomes["missing"].reason == "there is no card"
    assert record.outcomes["after"].reason == "it reads the results of report"
    assert open_record(tmp_path, "cpu", {}).outcomes == record.outcomes


async def test_what_has_a_result_is_not_run_again(tmp_path: Path) -> None:
    record = Record(profile="cpu", subject={}, outcomes={"a": Outcome(name="a", state=State.INVALID, seconds=1)})
    steps = [Step(name=name, what="", command=("report", "x"), seconds=1000) for name in "ab"]
    assert await run(steps, record, tmp_path) == ["b"]


def test_another_subject_is_not_mixed_in(tmp_path: Path) -> None:
    Record(profile="cpu", subject={"model": "a"}).save(tmp_path)
    with pytest.raises(ValueError, match=r"other options \(model\)"):
        open_record(tmp_path, "cpu", {"model": "b"})
    (tmp_path / "suite.json").write_text("{")
    with pytest.raises(ValueError, match="can't be read"):
        open_record(tmp_path, "cpu", {"model": "a"})


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_fits_its_usual_time(profile: str) -> None:
    subject = Subject(model=Path("m"), dollars_per_hour=0.1, device="h100")
    steps = PROFILES[profile](subject)
    assert len({step.name for step in steps}) == len(steps)
    assert not any(step.missing for step in steps)
    assert sum(step.seconds for step in steps[:5]) <= {"cpu": 15, "rented-gpu": 25}[profile] * 60


def test_a_trace_is_replayed_for_about_as_long_as_its_step_says(tmp_path: Path) -> None:
    (tmp_path / "azure_conversations.csv").touch()
    steps = PROFILES["cpu"](Subject(model=Path("m"), dollars_per_hour=0.1, traces=tmp_path))
    (trace,) = (step for step in steps if step.name == "trace")
    options = dict(zip(trace.command[1::2], trace.command[2::2], strict=True))
    assert "--duration" not in options
    assert int(options["--limit"]) / float(options["--rate"]) < trace.seconds


@pytest.mark.slow
async def test_a_killed_suite_goes_on_after_its_last_result(tmp_path: Path, url: str) -> None:
    script, tokenizer = tmp_path / "suite.py", tmp_path / "tokenizer.json"
    script.write_text(
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from pennyweight.bench.suite.record import open_record\n"
        "from pennyweight.bench.suite.runner import run_steps\n"
        "from pennyweight.bench.suite.step import Step\n"
        f"options = {load('a', url, tokenizer).command!r}\n"
        "steps = [Step(name=name, what='', command=options, seconds=20) for name in 'ab']\n"
        "out = Path(sys.argv[1])\n"
        "asyncio.run(run_steps(steps, open_record(out, 'cpu', {}), out, 100, lambda step, outcome: print(step.name, flush=True)))\n"
    )
    out = tmp_path / "out"
    out.mkdir()
    with subprocess.Popen([sys.executable, str(script), str(out)], stdout=subprocess.PIPE, text=True) as suite:  # noqa: ASYNC220
        assert suite.stdout is not None
        assert [suite.stdout.readline() for _ in range(3)] == ["a\n", "a\n", "b\n"]
        suite.send_signal(signal.SIGKILL)
    assert suite.returncode == -signal.SIGKILL
    assert (out / "a" / "result.json").exists()
    assert not (out / "b").exists()
    record = open_record(out, "cpu", {})
    assert await run([load(name, url, tokenizer) for name in "ab"], record, out) == ["b"]
    assert {one.state for one in record.outcomes.values()} <= {State.DONE, State.INVALID}
    assert json.loads((out / "b" / "result.json").read_text())["kind"] == "serve"
    assert not [name for name in os.listdir(out) if name.endswith(".unfinished")]
