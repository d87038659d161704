from __future__ import annotations

from io import StringIO

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from pennyweight.bench.compare.comparison import Row, make_rows
from pennyweight.bench.compare.measure import Measurement, load_summary
from pennyweight.bench.compare.ratios import PairedRound, Ratio, Statistic, interval, ratios
from pennyweight.bench.compare.table import medians_table, ratios_table
from pennyweight.bench.compare.trouble import troubles
from pennyweight.bench.load.sample import Sample
from pennyweight.bench.load.summary import summarise

MIB = 1024 * 1024
REQUESTS = 16


def samples(step: float, generator: np.random.Generator) -> list[Sample]:
    """A closed loop of one client: 4 tokens a request, about ``step`` seconds each."""
    found, now = [], 0.0
    for index in range(REQUESTS):
        arrivals = now + np.cumsum(step * generator.uniform(0.9, 1.1, 4))
        found.append(
            Sample(
                index=index,
                scheduled=now,
                sent=now,
                first=float(arrivals[0]),
                ended=float(arrivals[-1]),
                arrivals=tuple(map(float, arrivals)),
                pieces=(1, 1, 1, 1),
                prompt_tokens=5,
                output_tokens=4,
            )
        )
        now = float(arrivals[-1])
    return found


def measurement(label: str, number: int, step: float, ready: float, cpu: float | None = 1.0) -> Measurement:
    load = samples(step, np.random.default_rng([number, int(step * 1e6)]))
    return Measurement(
        label=label,
        peer="scripted",
        variant=label,
        round=number,
        busy_cores_before=0.0,
        seconds_to_ready=ready,
        seconds_to_first_answer=ready + 1,
        loads=[load_summary(1, summarise(load), cpu)],
        resident_bytes=300 * MIB,
        samples=[load],
    )


# The machine slows down from round to round; ours stays twice as fast as theirs.
ROUNDS = [
    one
    for number, slow in enumerate((1.0, 1.5, 3.0))
    for one in (
        measurement("theirs", number, 0.02 * slow, ready=10 * slow),
        measurement("ours", number, 0.01 * slow, ready=1 * slow, cpu=0.25),
        measurement("like theirs", number, 0.02 * slow, ready=11 * slow),
    )
]


def named(found: list[Ratio]) -> dict[tuple[str, str], Ratio]:
    return {(one.name, one.measure): one for one in found}


def rows_of(measurements: list[Measurement], found: list[Ratio]) -> list[Row]:
    return make_rows(measurements, {(one.name, one.measure): one.value for one in found})


def test_ratios_are_paired_by_round_so_that_a_slower_machine_changes_none() -> None:
    found = named(ratios(ROUNDS, "theirs", seed=0))
    speed = found["ours", "output_tokens_per_second@1"]
    assert speed.value == pytest.approx(2, rel=0.03)
    assert speed.low is not None
    assert speed.high is not None
    # Unpaired, the rounds' speeds differ threefold.
    assert 1.9 < speed.low <= speed.value <= speed.high < 2.1
    assert (speed.rounds, speed.is_better) == (3, True)
    ttft = found["ours", "ttft_p50@1"]
    assert ttft.value == pytest.approx(0.5, rel=0.1)
    assert ttft.is_better
    assert found["ours", "cpu_seconds_per_output_token@1"].value == pytest.approx(0.25)
    ready = found["ours", "seconds_to_ready"]
    assert (ready.value, ready.low, ready.high) == (pytest.approx(0.1),) * 3


def test_no_difference_is_shown_where_there_is_none() -> None:
    found = named(ratios(ROUNDS, "theirs", seed=0))
    assert found["like theirs", "output_tokens_per_second@1"].is_better is None
    assert found["like theirs", "resident_bytes"].is_better is None
    worse = found["like theirs", "seconds_to_ready"]
    assert worse.is_better is False


def test_the_same_seed_gives_the_same_intervals() -> None:
    assert ratios(ROUNDS, "theirs", seed=3) == ratios(ROUNDS, "theirs", seed=3)
    assert ratios(ROUNDS, "theirs", seed=3) != ratios(ROUNDS, "theirs", seed=4)


def test_intervals_hold_what_is_true_about_as_often_as_they_say() -> None:
    held = 0
    for trial in range(100):
        generator = np.random.default_rng(trial)
        pairs = []
        for _ in range(8):
            # A round's two loads are each a little off, and so is each request.
            ours, theirs = (
                center * generator.normal(1, 0.03) * generator.normal(1, 0.1, REQUESTS) for center in (2.0, 1.0)
            )
            pairs.append(PairedRound(ours.mean() / theirs.mean(), REQUESTS, mean_of(ours), mean_of(theirs)))
        ends = interval(pairs, seed=trial)
        assert ends is not None
        held += ends[0] <= 2 <= ends[1]
    assert held >= 88


def mean_of(values: NDArray[np.float64]) -> Statistic:
    def of(chosen: NDArray[np.int64]) -> NDArray[np.float64]:
        means: NDArray[np.float64] = values[chosen].mean(axis=1)
        return means

    return of


def test_one_round_has_intervals_over_its_requests_alone() -> None:
    found = named(ratios(ROUNDS[:3], "theirs", seed=0))
    speed, ready = found["ours", "output_tokens_per_second@1"], found["ours", "seconds_to_ready"]
    assert speed.low is not None
    assert (ready.low, ready.high, ready.is_better) == (None, None, None)


def test_a_round_in_which_either_failed_is_no_pair_and_told() -> None:
    gone = Measurement("theirs", "scripted", "theirs", 2, 0.0, failure="it died\nwith a log")
    measurements = [one for one in ROUNDS if (one.label, one.round) != ("theirs", 2)] + [gone]
    found = ratios(measurements, "theirs", seed=0)
    assert named(found)["ours", "seconds_to_ready"].rounds == 2
    theirs, ours, _ = rows_of(measurements, found)
    assert (theirs.rounds, theirs.failures, ours.rounds) == (2, ("it died\nwith a log",), 3)
    assert theirs.medians["seconds_to_ready"] == 12.5
    assert theirs.ratios == {}
    assert list(troubles(measurements, "theirs")) == ["theirs, round 3 failed: it died"]


def test_a_baseline_that_was_never_measured_leaves_medians() -> None:
    found = ratios(ROUNDS, "gone", seed=0)
    assert found == []
    assert rows_of(ROUNDS, found)[1].medians["seconds_to_ready"] == 1.5


def test_servers_that_count_other_prompts_are_told() -> None:
    other = measurement("other", 0, 0.02, 1)
    other.loads[0] = load_summary(
        1, summarise([Sample(index=0, scheduled=0, sent=0, first=1, ended=1, prompt_tokens=9, output_tokens=4)]), None
    )
    (told,) = troubles([ROUNDS[0], other], "theirs")
    assert told.startswith("other counted 9 prompt tokens a request where theirs counted 5")


def test_the_tables_show_medians_ratios_and_whether_they_show_a_difference() -> None:
    found = ratios(ROUNDS, "theirs", seed=0)
    rows = rows_of(ROUNDS, found)
    out = StringIO()
    console = Console(file=out, width=160)
    console.print(medians_table(rows, [1], "theirs"))
    console.print(ratios_table(rows, found, [1]))
    lines = out.getvalue().splitlines()
    assert any("ready, s" in line and "15.0" in line and "1.5" in line and "16.5" in line for line in lines)
    assert any("tokens/s, at 1" in line and "yes: better" in line for line in lines)
    assert any("ready, s" in line and "1.100 to 1.100" in line and "yes: worse" in line for line in lines)
    assert any("resident, MiB" in line and "no: no difference shown" in line for line in lines)
    assert "3 rounds say little of how rounds differ" in " ".join(out.getvalue().split())
