"""What a load's /metrics and readings come to."""

from __future__ import annotations

import pytest

from pennyweight.bench.gpu.page import MetricsPage, grown, parse_page
from pennyweight.bench.gpu.peak import table_peak, with_given
from pennyweight.bench.gpu.utilisation import Stretch, counts, time_split, utilisation
from pennyweight.bench.gpu.watch import Row, Timeline
from pennyweight.bench.load.sample import Sample
from pennyweight.server.telemetry.gpu.meter import Device, Reading
from pennyweight.server.telemetry.gpu.peaks import Peak

CARD = Device(label="cuda:0", card="NVIDIA H100 80GB HBM3", uuid="GPU-1")
CPU = Device(label="cpu", card="Fast 9000")
PEAK = Peak(flops={"bfloat16": 1e12}, bandwidth=1e9, source="a sheet")

OURS = """
# TYPE pennyweight:estimated_flops_per_gpu counter
pennyweight:estimated_flops_per_gpu_total{model_name="m"} FLOPS
# TYPE pennyweight:estimated_read_bytes_per_gpu counter
pennyweight:estimated_read_bytes_per_gpu_total{model_name="m"} READ
# TYPE pennyweight:engine_seconds counter
pennyweight:engine_seconds_total{model_name="m",phase="prefill"} PREFILL
pennyweight:engine_seconds_total{model_name="m",phase="decode"} 1
pennyweight:engine_seconds_total{model_name="m",phase="recompute"} 0
# TYPE pennyweight:upstream_retry_seconds counter
pennyweight:upstream_retry_seconds_total{model_name="m"} 0.5
# TYPE pennyweight:device_up gauge
pennyweight:device_up{device="cuda:0",card="H",uuid="GPU-1"} 1
# TYPE pennyweight:device_power_usage_watts gauge
pennyweight:device_power_usage_watts{device="cuda:0",card="H",uuid="GPU-1"} 500
# TYPE pennyweight:device_prof_sm_active gauge
pennyweight:device_prof_sm_active{device="cuda:0",card="H",uuid="GPU-1"} 0.75
# TYPE pennyweight:device_throttled gauge
pennyweight:device_throttled{device="cuda:0",card="H",uuid="GPU-1",reason="sw_power_cap"} 1
# TYPE python_gc counter
python_gc_total 5
"""


def page(time: float, flops: float, read: float, prefill: float, prefix: str = "pennyweight:") -> MetricsPage:
    text = OURS.replace("FLOPS", str(flops)).replace("READ", str(read)).replace("PREFILL", str(prefill))
    return parse_page(text.replace("pennyweight:", prefix), time)


def sample(prompt: int, output: int, error: str | None = None) -> Sample:
    return Sample(
        index=0,
        scheduled=0.0,
        sent=0.0,
        first=0.1,
        ended=1.0,
        arrivals=[],
        pieces=[],
        prompt_tokens=prompt,
        output_tokens=output,
        cached_tokens=None,
        status=200,
        error=error,
    )


def row(time: float, device: Device = CARD, **values: object) -> Row:
    return Row(device, Reading(time=time, **values))  # type: ignore[arg-type]


STRETCH = Stretch(100.0, 110.0, page(99.0, 1e12, 1e9, 3.0), page(111.0, 5e12, 3e9, 7.0))


def test_shares_are_of_the_loads_own_time() -> None:
    found = utilisation(STRETCH, [], [], PEAK, "bfloat16")
    assert found["mfu"] == pytest.approx(4e12 / 10 / 1e12)
    assert found["mbu"] == pytest.approx(2e9 / 10 / 1e9)
    assert found["joules_per_token"] is None
    assert utilisation(STRETCH, [], [], PEAK, "float8")["mfu"] is None, "no peak at this precision"
    assert utilisation(STRETCH, [], [], None, "bfloat16")["mbu"] is None


def test_the_time_is_split_and_what_is_left_is_idle() -> None:
    assert time_split(STRETCH) == {"prefill": 4.0, "decode": 0.0, "recompute": 0.0, "idle": 6.0, "retries": 0.0}
    nothing = Stretch(0.0, 1.0, None, None)
    assert set(time_split(nothing).values()) == {None}
    assert set(counts(nothing).values()) == {None}


def test_readings_become_means_and_energy_is_per_token_of_what_was_answered() -> None:
    rows = [
        row(100.5, utilization=0.8, power=400.0, energy=1000.0, memory_used=5, throttle_reasons=frozenset()),
        row(105.5, utilization=1.0, power=600.0, energy=3500.0, memory_used=7, throttle_reasons=frozenset({"hot"})),
    ]
    found = utilisation(STRETCH, rows, [sample(80, 20), sample(5, 5, error="timeout")], PEAK, "bfloat16")
    assert (found["gpu"], found["power_watts"], found["memory_used_bytes"]) == (0.9, 500.0, 7.0)
    assert found["joules_per_token"] == pytest.approx(500 * 10 / 100)
    assert found["joules_per_output_token"] == pytest.approx(500 * 10 / 20)
    assert (found["throttled"], found["throttled_hot"]) == (0.5, 0.5)
    assert "sm" not in found


def test_the_power_of_several_cards_is_added_up() -> None:
    other = Device(label="cuda:1", card="H")
    rows = [row(time, device, power=100.0, energy=time * 100) for time in (101.0, 102.0) for device in (CARD, other)]
    found = utilisation(STRETCH, rows, [sample(1, 1)], PEAK, "bfloat16")
    assert found["power_watts"] == 200.0
    assert found["joules_per_token"] == pytest.approx(200 * 10 / 2)


def test_a_page_has_the_servers_own_samples_whatever_its_prefix() -> None:
    ours = page(1.0, 1, 1, 1)
    assert ours.total("python_gc_total") is None
    theirs = page(1.0, 1, 1, 1, prefix="vllm:")
    assert theirs.samples == ours.samples
    assert ours.total("engine_seconds_total") == 2.0
    assert ours.total("engine_seconds_total", phase="decode") == 1.0


def test_a_page_tells_of_the_servers_devices() -> None:
    ((device, reading),) = page(7.0, 1, 1, 1).readings()
    assert device == Device(label="cuda:0", card="H", uuid="GPU-1")
    assert (reading.time, reading.power, reading.utilization) == (7.0, 500.0, None)
    assert reading.activity == {"sm_active": 0.75}
    assert reading.throttle_reasons == {"sw_power_cap"}


def test_a_counter_that_began_anew_has_not_grown() -> None:
    before, after = page(0.0, 5, 1, 1), page(1.0, 3, 1, 1)
    assert grown(before, after, "estimated_flops_per_gpu_total") is None
    assert grown(before, after, "estimated_read_bytes_per_gpu_total") == 0.0
    assert grown(before, after, "no_such_total") is None
    assert grown(None, after, "estimated_flops_per_gpu_total") is None


def test_cards_stand_before_processors_in_a_timeline() -> None:
    timeline = Timeline(0.0, [row(1.0, CPU), row(1.0, CARD), row(3.0, CARD)])
    assert [one.device for one in timeline.between(0.0, 2.0)] == [CARD]
    assert timeline.devices() == [CARD]
    assert Timeline(0.0, [row(1.0, CPU)]).devices() == [CPU]
    line = row(1.5, CPU, utilization=0.5, throttle_reasons=frozenset({"thermal"})).describe(1.0)
    assert line == {"at": 0.5, "device": "cpu", "cpu": 0.5, "throttled": ["thermal"]}


def test_peaks_are_the_cards_together_and_the_command_lines_go_over_them() -> None:
    two = table_peak([CARD, Device(label="cuda:1", card=CARD.card)])
    assert two is not None
    assert (two.flops_at("bfloat16"), two.bandwidth) == (2 * 989.4e12, 2 * 3.35e12)
    assert table_peak([CARD, Device(label="cuda:1", card="Odd")]) is None
    assert table_peak([CPU]) is None
    given = with_given(two, "int8", 7.0, None)
    assert given is not None
    assert (given.flops_at("int8"), given.bandwidth) == (7.0, two.bandwidth)
    assert with_given(None, "int8", None, None) is None
