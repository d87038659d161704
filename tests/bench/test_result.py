from __future__ import annotations

from pathlib import Path

import pytest

from pennyweight.bench.result import Run, read, show


def test_a_result_is_read_back_as_it_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run("serve", {"file": Path("a"), "seed": 1})
    result = run.result({"points": [1.5]}, versions={"vllm": "1"}, complaints=("the client was late",))
    show(result, tmp_path / "new", "a table")
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "a table"
    assert shown[1].startswith("INVALID: the client was late")
    assert shown[-1] == (tmp_path / "new" / "result.json").read_text().strip()
    again = read(tmp_path / "new")
    assert (again.kind, again.settings, again.data) == ("serve", {"file": "a", "seed": 1}, {"points": [1.5]})
    assert not again.is_valid
    assert again.machine == result.machine
    assert again.versions["vllm"] == "1"
