"""The directory in which a checkpoint grows: never half of one under its final name, and nothing lost that can be kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from pennyweight.quantize.errors import QuantizeError
from pennyweight.quantize.staging import staged


def test_a_whole_checkpoint_gets_its_name(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with staged(out, {"job": 1}, 0) as staging:
        assert not staging.goes_on
        assert not out.exists()
        (staging.made / "model.safetensors").write_text("weights")
        (staging.made / "templates").mkdir()
        staging.publish()
    assert [path.name for path in out.iterdir()] in (
        ["model.safetensors", "templates"],
        ["templates", "model.safetensors"],
    )
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_what_is_stopped_stays_marked_and_is_taken_up_by_the_same_job_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with staged(out, {"job": 1}, 0) as staging:
        (staging.state / "00000.safetensors").write_text("a layer")
        (staging.made / "config.json").write_text("half")
    assert [path.name for path in tmp_path.iterdir()] == ["out.incomplete"]
    with staged(out, {"job": 1}, 0) as again:
        assert again.goes_on
        assert (again.state / "00000.safetensors").read_text() == "a layer"
        assert list(again.made.iterdir()) == []
    with staged(out, {"job": 2}, 0) as other:
        assert not other.goes_on
        assert list(other.state.iterdir()) == []


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with staged(tmp_path / "out", {}, 0) as staging:
        staging.publish()
    (tmp_path / "out" / "mine").write_text("keep this")
    with pytest.raises(QuantizeError, match="exists already"), staged(tmp_path / "out", {}, 0):
        pass
    with pytest.raises(QuantizeError, match="exists already"), staged(tmp_path / "out" / "mine", {}, 0):
        pass
    assert (tmp_path / "out" / "mine").read_text() == "keep this"


def test_two_at_once_are_told_apart(tmp_path: Path) -> None:
    with (
        staged(tmp_path / "out", {}, 0),
        pytest.raises(QuantizeError, match="another process"),
        staged(tmp_path / "out", {}, 0),
    ):
        pass


def test_a_disk_that_is_too_small_is_named_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(QuantizeError, match="GB are needed"), staged(tmp_path / "out", {}, 1 << 60):
        pass


def test_a_place_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(QuantizeError, match="can't be written"), staged(tmp_path / "file" / "out", {}, 0):
        pass
