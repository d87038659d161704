from __future__ import annotations

from pathlib import Path

from fakes.bench_results import decode_data, make_result, serve_result, write_result

from pennyweight.bench.report.history import Told, differences, history
from pennyweight.bench.report.kinds.registry import tell
from pennyweight.bench.report.page import make_page
from pennyweight.bench.report.stored import find_results


def decode_run(directory: Path, day: int, speed: float, **changes: object) -> Path:
    data = decode_data()
    data["steps"][0]["tokens_per_second"] = speed
    return write_result(directory, make_result("decode", data, finished=f"2026-11-{day}T10:00:00+00:00", **changes))


def test_runs_of_one_kind_are_compared_in_the_order_of_their_dates(tmp_path: Path) -> None:
    runs = [decode_run(tmp_path / name, day, speed) for name, day, speed in (("b", 21, 100.0), ("a", 20, 80.0))]
    (group,) = make_page(find_results(runs), tmp_path).groups
    assert group.history is not None
    assert group.history.columns == ("figure", "2026-11-20 10:00", "2026-11-21 10:00", "change")
    assert group.history.rows[0] == ("tokens/s at batch 1", "80", "100", "+25.0 %, better")
    assert group.history.rows[1][-1] == "none"
    assert (group.latest.when, group.earlier[0].when) == ("2026-11-21 10:00 UTC", "2026-11-20 10:00 UTC")


def test_less_can_be_better(tmp_path: Path) -> None:
    runs = [serve_result(tmp_path / "1", rates=(1,)), serve_result(tmp_path / "2", rates=(4,))]
    table, figure = history([Told(one, tell(one)) for one in find_results(runs)])
    changes = {row[0]: row[-1] for row in table.rows}
    assert changes["output tokens/s"] == "+300.0 %, better"
    assert changes["TTFT p50"].endswith("worse")
    assert figure is not None


def test_what_else_differs_between_the_runs_is_said(tmp_path: Path) -> None:
    runs = [
        decode_run(tmp_path / "1", 20, 1.0, settings={"dtype": "bfloat16", "seed": 1}),
        decode_run(tmp_path / "2", 21, 1.0, settings={"dtype": "int8", "seed": 2}, complaints=("busy",)),
    ]
    told = [Told(one, tell(one)) for one in find_results(runs)]
    assert differences(told) == ["dtype (bfloat16, then int8)"]
    assert history(told)[0].note.endswith("Invalid, not to be quoted: 2026-11-21 10:00.")


def test_the_parts_of_a_suite_are_compared_with_the_same_parts_of_another(tmp_path: Path) -> None:
    for suite in ("1", "2"):
        for part in ("chat", "code"):
            serve_result(tmp_path / suite / part, rates=(1,))
    groups = make_page(find_results([tmp_path / "1", tmp_path / "2"]), tmp_path).groups
    assert [len(group.sections) for group in groups] == [2, 2]
    assert [group.latest.heading for group in groups] == [
        f"Load on smollm2-135m-instruct ({part})" for part in ("chat", "code")
    ]
