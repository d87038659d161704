from __future__ import annotations

import json
from pathlib import Path

import pytest

from pennyweight.quantize.manifest import (
    FILE,
    ManifestError,
    failed_reasons,
    manifest_digest,
    read_manifest,
    record_scores,
    write_manifest,
)


def test_scores_are_put_beside_what_is_there_already(tmp_path: Path) -> None:
    write_manifest(tmp_path, {"recipe": {"scheme": "w8a8"}, "hashes": {"model.safetensors": "ab"}})
    record_scores(tmp_path, {"verdict": "failed", "reasons": ["too far"]})
    record_scores(tmp_path, {"verdict": "passed", "reasons": []})
    assert read_manifest(tmp_path) == {
        "recipe": {"scheme": "w8a8"},
        "hashes": {"model.safetensors": "ab"},
        "scores": {"verdict": "passed", "reasons": []},
    }
    assert [file.name for file in tmp_path.iterdir()] == [FILE]


def test_only_a_verdict_of_failure_is_one(tmp_path: Path) -> None:
    assert failed_reasons(read_manifest(tmp_path)) is None
    assert failed_reasons({"recipe": {}}) is None
    assert failed_reasons({"scores": {"verdict": "passed", "reasons": []}}) is None
    assert failed_reasons({"scores": {"verdict": "failed", "reasons": ["a", "b"]}}) == ("a", "b")
    assert failed_reasons({"scores": {"verdict": "failed"}}) == ()


def test_the_digest_follows_every_change(tmp_path: Path) -> None:
    assert manifest_digest(tmp_path) is None
    digests = []
    for verdict in ("passed", "failed", "passed"):
        record_scores(tmp_path, {"verdict": verdict})
        digests.append(manifest_digest(tmp_path))
    assert digests[0] == digests[2] != digests[1]


def test_a_file_in_the_place_of_a_directory_has_no_manifest(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.touch()
    assert read_manifest(file) == {}
    assert manifest_digest(file) is None


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"scores": "good"}), "\xff"])
def test_what_is_no_manifest_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text, encoding="latin-1")
    with pytest.raises(ManifestError, match=FILE):
        read_manifest(tmp_path)
