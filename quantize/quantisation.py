"""Quantising a model from its directory to another: everything but what the libraries do."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from .calibration.documents import SAMPLE_NAME, calibration_files, digest_of, read_documents
from .errors import QuantizeError
from .job import Calibration, Event, Finished, Job, Note, Stage, Step
from .libraries import probe
from .process import run_worker
from .provenance import CalibrationData, Files, Provenance, write_provenance
from .recipe import Library, Method, Recipe
from .source import COMPANIONS, Source, sha256_of
from .staging import Staging, staged


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantisation:
    """What is to be done, checked as far as it can be without the libraries.

    ``calibration`` is a file or directory of texts, None for the sample that comes along. ``python`` is the interpreter with the
    libraries, ``threads`` 0 for PyTorch's own choice.
    """

    source: Source
    recipe: Recipe
    out: Path
    python: str
    device: str = "cpu"
    calibration: Path | None = None
    samples: int = 128
    tokens: int = 512
    threads: int = 0

    def run(self, on_event: Callable[[Event], None]) -> Provenance:
        """Write the checkpoint and the beginning of its manifest to ``out``, whole or not at all. Raises QuantizeError."""
        began = time.monotonic()
        versions = probe(self.python, self.recipe.library)
        files = calibration_files(self.calibration) if self.recipe.needs_calibration else ()
        read_documents(files)  # whatever is wrong with them shows now
        text = digest_of(files)
        on_event(Stage("reading the model", self.source.nbytes))
        weights = sha256_of(self.source.weights, lambda num_bytes: on_event(Step(num_bytes)))
        calibration = (
            Calibration(files=tuple(str(file.absolute()) for file in files), samples=self.samples, tokens=self.tokens)
            if files
            else None
        )
        identity: dict[str, object] = {
            "recipe": self.recipe,
            "weights": weights,
            "text": text,
            "samples": self.samples,
            "tokens": self.tokens,
            "versions": versions,
            "device": self.device,
        }
        with staged(self.out, identity, self._disk_nbytes()) as staging:
            if staging.goes_on:
                on_event(Note(f"going on with the layers that an earlier run has left in {staging.directory}"))
            job = Job(
                source=str(self.source.path.absolute()),
                made=str(staging.made),
                state=str(staging.state),
                recipe=self.recipe,
                calibration=calibration,
                device=self.device,
                threads=self.threads,
            )
            finished = run_worker(self.python, job, staging.log, staging.lock, on_event)
            on_event(Stage("finishing"))
            provenance = Provenance(
                recipe=self.recipe,
                calibration=self._calibration_data(finished, text) if files else None,
                source=Files(name=self.source.path.name, nbytes=self.source.nbytes, sha256=weights),
                result=self._complete(staging),
                versions=versions,
                made=datetime.now(UTC).isoformat(timespec="seconds"),
                seconds=round(time.monotonic() - began, 1),
                resumed=finished.resumed > 0,
            )
            write_provenance(staging.made, provenance)
            staging.publish()
        return provenance

    def _disk_nbytes(self) -> int:
        """About what is written: the checkpoint, and until that is whole the finished layers, in up to 32 bits."""
        recipe = self.recipe
        is_resumable = recipe.library is Library.LLM_COMPRESSOR and recipe.method is not Method.RTN
        return self.source.quantised_nbytes(recipe.bits) + (4 * self.source.values if is_resumable else 0)

    def _calibration_data(self, finished: Finished, digest: str) -> CalibrationData:
        name = SAMPLE_NAME if self.calibration is None else self.calibration.name
        return CalibrationData(name=name, sha256=digest, pieces=finished.pieces, tokens=finished.tokens)

    def _complete(self, staging: Staging) -> Files:
        """Let what belongs to the model go along as it is, over what the library made of it. Raises QuantizeError."""
        for name in COMPANIONS:
            there = self.source.path / name
            if there.is_dir():
                shutil.copytree(there, staging.made / name, dirs_exist_ok=True)
            elif there.is_file():
                shutil.copyfile(there, staging.made / name)
        weights = tuple(sorted(staging.made.glob("*.safetensors")))
        if not weights or not (staging.made / "config.json").is_file():
            raise QuantizeError(f"the library has written no checkpoint; see {staging.log}")
        for file in weights:  # which safetensors writes for their owner alone
            shutil.copymode(staging.made / "config.json", file)
        nbytes = sum(file.stat().st_size for file in weights)
        return Files(name=self.out.name, nbytes=nbytes, sha256=sha256_of(weights))
