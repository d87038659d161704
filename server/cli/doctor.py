"""``pennyweight doctor``: what this machine has, and what would stop each engine."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pennyweight.kernels.cpu.library import cpu_isa, library_path
from pennyweight.server.config import HttpSettings
from pennyweight.server.engines.local.default_model import DEFAULT_MODEL
from pennyweight.server.engines.local.packaged_model import cache_dir
from pennyweight.server.engines.native.machine import available_memory, memory_limit

GIB = 1 << 30
NVIDIA_SMI_SECONDS = 10
# What the default model takes while it is served with a small KV cache.
LEAST_MEMORY = 1 * GIB


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. ``problem`` says what is in the way and what would help; ``fatal`` stops the default engine."""

    what: str
    found: str
    problem: str = ""
    fatal: bool = False


def doctor(
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port that serve would take.")] = HttpSettings().port,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object, for programs.")] = False,
) -> None:
    """Show what this machine has, which engines can run on it, and what is in the way. Exit code 1 if serve can't work."""
    findings = [*_machine(port), *_native(), *_optional()]
    failed = any(finding.fatal for finding in findings)
    if as_json:
        print(json.dumps({"ok": not failed, "findings": [asdict(finding) for finding in findings]}))
        raise typer.Exit(int(failed))
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for finding in findings:
        mark = "[red]x[/]" if finding.fatal else "[yellow]![/]" if finding.problem else "[green]ok[/]"
        table.add_row(mark, finding.what, finding.found + (f"\n[dim]{finding.problem}[/]" if finding.problem else ""))
    console = Console(highlight=False)
    console.print(table)
    console.print("[red]serve can't work here yet[/]" if failed else "[green]ready: pennyweight serve[/]")
    raise typer.Exit(int(failed))


def _machine(port: int) -> list[Finding]:
    cores = len(os.sched_getaffinity(0))
    free, limit = available_memory(), memory_limit()
    problem = "" if free >= LEAST_MEMORY else f"the default model wants {LEAST_MEMORY / GIB:g} GiB free"
    cache = cache_dir()
    return [
        Finding("python", f"{platform.python_version()} on {platform.platform(terse=True)}"),
        Finding("processor", f"{_processor()}, {cores} usable cores, instructions: {_instructions()}"),
        Finding("memory", f"{free / GIB:.1f} GiB free of {limit / GIB:.1f}", problem, fatal=bool(problem)),
        _gpu(),
        Finding("cache", f"{cache}: {_free_disk(cache) / GIB:.1f} GiB free"),
        _port(port),
    ]


def _native() -> list[Finding]:
    torch = _version("torch")
    if torch is None:
        return [Finding("engine native", "not usable", "torch is not installed: pip install torch", fatal=True)]
    isa = cpu_isa()
    if isa == "none":
        kernels, problem = "PyTorch's kernels", "the compiled ones need AVX2, which this CPU lacks"
    elif library_path(isa) is None:
        kernels = "PyTorch's kernels"
        problem = "the compiled ones are not there: install a C++ compiler (or pip install ziglang) and reinstall"
    else:
        kernels, problem = f"compiled CPU kernels for {isa}", ""
    model = cache_dir() / "models" / DEFAULT_MODEL
    pulled = "in the cache" if (model / "manifest.json").is_file() else "not pulled yet: the first serve fetches 93 MB"
    return [
        Finding("engine native", f"torch {torch}, {kernels}", problem),
        Finding("default model", f"{DEFAULT_MODEL}, {pulled}"),
    ]


def _optional() -> list[Finding]:
    hub = _version("huggingface-hub")
    return [
        Finding(
            "hub",
            f"huggingface-hub {hub}"
            if hub
            else "not installed: pip install 'pennyweight[hub]' to name models by hub id",
        ),
        *(_engine_elsewhere(name, package) for name, package in (("vllm", "vllm"), ("tensorrt_llm", "tensorrt-llm"))),
    ]


def _engine_elsewhere(name: str, extra: str) -> Finding:
    if _there(name):
        return Finding(f"engine {name}", f"installed: serve --engine {name}")
    return Finding(
        f"engine {name}",
        f"not installed here: pip install 'pennyweight[{extra}]', or name the Python of an environment that has it with "
        "--engine-python",
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names and names[0] else platform.machine()


def _instructions() -> str:
    names = {"amx": "AMX and AVX-512", "avx512": "AVX-512 with VNNI and BF16", "avx2": "AVX2", "none": "no AVX2"}
    return names[cpu_isa()]


def _gpu() -> Finding:
    command = shutil.which("nvidia-smi")
    if command is None:
        return Finding("gpu", "none (no nvidia-smi)")
    query = [command, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        ran = subprocess.run(query, capture_output=True, text=True, timeout=NVIDIA_SMI_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("gpu", "nvidia-smi fails", f"{error}: is the driver loaded?")
    cards = "; ".join(ran.stdout.strip().splitlines())
    built_for_cuda = "import torch; print(torch.cuda.is_available())"
    seen = subprocess.run([sys.executable, "-c", built_for_cuda], capture_output=True, text=True, check=False)
    if seen.stdout.strip() != "True":
        return Finding("gpu", cards, "the installed torch can't use it: install its build for CUDA")
    return Finding("gpu", cards)


def _port(port: int) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return Finding("port", f"{port} is taken ({error.strerror})", "serve with --port, or end who has it")
    return Finding("port", f"{port} is free")


def _free_disk(path: Path) -> int:
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
