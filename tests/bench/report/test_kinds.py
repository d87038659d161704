from __future__ import annotations

from pathlib import Path

import pytest
from fakes.bench_results import EXAMPLES, make_result, serve_result, write_result

from pennyweight.bench.report.document import Story
from pennyweight.bench.report.kinds.loads import Load, Point, comparable
from pennyweight.bench.report.kinds.registry import tell
from pennyweight.bench.report.stored import find_results

RECORDS = Path(__file__).parents[3] / "bench" / "results"


def story_of(directory: Path) -> Story:
    (stored,) = find_results([directory])
    return tell(stored)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_each_kind_has_an_answer_figures_and_tables(kind: str, tmp_path: Path) -> None:
    story = story_of(write_result(tmp_path, make_result(kind, EXAMPLES[kind]())))
    assert story.answers
    assert story.key_figures
    assert story.figures
    assert story.tables
    assert len({figure.name for figure in story.figures}) == len(story.figures)
    assert all(len(row) == len(table.columns) for table in story.tables for row in table.rows)


def test_a_load_test_answers_at_its_knee(tmp_path: Path) -> None:
    story = story_of(serve_result(tmp_path))
    assert story.answers[0].startswith("At the knee (5 requests/s) the server gave 320 output tokens/s")
    assert story.answers[1].startswith(
        "99.5 % of the requests met the objective (TTFT within 500 ms, TPOT within 50 ms)"
    )
    assert story.answers[-1] == "3 of 1,200 requests failed."
    names = [
        "throughput",
        "goodput",
        "ttft-over-load",
        "tpot-over-load",
        "e2e-over-load",
        "ttft-cdf",
        "itl-cdf",
        "running",
        "errors",
    ]
    assert [figure.name for figure in story.figures] == names


def test_a_single_load_has_no_curve_over_loads(tmp_path: Path) -> None:
    assert [figure.name for figure in story_of(serve_result(tmp_path, rates=(2,))).figures] == [
        "ttft-cdf",
        "itl-cdf",
        "running",
    ]


def test_a_sweep_over_rates_leaves_its_first_closed_loop_off_the_axis() -> None:
    closed, slow, fast = (Point(load) for load in (Load("closed", concurrency=64), Load(rate=1.0), Load(rate=2.0)))
    assert comparable([closed, fast, slow]) == [slow, fast]


def test_costs_name_the_cheapest_configuration_and_the_break_even(tmp_path: Path) -> None:
    answers = story_of(write_result(tmp_path, make_result("cost", EXAMPLES["cost"]()))).answers
    assert (
        answers[0]
        == "A million tokens cost $0.19 ($0.18 to $0.201) with int8, prefix cache, on a machine of $0.085 an hour."
    )
    assert answers[-1].startswith(
        "Against the list price of large-hosted that machine pays from 640 requests an hour on"
    )
    assert answers[-1].endswith("of 3 list prices it beats 2 at some load.")


def test_savings_are_told_for_each_repeat_share_with_the_shares_of_tiers_and_cache(tmp_path: Path) -> None:
    answers = story_of(write_result(tmp_path, make_result("savings", EXAMPLES["savings"]()))).answers
    assert answers[1] == (
        "50 % repeats: with both an accepted answer costs 11.7 times less (11.1 to 12.4) than with everything off; the response cache "
        "gave 50 % of the answers, the cheap tier 42.5 %, the dear 7.5 %."
    )
    assert "one model in two precisions" in answers[2]


def test_a_device_tells_what_its_time_was_lost_to(tmp_path: Path) -> None:
    answers = story_of(write_result(tmp_path, make_result("gpu", EXAMPLES["gpu"]()))).answers
    assert answers[1] == "Of its time 97.3 % went to prefill and decode; lost were 2.2 % recompute, 0.5 % idle."


def test_a_comparison_pairs_the_rounds() -> None:
    story = story_of(RECORDS / "2026-11-25-epyc-2-cores")
    ratio = next(figure for figure in story.figures if figure.name == "ratio-32")
    assert "pennyweight int8 2.01" in ratio.alt
    assert "At 32 streams, Pennyweight against the best of vllm: bfloat16 657 tokens/s (1.47×)" in story.answers[1]


def test_a_comparison_says_which_of_its_ratios_show_a_difference(tmp_path: Path) -> None:
    result = make_result("compare", EXAMPLES["compare"](), settings={"baseline": "native bfloat16"})
    story = story_of(write_result(tmp_path, result))
    assert story.answers == (
        "At 1 stream, native int8 gave 2.00× the tokens of native bfloat16 (95 % interval 1.90× to 2.10×).",
        "At 8 streams, native int8 gave 1.01× the tokens of native bfloat16 (95 % interval 0.97× to 1.06×, which holds 1: no "
        "difference is shown).",
    )
    assert [figure.name for figure in story.figures] == ["speed-1", "ratio-1", "speed-8", "ratio-8"]
    assert story.figures[1].alt == "Ratios to native bfloat16: tokens/s 2.00, TTFT p50 0.50"
    assert [row[-1] for row in story.tables[1].rows] == ["yes: better", "yes: better", "no", "yes: worse"]


def test_a_plan_and_its_error_are_told(tmp_path: Path) -> None:
    economics = {"dollars_per_hour": 2.5, "per_million": 0.12, "per_accepted": 0.0001}
    configuration = {"offer": "H200", "tp": 2, "quantisation": "int8", "economics": economics, "headroom": 1.4}
    plan = {
        "configurations": [{**configuration, "percentiles": {"ttft_p99": 0.4}}],
        "sensitivity": [
            {"input": "rate", "factor": factor, "headroom": 1.4 / factor, "ttft_p99": 0.4} for factor in (0.8, 1.2)
        ],
        "break_even": [
            {"model": "hosted", "requests_per_hour": 900.0, "share_of_capacity": 0.2, "hosted_per_hour": 9.0}
        ],
        "intervals": {"ttft_p99": {"value": 0.4, "low": 0.3, "high": 0.6}},
    }
    story = story_of(write_result(tmp_path / "plan", make_result("plan", plan)))
    assert story.answers[0] == "Cheapest is 1 × H200, TP 2 int8: $2.50 an hour, $0.12 per million tokens."
    prediction = {"measured": {"throughput": 100.0}, "predicted": {"throughput": 92.0}, "errors": {"throughput": -0.08}}
    loads = [{"load": f"{n} at once", "fitted": n == 1, **prediction} for n in (1, 2)]
    validation = {"predictions": loads, "errors": {"throughput": 0.08}}
    story = story_of(write_result(tmp_path / "validate", make_result("validate-plan", validation)))
    assert story.answers == (
        "Fitted to 1 loads, the planner missed the other 1 by, in the median: output tokens/s 8 %.",
    )


def test_an_unknown_kind_and_an_unknown_form_still_have_their_tables(tmp_path: Path) -> None:
    data = {"speed": {"mean": 1.25, "is_good": True}, "rows": [{"a": 1, "b": [1, 2]}, {"a": 2, "c": None}]}
    for kind in ("new-kind", "serve"):
        story = story_of(write_result(tmp_path / kind, make_result(kind, data)))
        facts, rows = story.tables
        assert facts.rows == (("speed.mean", "1.25"), ("speed.is_good", "yes"))
        assert (rows.columns, rows.rows) == (("a", "b", "c"), (("1", "1, 2", "–"), ("2", "–", "–")))
