"""Starts the process that quantises, in whichever environment has the library, and passes on its events."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from .errors import QuantizeError
from .job import Event, Failed, Finished, Job, read_event

STOP_SECONDS = 10.0
# Models and data are on this machine; nothing is to look for them elsewhere.
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
ENVIRONMENT = {
    **OFFLINE,
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
}


def run_worker(python: str, job: Job, log: Path, lock: int, on_event: Callable[[Event], None]) -> Finished:
    """Have the job done by ``python``. What the libraries print goes to ``log``.

    The process ends with this call, however that ends; only where this process is killed does it live until it next has something
    to tell. It holds ``lock``, an open file's descriptor, as long as it lives. Raises QuantizeError with the reason that the process gave.
    """
    with tempfile.TemporaryDirectory(prefix="pennyweight-quantize-") as directory, log.open("ab") as errors:
        file = Path(directory) / "job.json"
        file.write_bytes(msgspec.json.encode(job))
        # In a directory of its own: libraries leave logs where they are started.
        process = subprocess.Popen(
            [python, "-m", "pennyweight.quantize.worker", str(file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=directory,
            pass_fds=(lock,),
            env=os.environ | ENVIRONMENT | _machine(job),
        )
        try:
            last = _follow(process, on_event)
        finally:
            _stop(process)
    if isinstance(last, Finished) and process.returncode == 0:
        return last
    if isinstance(last, Failed):
        raise QuantizeError(f"{last.text} (all that was said is in {log})")
    raise QuantizeError(f"the process that quantises ended with exit code {process.returncode}; see {log}")


def _machine(job: Job) -> dict[str, str]:
    """What keeps the libraries to the device and the cores that they are meant to use.

    LLM Compressor takes a card wherever it sees one; GPTQModel starts workers for more cores than it has, and can't do with one.
    """
    workers = {"GPTQMODEL_CPU_WORKERS": str(max(job.threads or len(os.sched_getaffinity(0)), 2))}
    return workers | ({"CUDA_VISIBLE_DEVICES": ""} if job.device == "cpu" else {})


def _follow(process: subprocess.Popen[bytes], on_event: Callable[[Event], None]) -> Event | None:
    """The last event; each is passed on as it comes."""
    last: Event | None = None
    assert process.stdout is not None
    for line in process.stdout:
        try:
            last = read_event(line)
        except ValueError:
            continue  # a library's own process that was not told where to print
        on_event(last)
    process.wait()
    return last


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()
