"""The gate's end of the pipe, with processes that do not do what they should."""

from __future__ import annotations

import sys

import pytest

from pennyweight.quantize.quality.scored_model import ModelFailed, ScoredModel

FAILING = """
import sys
from pennyweight.quantize.quality.protocol import Failed, write
write(sys.stdout.buffer, Failed("no room"))
"""


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def test_what_a_process_says_of_its_failure_is_raised() -> None:
    with ScoredModel(python(FAILING)) as model, pytest.raises(ModelFailed, match="no room"):
        _ = model.loaded


@pytest.mark.parametrize("program", ["raise SystemExit(3)", "import sys; sys.stdout.write('abc'); raise SystemExit(3)"])
def test_a_process_that_ends_is_told_by_its_exit_code(program: str) -> None:
    with ScoredModel(python(program)) as model, pytest.raises(ModelFailed, match="exit code 3"):
        _ = model.loaded


def test_a_question_to_a_process_that_has_ended_is_no_hang() -> None:
    with ScoredModel(python("")) as model, pytest.raises(ModelFailed, match="exit code 0"):
        model.encode("x" * 1_000_000)  # more than a pipe holds


def test_a_command_that_is_not_there_is_told() -> None:
    with pytest.raises(ModelFailed, match="no-such-command can't be started"):
        ScoredModel(["no-such-command"])
