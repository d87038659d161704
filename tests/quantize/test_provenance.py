"""What a manifest says of how a checkpoint was made stays there when it is judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from pennyweight.quantize.errors import QuantizeError
from pennyweight.quantize.manifest import read_manifest, record_scores
from pennyweight.quantize.provenance import CalibrationData, Files, Provenance, write_provenance
from pennyweight.quantize.recipe import Scheme, make_recipe

PROVENANCE = Provenance(
    recipe=make_recipe(Scheme.W4A16, group_size=64),
    calibration=CalibrationData(name="a.txt", sha256="00", pieces=3, tokens=1536),
    source=Files(name="model", nbytes=400, sha256={"model.safetensors": "11"}),
    result=Files(name="model-w4a16", nbytes=100, sha256={"model.safetensors": "22"}),
    versions={"torch": "2.13.0"},
    made="2026-11-26T18:00:00+00:00",
    seconds=1.5,
)


def test_scores_stand_beside_it(tmp_path: Path) -> None:
    write_provenance(tmp_path, PROVENANCE)
    record_scores(tmp_path, {"verdict": "passed"})
    manifest = read_manifest(tmp_path)
    assert manifest["recipe"]["scheme"] == "w4a16"
    assert manifest["source"] == {"name": "model", "nbytes": 400, "sha256": {"model.safetensors": "11"}}
    assert manifest["scores"] == {"verdict": "passed"}


def test_a_place_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(QuantizeError, match="can't be written"):
        write_provenance(tmp_path / "none", PROVENANCE)
