"""The telemetry as Prometheus reads it."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
import pytest
from fakes.fake_nvml import H100, FakeCard, FakeNvml
from fakes.scripted_engine import ScriptedEngine
from fakes.server_process import server_process
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from pennyweight.server.config import TelemetrySettings
from pennyweight.server.engines.base import Capabilities, EngineStats, EngineWork
from pennyweight.server.telemetry.gpu.device_metrics import DeviceCollector
from pennyweight.server.telemetry.gpu.meter import Device, Reading
from pennyweight.server.telemetry.gpu.peaks import card_peak
from pennyweight.server.telemetry.gpu.sampler import DeviceState
from pennyweight.server.telemetry.gpu.telemetry import device_telemetry, peak_of
from pennyweight.server.telemetry.gpu.work_metrics import WorkCollector

WORK = EngineWork(flops=6e12, read_bytes=3e9, write_bytes=1e9, prefill_seconds=2.0, decode_tokens=7, mixed_steps=3)
Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass
class WorkingEngine(ScriptedEngine):
    now: EngineStats = field(default_factory=EngineStats)
    details: dict[str, str] = field(default_factory=dict)

    def stats(self) -> EngineStats:
        return self.now

    def capabilities(self) -> Capabilities:
        known = ScriptedEngine.capabilities(self)
        return Capabilities(
            **{
                name: getattr(known, name)
                for name in ("model", "engine", "fingerprint", "max_model_len", "vocab_size", "tool_format")
            },
            details=self.details,
        )


def samples(registry: CollectorRegistry) -> Samples:
    return {
        (sample.name.removeprefix("pennyweight:"), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float | None:
    return next(
        (number for (one, has), number in found.items() if one == name and labels.items() <= dict(has).items()), None
    )


def test_what_a_device_can_not_tell_has_no_sample() -> None:
    registry = CollectorRegistry()
    states = (
        DeviceState(Device(label="cuda:0", card="C"), Reading(time=0.0, utilization=0.0, activity={"sm_active": 0.5})),
        DeviceState(Device(label="cuda:1", card="C"), None, is_lost=True),
    )
    registry.register(DeviceCollector(lambda: states))
    found = samples(registry)
    assert {name for name, _ in found} == {"device_up", "device_util", "device_prof_sm_active"}
    assert value(found, "device_util", device="cuda:0") == 0.0, "known to be 0"
    assert (value(found, "device_up", device="cuda:0"), value(found, "device_up", device="cuda:1")) == (1.0, 0.0)


def test_counters_go_on_when_an_engine_starts_again() -> None:
    engine = WorkingEngine(now=EngineStats(work=WORK))
    registry = CollectorRegistry()
    registry.register(WorkCollector({"m": engine}, lambda: (0.0, 0.0), lambda _: (None, None), None))
    assert value(samples(registry), "estimated_flops_per_gpu_total", model_name="m") == 6e12
    engine.now = EngineStats()
    assert value(samples(registry), "estimated_flops_per_gpu_total", model_name="m") == 6e12, "not loaded"
    engine.now = EngineStats(work=EngineWork(flops=1e12))
    found = samples(registry)
    assert value(found, "estimated_flops_per_gpu_total", model_name="m") == 7e12
    assert value(found, "engine_seconds_total", phase="prefill") == 2.0
    assert value(found, "engine_tokens_total", phase="decode") == 7
    assert value(found, "engine_steps_total", kind="mixed") == 3


def test_an_engine_that_can_not_tell_has_no_samples() -> None:
    registry = CollectorRegistry()
    collector = WorkCollector({"m": ScriptedEngine()}, lambda: (0.0, 0.0), lambda _: (1.0, 1.0), None)
    registry.register(collector)
    collector.look(0.0)
    collector.look(1.0)
    assert {name for name, _ in samples(registry)} == {
        "model_info",
        "prompt_tokens_per_second",
        "generation_tokens_per_second",
    }


def test_shares_of_the_peak_and_the_price_are_of_the_window() -> None:
    engine, tokens = WorkingEngine(now=EngineStats(work=WORK)), [0.0, 0.0]
    registry = CollectorRegistry()
    collector = WorkCollector({"m": engine}, lambda: (tokens[0], tokens[1]), lambda _: (1e12, 1e9), 3.6)
    registry.register(collector)
    collector.look(0.0)
    engine.now = EngineStats(work=msgspec.structs.replace(WORK, flops=10e12, read_bytes=4e9, write_bytes=2e9))
    tokens[:] = [600.0, 400.0]
    collector.look(10.0)
    found = samples(registry)
    assert value(found, "mfu", model_name="m") == pytest.approx(0.4)
    assert value(found, "mbu", model_name="m") == pytest.approx(0.2)
    assert (value(found, "prompt_tokens_per_second"), value(found, "generation_tokens_per_second")) == (60.0, 40.0)
    assert value(found, "dollars_per_million_tokens") == pytest.approx(3.6 / 3600 / 100 * 1e6)


@pytest.mark.parametrize(
    ("device", "dtype", "settings", "found"),
    [
        ("cuda:0", "bfloat16", {}, (989.4e12, 3.35e12)),
        ("cuda", "int8", {}, (1978.9e12, 3.35e12)),
        ("cuda:1", "bfloat16", {}, (None, None)),
        ("cpu", "bfloat16", {}, (None, None)),
        ("cpu", "bfloat16", {"peak_flops": 1e12, "peak_bandwidth": 4e10}, (1e12, 4e10)),
        ("cuda:0", "bfloat16", {"peak_flops": 5e14}, (5e14, 3.35e12)),
    ],
)
def test_the_peak_is_the_cards_at_the_engines_precision_unless_it_is_set(
    device: str, dtype: str, settings: dict[str, float], found: tuple[float | None, float | None]
) -> None:
    devices = [Device(label="cuda:0", card=H100), Device(label="cuda:1", card="Odd"), Device(label="cpu", card="x")]
    engine = WorkingEngine(details={"device": device, "dtype": dtype})
    assert peak_of(TelemetrySettings(**settings), devices, engine) == found


def test_cards_are_found_by_what_nvml_calls_them() -> None:
    for name, bandwidth in {
        "NVIDIA H100 PCIe": 2.0,
        H100: 3.35,
        "NVIDIA L40S": 0.864,
        "NVIDIA L4": 0.3,
        "NVIDIA L40": 0.864,
        "NVIDIA A10G": 0.6,
        "NVIDIA A100-SXM4-40GB": 1.555,
    }.items():
        peak = card_peak(name)
        assert peak is not None
        assert peak.bandwidth == pytest.approx(bandwidth * 1e12)
    h100_nvl, plain = card_peak("NVIDIA H100 NVL"), card_peak(H100)
    assert h100_nvl is not None
    assert plain is not None
    assert h100_nvl.flops_at("bfloat16") != plain.flops_at("bfloat16")
    assert plain.flops_at("fp8") == plain.flops_at("float8_e4m3fn") == 1978.9e12
    assert card_peak("NVIDIA GeForce GTX 1080") is None


def test_a_card_that_gets_lost_leaves_the_server_its_other_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml, told = FakeNvml(FakeCard()), []
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    registry = CollectorRegistry()

    def until(name: str, wanted: float, **labels: str) -> Samples:
        ends = time.monotonic() + 10
        while value(found := samples(registry), name, **labels) != wanted:
            assert time.monotonic() < ends, found
            time.sleep(0.01)
        return found

    with device_telemetry(TelemetrySettings(interval=0.01), {}, lambda: (0.0, 0.0), registry, told.append):
        found = until("device_up", 1.0, device="cpu")
        assert value(found, "device_power_usage_watts", device="cuda:0", card=H100, uuid="GPU-5f2c") == 512.0
        nvml.cards[0].failure = nvml.NVML_ERROR_GPU_IS_LOST
        found = until("device_up", 0.0, device="cuda:0")
        assert value(found, "device_power_usage_watts", device="cuda:0") is None
        assert value(found, "device_fb_used_bytes", device="cpu")
    assert told == [f"lost cuda:0 ({H100}): GPU is lost"]
    assert nvml.holders == 0


@pytest.mark.slow
async def test_a_real_server_tells_of_its_processors_and_its_work() -> None:
    telemetry = {"interval": 0.1, "dollars_per_hour": 3.6, "peak_flops": 1e12, "peak_bandwidth": 4e10}
    async with server_process(telemetry=telemetry) as server:
        body = {"model": "smollm2-135m-instruct", "prompt": "The sea", "max_tokens": 40, "ignore_eos": True}
        async with server.client.post("/v1/completions", json=body) as answer:
            prompt = (await answer.json())["usage"]["prompt_tokens"]
        assert await server.metric("engine_tokens_total", phase="prefill") == prompt
        assert await server.metric("engine_tokens_total", phase="decode") == 39
        # 134.5 million weights, 2 for each, and a little for attention.
        flops = await server.metric("estimated_flops_per_gpu_total")
        assert 2 * 134.5e6 * 40 < flops < 2.2 * 134.5e6 * 45
        assert await server.metric("estimated_read_bytes_per_gpu_total") > 39 * 2 * 134.5e6
        assert await server.metric("engine_seconds_total", phase="decode") > 0
        assert await server.metric("engine_seconds_total", phase="idle") > 0
        assert await server.metric("device_up", device="cpu") == 1
        async with asyncio.timeout(20):  # the engine's process is found a little later
            while await server.metric("device_fb_used_bytes", device="cpu") < 300e6:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert 0 < await server.metric("mfu") < 1
        assert 0 < await server.metric("mbu") < 1
        assert await server.metric("dollars_per_million_tokens") > 0
