from __future__ import annotations

from pathlib import Path

import pytest

from pennyweight.bench.report.readme import BadMarker, render

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "bench" / "results"


def test_the_readme_has_the_figures_of_the_results_of_record() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "<!-- figures:" in readme
    assert render(readme, RESULTS) == readme, "run python -m pennyweight.bench.report.readme"


def test_a_changed_figure_is_put_right() -> None:
    readme = (ROOT / "README.md").read_text()
    assert render(readme.replace("**161 (3.96)**", "**999 (9.99)**"), RESULTS) == readme


def test_any_table_of_a_story_can_be_had_by_its_name() -> None:
    text = "<!-- figures: table servers 2026-11-25-epyc-2-cores -->\n<!-- /figures -->"
    lines = render(text, RESULTS).splitlines()
    assert lines[1].startswith("| server | tokens/s at 1 |")
    assert len(lines) == 4 + 7


@pytest.mark.parametrize(
    ("marker", "complaint"),
    [
        ("nothing 2026-11-25-epyc-2-cores", "'nothing 2026-11-25-epyc-2-cores' wants one of answers, tables, servers"),
        ("servers", "'servers' wants"),
        ("table no 2026-11-25-epyc-2-cores", "no table is called 'no'; there are servers"),
    ],
)
def test_a_marker_that_asks_for_nothing_known_is_refused(marker: str, complaint: str) -> None:
    with pytest.raises(BadMarker, match=complaint):
        render(f"<!-- figures: {marker} --><!-- /figures -->", RESULTS)


def test_figures_of_an_invalid_run_are_not_shown_without_its_complaint() -> None:
    text = "<!-- figures: table servers 2026-11-26-epyc-avx2-2-cores-on-vllm-paired -->\n<!-- /figures -->"
    assert "*Invalid by its own account: " in render(text, RESULTS)
    valid = "<!-- figures: answers 2026-11-26-epyc-avx2-2-cores-planner -->\n<!-- /figures -->"
    assert "Invalid" not in render(valid, RESULTS)
