"""`pennyweight quantize` where it has nothing to compute: its help, and its refusals."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pennyweight.quantize.cli import quantize


def run(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(quantize, [str(one) for one in arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_help_names_the_commands_and_the_options() -> None:
    assert "run" in run("--help")
    assert "--smoothquant" in run("run", "--help")


def test_a_model_needs_no_subcommand(tmp_path: Path) -> None:
    complaint = run(tmp_path, "--scheme", "w8a8", "--out", tmp_path / "out", code=1)
    assert "is no model directory" in complaint
    assert complaint == run("run", tmp_path, "--scheme", "w8a8", "--out", tmp_path / "out", code=1)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--scheme", "w4a16", "--group-size", "64"], "96 columns, which 64 does not divide; use --group-size 32"),
        (["--scheme", "w8a8", "--group-size", "64"], "are for w4a16"),
        (["--scheme", "w4a16", "--eight-bits", "value"], "value is no projection of this model: name one as v_proj"),
        (["--scheme", "w8a8", "--device", "tpu"], "must be cpu or cuda"),
        (["--scheme", "w8a8", "--python", "no-such-python"], "no program that can be run"),
        # The tests' own environment has no library to quantise with.
        (["--scheme", "w8a8"], "pip install 'pennyweight[quantize]'"),
        (["--scheme", "w4a16", "--format", "gptq", "--python", sys.executable], "--no-deps gptqmodel"),
    ],
)
def test_what_can_not_be_done_is_said_with_what_helps(
    tmp_path: Path, tiny_model: Path, options: list[str], complaint: str
) -> None:
    said = run(tiny_model, *options, "--out", tmp_path / "out", code=1)
    assert complaint in " ".join(said.split())
    assert list(tmp_path.iterdir()) == []
