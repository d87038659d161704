"""The digest of a model's files, which its fingerprint begins with."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from pennyweight.server.engines.local.files_digest import directory_digest, files_digest
from pennyweight.server.errors import ModelError


def test_one_file_has_its_own_digest(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"weights")
    (tmp_path / "README.md").write_text("not a weight")
    assert directory_digest(tmp_path) == hashlib.sha256(b"weights").hexdigest()


def test_several_have_that_of_what_sha256sum_prints(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("b.safetensors", "a.safetensors", "c.safetensors")]
    for place, file in enumerate(files):
        file.write_bytes(bytes([place]) * 1000)
    printed = subprocess.run(
        ["sha256sum", "a.safetensors", "b.safetensors", "c.safetensors"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    ).stdout
    assert files_digest(files) == files_digest(files[::-1]) == hashlib.sha256(printed).hexdigest()


def test_every_byte_and_every_name_counts(tmp_path: Path) -> None:
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    first.write_bytes(b"\x00" * 1000)
    second.write_bytes(b"\x01" * 1000)
    before = directory_digest(tmp_path)
    first.write_bytes(b"\x00" * 999 + b"\x01")
    assert directory_digest(tmp_path) != before
    first.write_bytes(b"\x00" * 1000)
    assert directory_digest(tmp_path) == before
    second.rename(tmp_path / "c.safetensors")
    assert directory_digest(tmp_path) != before


def test_a_file_that_cant_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gone\.safetensors"):
        files_digest([tmp_path / "gone.safetensors"])
