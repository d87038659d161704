from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fakes.bench_results import serve_result
from typer.testing import CliRunner

from pennyweight.bench.cli import bench


def test_the_page_lies_where_the_result_does_and_its_path_is_printed(tmp_path: Path) -> None:
    serve_result(tmp_path / "run", rates=(1,))
    ran = CliRunner().invoke(bench, ["report", str(tmp_path / "run")])
    assert ran.exit_code == 0
    assert ran.stdout.strip() == str(tmp_path / "run" / "report.html")
    assert (tmp_path / "run" / "report.md").exists()


def test_several_runs_are_reported_here_unless_a_place_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [str(serve_result(tmp_path / name, rates=(1,))) for name in ("1", "2")]
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert CliRunner().invoke(bench, ["report", *runs]).exit_code == 0
    assert (tmp_path / "here" / "report.html").exists()
    assert CliRunner().invoke(bench, ["report", *runs, "--out", str(tmp_path / "there")]).exit_code == 0
    assert (tmp_path / "there" / "report.html").exists()


def test_a_directory_without_results_is_one_line_of_error(tmp_path: Path) -> None:
    ran = CliRunner().invoke(bench, ["report", str(tmp_path)])
    assert ran.exit_code == 2
    assert "has no result.json" in " ".join(ran.stderr.replace("│", " ").split())
    assert not isinstance(ran.exception, OSError)


def test_without_matplotlib_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve_result(tmp_path, rates=(1,))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    ran = CliRunner().invoke(bench, ["report", str(tmp_path)])
    assert ran.exit_code == 2
    assert "pennyweight[bench]" in ran.stderr


def test_the_command_is_listed_without_matplotlib_being_imported() -> None:
    script = "import sys, pennyweight.bench.cli, pennyweight.bench.report.readme; print('matplotlib' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == "False"
