"""The directory beside the result in which a checkpoint grows: it gets its final name when it is whole, and never before.

``OUT.incomplete`` holds ``job`` (the hash of what it is for), ``state/`` (layers that are done), ``made/`` (the checkpoint while it is
written) and ``log.txt``. It outlives a run that is killed, and the next one for the same job goes on with its ``state/``.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from .errors import QuantizeError

SUFFIX = ".incomplete"
# Beside the estimate of what the result takes.
SPARE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Staging:
    """The places in an open staging directory. ``goes_on`` tells that an earlier run for the same job left layers.

    ``lock`` is the descriptor that keeps others out: for the process that does the work, should this one die before it.
    """

    out: Path
    directory: Path
    lock: int
    goes_on: bool

    @property
    def made(self) -> Path:
        """The checkpoint while it is written."""
        return self.directory / "made"

    @property
    def state(self) -> Path:
        """What another try can go on with."""
        return self.directory / "state"

    @property
    def log(self) -> Path:
        """All that the libraries print."""
        return self.directory / "log.txt"

    def publish(self) -> None:
        """Give the checkpoint its final name, and remove the rest. Raises QuantizeError."""
        try:
            for path in self.made.rglob("*"):
                _sync(path)
            _sync(self.made)
            if self.out.exists():  # an empty directory, as ``staged`` has seen to
                self.out.rmdir()
            self.made.rename(self.out)
            _sync(self.out.parent)
            shutil.rmtree(self.directory)
        except OSError as error:
            raise QuantizeError(f"the checkpoint in {self.made} can't be moved to {self.out}: {error}") from error


@contextlib.contextmanager
def staged(out: Path, job: msgspec.Struct | dict[str, object], nbytes: int) -> Iterator[Staging]:
    """Hold the staging directory of ``out``, which must not exist or be empty; about ``nbytes`` will be written.

    What a run for another ``job`` left is thrown away. Raises QuantizeError: where ``out`` is in use, its disk is too small or
    can't be written, or another process is at it.
    """
    out = out.absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise QuantizeError(f"--out {out} exists already: name another directory, or remove it first")
    directory = out.with_name(out.name + SUFFIX)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with (directory / "lock").open("wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise QuantizeError(f"another process is writing {out} (it holds {directory})") from None
            staging = _prepared(out, directory, lock.fileno(), msgspec.json.encode(job))
            free = shutil.disk_usage(directory).free
            if free < nbytes + SPARE_BYTES:
                raise QuantizeError(
                    f"the disk of {out.parent} has {free / 1e9:.1f} GB free, and about {nbytes / 1e9:.1f} GB are needed"
                )
            yield staging
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise QuantizeError(
                f"the disk of {out.parent} is full; free some space and start the same command again"
            ) from error
        raise QuantizeError(f"{directory} can't be written: {error}") from error


def _prepared(out: Path, directory: Path, lock: int, job: bytes) -> Staging:
    """The directory with nothing in it that another job left, or an earlier try at writing the checkpoint."""
    mark, identity = directory / "job", hashlib.sha256(job).hexdigest()
    made, state = directory / "made", directory / "state"
    shutil.rmtree(made, ignore_errors=True)
    if not mark.is_file() or mark.read_text() != identity:
        shutil.rmtree(state, ignore_errors=True)
        mark.write_text(identity)
    made.mkdir()
    state.mkdir(exist_ok=True)
    return Staging(out, directory, lock, goes_on=any(state.glob("*.safetensors")))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
