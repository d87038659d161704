"""The package as pyproject.toml describes it, held against the tree."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_folder_of_modules_is_a_listed_package() -> None:
    places = PROJECT["tool"]["setuptools"]["package-dir"]
    folders = {
        ".".join(["pennyweight", *file.parent.relative_to(ROOT).parts])
        for place in places.values()
        for file in (ROOT / place).rglob("*.py")
    }
    assert folders | {"pennyweight"} == set(PROJECT["tool"]["setuptools"]["packages"])


def test_subfolders_have_an_init_and_top_folders_none() -> None:
    for place in PROJECT["tool"]["setuptools"]["package-dir"].values():
        assert not (ROOT / place / "__init__.py").exists()
        for file in (ROOT / place).rglob("*.py"):
            if file.parent != ROOT / place:
                assert (file.parent / "__init__.py").exists(), file.parent


def test_serving_installs_no_library_that_quantises() -> None:
    wanted = subprocess.run(["make", "-n", "serve"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "pennyweight.server.cli serve" in wanted
    assert ".venv-quantize" not in wanted


def test_every_dependency_is_pinned_for_a_repeatable_install() -> None:
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    project = PROJECT["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    names = {
        requirement.split(";")[0].split(">")[0].split("=")[0].split("[")[0].strip().lower() for requirement in wanted
    }
    assert {name.replace("_", "-") for name in names} <= pinned


def test_every_dependency_has_its_reason_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text().lower()
    for requirement in PROJECT["project"]["dependencies"]:
        name = requirement.split(";")[0].split(">")[0].strip()
        assert f"| {name.lower()} |" in readme, name
