"""Overload measured: what levels come to, and a whole run over an engine of a known capacity."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from pennyweight.bench.cli import bench
from pennyweight.bench.load.summary import Summary
from pennyweight.bench.overload.account import account, shortfalls
from pennyweight.bench.overload.configurations import WITH, WITHOUT, fixed, options_of
from pennyweight.bench.overload.measure import Level, Outcome
from pennyweight.bench.report.kinds.registry import tell
from pennyweight.bench.report.stored import find_results


def summary(goodput: float) -> Summary:
    empty: dict[str, Any] = dict.fromkeys(Summary.__struct_fields__)
    return Summary(**(empty | {"goodput": goodput}))


def level(share: float, goodput: float, **changes: Any) -> Level:
    made = Level(
        configuration=WITH,
        share=share,
        rate=10 * share,
        round=0,
        summary=summary(goodput),
        answered=100,
        refused=0,
        refusals=None,
        gave_up=0,
        front_cpu_seconds=0.1,
        memory=1,
        complaints=(),
    )
    return msgspec.structs.replace(made, **changes)


def test_what_is_kept_is_of_the_peak_and_of_the_median_of_rounds() -> None:
    levels = [level(1, 10), level(2, 4, round=0), level(2, 9.6, round=1), level(2, 9.8, round=2), level(5, 8)]
    (found,) = account(Outcome(capacity=10, levels=levels, memory={}))
    assert found["kept"] == [[1, 1.0], [2, 0.96], [5, 0.8]]
    assert list(shortfalls([found])) == ["at 5 times the capacity 80.0% of the peak goodput was kept, not 90%"]


def test_the_front_s_time_is_divided_between_answers_and_refusals() -> None:
    shares = ((100, 0), (100, 100), (100, 400))
    levels = [
        level(number + 1, 10, answered=answered, refused=refused, front_cpu_seconds=answered * 2e-3 + refused * 3e-4)
        for number, (answered, refused) in enumerate(shares)
    ]
    (found,) = account(Outcome(capacity=10, levels=levels, memory={}))
    assert found["cpu_us_per_answer"] == pytest.approx(2000)
    assert found["cpu_us_per_refusal"] == pytest.approx(300)


def test_the_two_servers_differ_in_their_limit_alone() -> None:
    one, other = fixed(options_of(0.5, 0.1), places=4, step=0.01).values()
    assert [*one.command(1)][-4:] == ["--max-wait", "0.5", "--max-tpot", "0.1"]
    assert [*other.command(1)][-1] == "--no-adaptive-limit"
    assert [*one.command(1)][:-4] == [*other.command(1)][:-1]


@pytest.mark.serial
@pytest.mark.slow
def test_a_run_over_an_engine_of_a_known_capacity(tmp_path: Path) -> None:
    arguments = ["overload", "--model", "fixed", "--places", "4", "--step", "0.02", "--share", "0.5", "--share", "4"]
    arguments += ["--duration", "4", "--warmup", "1", "--capacity-duration", "3", "--clients", "16"]
    arguments += ["--output-tokens", "8", "--max-wait", "0.3", "--slo", "ttft_scheduled:1s", "--patience", "3"]
    ran = CliRunner().invoke(bench, [*arguments, "--out", str(tmp_path)])
    result = json.loads(ran.stdout.splitlines()[-1])
    data = result["data"]
    # 4 places, 0.16 s for an answer.
    assert data["capacity"] == pytest.approx(25, rel=0.25)
    kept = {one["name"]: dict(one["kept"]) for one in data["configurations"]}
    assert kept[WITH][4.0] > 0.8
    assert kept[WITHOUT][4.0] < 0.5
    assert sum(one["refused"] for one in data["levels"] if one["configuration"] == WITHOUT) == 0
    assert len(list(tmp_path.glob("samples-*.jsonl.gz"))) == 4
    assert set(data["memory"]) == {WITH, WITHOUT}
    (stored,) = find_results([tmp_path])
    assert {figure.name for figure in tell(stored).figures} == {"goodput", "refusals", "memory"}
