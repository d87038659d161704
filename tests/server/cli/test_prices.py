from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pennyweight.server.cli.prices import prices
from pennyweight.server.errors import ConfigError

ENTRY = "{{provider: us, cores: 4, memory_gb: 8, dollars_per_hour: {price}, terms: reserved, as_of: {day}, source: a contract}}"


def run(*arguments: str, code: int = 0, **environment: str) -> str:
    result = CliRunner().invoke(prices, arguments, env=environment, catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def own(path: Path, day: str = "2026-11-01", price: str = "0.5") -> str:
    file = path / "own.yaml"
    file.write_text(f"machines:\n  ours: {ENTRY.format(day=day, price=price)}\n")
    return str(file)


def test_without_a_subcommand_all_are_listed() -> None:
    shown = run()
    assert shown == run("list")
    assert all(word in shown for word in ("GPUs", "machines", "hosted models", "aws-h100", "openai-gpt-6.1-sol"))


def test_a_list_can_be_narrowed() -> None:
    shown = json.loads(run("list", "--kind", "gpus", "--provider", "lambda", "--match", "H100", "--json"))
    assert {price["provider"] for price in shown["gpus"]} == {"Lambda"}
    assert all("h100" in price["id"] for price in shown["gpus"])
    assert shown["machines"] == shown["models"] == []
    spot = json.loads(run("list", "--terms", "spot", "--json"))
    assert spot["gpus"]
    assert {price["terms"] for price in spot["gpus"]} == {"spot"}
    assert spot["models"] == []
    assert "no price fits" in run("list", "--match", "nothing has this name")
    assert "--kind" in run("list", "--kind", "cars", code=2)


def test_an_own_file_comes_from_the_option_or_the_environment(tmp_path: Path) -> None:
    file = own(tmp_path)
    assert "ours" in run("list", "--prices", file)
    assert "ours" in run(PENNYWEIGHT_PRICES=file)
    assert json.loads(run("show", "ours", "--json", "--prices", file))["dollars_per_hour"] == "0.5"
    assert "a contract" in run("show", "ours", PENNYWEIGHT_PRICES=file)


def test_a_check_complains_of_what_is_old(tmp_path: Path) -> None:
    assert "1 prices, 0 of them" in run("check", own(tmp_path), "--older-than", "100000")
    shown = run("check", own(tmp_path, day="2020-01-01"), code=1)
    assert "ours is of 2020-01-01" in shown
    assert "look at a contract" in shown
    assert "a day to come" in run("check", own(tmp_path, day="2999-01-01"), code=1)


def test_a_check_refuses_a_wrong_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"line 2, machines\.ours: dollars_per_hour is -1"):
        run("check", own(tmp_path, price="-1"))
