"""The process that quantises, seen from outside: a script stands for it where it has to fail in ways that the libraries don't."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pennyweight.quantize.errors import QuantizeError
from pennyweight.quantize.job import Event, Finished, Job, Note, Step
from pennyweight.quantize.process import run_worker
from pennyweight.quantize.recipe import Scheme, make_recipe


def run(tmp_path: Path, script: str, on_event: Callable[[Event], None]) -> Finished:
    """Have a shell script do the job in the place of an interpreter."""
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    job = Job(
        source="model", made="made", state="state", recipe=make_recipe(Scheme.W8A8), calibration=None, device="cpu"
    )
    lock = os.open(tmp_path / "lock", os.O_CREAT | os.O_WRONLY)
    try:
        return run_worker(str(program), job, tmp_path / "log.txt", lock, on_event)
    finally:
        os.close(lock)


def test_events_come_as_they_are_told_and_other_words_are_passed_over(tmp_path: Path) -> None:
    script = """
    echo '{"type": "step", "count": 3}'
    echo 'a library says hello'
    echo '{"type": "note", "text": "so far so good"}'
    echo 'a warning' >&2
    echo "{\\"type\\": \\"finished\\", \\"pieces\\": 2, \\"tokens\\": ${GPTQMODEL_CPU_WORKERS}}"
    """
    seen: list[Event] = []
    finished = run(tmp_path, script, seen.append)
    assert seen == [Step(3), Note("so far so good"), finished]
    assert finished.tokens >= 2
    assert (tmp_path / "log.txt").read_text() == "a warning\n"


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("""echo '{"type": "failed", "text": "the disk is full"}'; exit 1""", r"the disk is full .*log\.txt"),
        ("kill -KILL $$", r"exit code -9; see .*log\.txt"),
        ("exit 0", "exit code 0"),
        ("""echo '{"type": "finished"}'; exit 3""", "exit code 3"),
    ],
)
def test_an_end_without_a_checkpoint_is_an_error(tmp_path: Path, script: str, complaint: str) -> None:
    with pytest.raises(QuantizeError, match=complaint):
        run(tmp_path, script, lambda event: None)


def test_whoever_stops_waiting_stops_the_process(tmp_path: Path) -> None:
    def interrupt(event: Event) -> None:
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, f"""echo $$ > {tmp_path}/pid; echo '{{"type": "step"}}'; exec sleep 60""", interrupt)
    assert time.monotonic() - began < 30
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))
