"""Streams on the real server over a socket, with scripted engines as its tiers' models."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest
from fakes.live_server import LiveEngine, live_server
from fakes.scripted_engine import says

from pennyweight.bench.load.endpoint import Endpoint
from pennyweight.bench.load.view import View
from pennyweight.bench.savings.measure import MODEL, Measured, Plan, load_stream, measure_hits
from pennyweight.bench.savings.report import make_report
from pennyweight.bench.savings.step import CHEAP, DEAR, HOSTED, STEPS, Prices
from pennyweight.bench.savings.stream import Drawing, Workload, draw_streams
from pennyweight.server.config import ModelSettings, ResponseCacheSettings, RouterSettings, TierSettings
from pennyweight.server.ledger.price_book import load_prices

BOOK = load_prices()
PRICES = Prices(BOOK.model("anthropic-claude-haiku-5.5"), BOOK.model("anthropic-claude-opus-5.5"))
TIERS = {
    "quick": TierSettings(models=(CHEAP,), fallbacks=(DEAR, HOSTED)),
    "deep": TierSettings(models=(DEAR,), fallbacks=(HOSTED,)),
}
OFF = RouterSettings(default_tier="deep")
LENGTH = RouterSettings(default_tier="deep", policy="length", between=("quick", "deep"), long_prompt=100)


def workload_of(path: Path) -> Workload:
    """Every third prompt is long, and every answer must have the word that both models say."""
    file = path / "rows.jsonl"
    rows = [{"prompt": f"Q{number} " + "x" * (200 if number % 3 == 0 else 5), "expect": "word"} for number in range(40)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Workload(file, 8)


@pytest.fixture
def workload(tmp_path: Path) -> Workload:
    return workload_of(tmp_path)


async def run_steps(workload: Workload, shares: tuple[float, ...], hits: int = 0) -> list[Measured]:
    drawing = Drawing(10, shares, 200.0)
    (streams,), _ = draw_streams(drawing, workload.distinct(0), [], 1)
    plan = Plan(drawing, None, 0, [], hits)
    measured = []
    for step in STEPS:
        engines = {
            name: LiveEngine(script=lambda request: says("A word", " of ", request.model), model=name)
            for name in (CHEAP, DEAR, HOSTED)
        }
        sections = {
            "models": {name: ModelSettings() for name in engines},
            "tiers": TIERS,
            "router": LENGTH if step.has_router else OFF,
            "response_cache": ResponseCacheSettings(max_bytes=2**20 if step.has_cache else 0),
        }
        found = Measured(step=step.name, round=0)
        async with live_server(engines=engines, sections=sections) as server:
            endpoint = Endpoint(server.url, MODEL, "chat")
            with View() as view:
                for stream in streams:
                    found.streams.append(
                        await load_stream(step, 0, endpoint, os.getpid(), workload, stream, plan, view)
                    )
            if step.has_cache and hits:
                found.hits = await measure_hits(endpoint, os.getpid(), workload, streams[0].rows[0], plan)
        measured.append(found)
    return measured


async def test_who_answers_and_what_that_costs(workload: Workload) -> None:
    measured = await run_steps(workload, (0.0, 0.5), hits=3)
    report = make_report(measured, workload, PRICES, None, 0)
    assert not [one for one in report.complaints if "late" not in one]
    off, cache, router, both = (one for one in report.costs if one.repeat_share == 0.5)
    assert [one.accepted for one in (off, cache, router, both)] == [10] * 4
    assert (off.dear_share, off.free_share, off.same_share, off.likeness) == (1.0, 0.0, 1.0, 1.0)
    # Exactly half of the requests repeat: each is a hit, or shares a generation that is still under way.
    assert (cache.free_share, cache.dear_share) == (0.5, 0.5)
    assert cache.times_cheaper is not None
    assert cache.times_cheaper.value > 1
    asked = measured[0].streams[1].stream.rows
    long = [row % 3 == 0 for row in asked]
    assert router.dear_share == sum(long) / 10
    assert router.cheap_share == 1 - router.dear_share
    assert router.same_share == router.dear_share  # the models' names are in their answers
    assert router.likeness is not None
    assert 0.7 < router.likeness < 1
    assert (both.free_share, both.routed_dear_share) == (0.5, sum(row % 3 == 0 for row in set(asked)) / 5)
    assert both.dollars < min(cache.dollars, router.dollars) < off.dollars
    first = next(one for one in report.costs if one.repeat_share == 0.0 and one.step == "response cache")
    assert (first.free_share, first.times_cheaper and first.times_cheaper.value) == (0.0, pytest.approx(1.0))
    assert [one.requests for one in report.hits] == [3, 3]
    assert {one.step for one in report.waited} == {step.name for step in STEPS}


async def test_streams_whose_prompts_all_went_one_way_are_told(workload: Workload) -> None:
    measured = await run_steps(workload, (0.0,))
    for one in measured:
        one.streams[0].samples = [msgspec.structs.replace(sample, model=CHEAP) for sample in one.streams[0].samples]
    found = make_report(measured, workload, PRICES, None, 0).complaints
    assert [one.split(":")[0] for one in found if "every prompt went to the cheap tier" in one] == [
        "router, repeats 0%",
        "both, repeats 0%",
    ]


async def test_a_step_that_failed_leaves_no_figures_of_that_round(workload: Workload) -> None:
    measured = await run_steps(workload, (0.0,))
    measured[2].streams.clear()
    measured[2].failure = "the server ended"
    report = make_report(measured, workload, PRICES, None, 0)
    assert report.costs == []
    assert "router, round 1 failed: the server ended" in report.complaints
