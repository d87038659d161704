"""The meter of NVIDIA cards, on a fake of the installed binding."""

from __future__ import annotations

import inspect
import sys

import pytest
from fakes.fake_nvml import H100, FakeCard, FakeNvml

from pennyweight.server.telemetry.gpu import gpm
from pennyweight.server.telemetry.gpu.meter import Device, DeviceLost
from pennyweight.server.telemetry.gpu.nvml import NvmlMeter, open_cards

pynvml = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture(autouse=True)
def quick_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpm, "LEAST_SECONDS", 0.0)


def open_fake(
    monkeypatch: pytest.MonkeyPatch, nvml: FakeNvml, told: list[str], visible: str | None = None
) -> list[NvmlMeter]:
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    return open_cards(told.append, visible)


@pytest.mark.parametrize("name", [name for name in vars(FakeNvml) if name.startswith("answer_")])
def test_the_fake_has_the_bindings_signatures(name: str) -> None:
    ours = list(inspect.signature(getattr(FakeNvml, name)).parameters.values())[1:]
    real = list(inspect.signature(getattr(pynvml, name.removeprefix("answer_"))).parameters.values())
    assert [(one.name, one.default) for one in ours] == [(one.name, one.default) for one in real]


def test_the_fake_has_nothing_that_the_binding_lacks() -> None:
    fake = FakeNvml(FakeCard())
    with pytest.raises(AttributeError):
        fake.nvmlDeviceGetMood(fake.cards[0])
    with pytest.raises(TypeError):
        fake.nvmlDeviceGetName()


def test_a_card_tells_everything_in_base_units(monkeypatch: pytest.MonkeyPatch, told: list[str]) -> None:
    (meter,) = open_fake(monkeypatch, FakeNvml(FakeCard()), told)
    reading = meter.read()
    assert meter.device == Device(label="cuda:0", card=H100, uuid="GPU-5f2c")
    assert (reading.utilization, reading.memory_utilization) == (0.93, 0.41)
    assert (reading.memory_used, reading.memory_total) == (60 << 30, 80 << 30)
    assert (reading.power, reading.power_limit, reading.energy) == (512.0, 700.0, 9000.0)
    assert (reading.sm_clock, reading.memory_clock, reading.temperature) == (1755e6, 2619e6, 61)
    assert reading.throttle_reasons == frozenset()
    assert reading.activity == {
        "sm_active": 0.88,
        "sm_occupancy": 0.22,
        "pipe_tensor_active": 0.375,
        "dram_active": 0.64,
    }
    assert told == []


def test_reasons_that_slow_the_card_are_named_and_idleness_is_none(
    monkeypatch: pytest.MonkeyPatch, told: list[str]
) -> None:
    card = FakeCard(
        reasons=pynvml.nvmlClocksEventReasonSwPowerCap
        | pynvml.nvmlClocksEventReasonHwThermalSlowdown
        | pynvml.nvmlClocksEventReasonGpuIdle
        | pynvml.nvmlClocksEventReasonApplicationsClocksSetting
    )
    (meter,) = open_fake(monkeypatch, FakeNvml(card), told)
    assert meter.read().throttle_reasons == {"sw_power_cap", "hw_thermal_slowdown"}
    card.failures["nvmlDeviceGetCurrentClocksEventReasons"] = pynvml.NVML_ERROR_FUNCTION_NOT_FOUND
    assert meter.read().throttle_reasons == {"sw_power_cap", "hw_thermal_slowdown"}, "an older driver's name of it"
    assert told == []


def test_what_a_card_has_not_is_told_once_and_left_out(monkeypatch: pytest.MonkeyPatch, told: list[str]) -> None:
    card = FakeCard(
        has_gpm=False,
        failures={
            "nvmlDeviceGetPowerUsage": pynvml.NVML_ERROR_NOT_SUPPORTED,
            "nvmlDeviceGetUtilizationRates": pynvml.NVML_ERROR_NO_PERMISSION,
            "nvmlDeviceGetTemperature": pynvml.NVML_ERROR_UNKNOWN,
        },
    )
    (meter,) = open_fake(monkeypatch, FakeNvml(card), told)
    for _ in range(3):
        reading = meter.read()
        assert reading.power is reading.utilization is reading.memory_utilization is reading.temperature is None
        assert reading.activity == {}
        assert reading.energy == 9000.0
        assert reading.sm_clock == 1755e6
    assert sorted(line.partition("does not tell its ")[2] for line in told) == [
        "activity: Not Supported",
        "power: Not Supported",
        "temperature: Unknown Error",
        "utilization: Insufficient Permissions",
    ]


def test_counters_that_may_not_be_read_leave_the_rest(monkeypatch: pytest.MonkeyPatch, told: list[str]) -> None:
    nvml = FakeNvml(FakeCard(failures={"nvmlGpmSampleGet": pynvml.NVML_ERROR_NO_PERMISSION}))
    (meter,) = open_fake(monkeypatch, nvml, told)
    assert meter.read().activity == {}
    assert meter.read().power == 512.0
    assert nvml.samples == 0, "the samples were freed"
    assert told == [f"cuda:0 ({H100}) does not tell its activity: Insufficient Permissions"]


def test_a_busy_driver_is_asked_again(monkeypatch: pytest.MonkeyPatch, told: list[str]) -> None:
    card = FakeCard(failures={"nvmlDeviceGetPowerUsage": pynvml.NVML_ERROR_TIMEOUT})
    (meter,) = open_fake(monkeypatch, FakeNvml(card), told)
    assert meter.read().power is None
    card.failures.clear()
    assert meter.read().power == 512.0
    assert told == []


def test_a_card_that_counts_no_energy_has_its_powers_integral(monkeypatch: pytest.MonkeyPatch, told: list[str]) -> None:
    card = FakeCard(failures={"nvmlDeviceGetTotalEnergyConsumption": pynvml.NVML_ERROR_NOT_SUPPORTED})
    (meter,) = open_fake(monkeypatch, FakeNvml(card), told)
    first, second = meter.read(), meter.read()
    assert first.energy == 0.0
    assert second.energy == pytest.approx(512.0 * (second.time - first.time))


@pytest.mark.parametrize("error", ["NVML_ERROR_GPU_IS_LOST", "NVML_ERROR_RESET_REQUIRED"])
def test_a_lost_card_says_so(monkeypatch: pytest.MonkeyPatch, told: list[str], error: str) -> None:
    nvml = FakeNvml(FakeCard())
    (meter,) = open_fake(monkeypatch, nvml, told)
    nvml.cards[0].failure = getattr(pynvml, error)
    with pytest.raises(DeviceLost, match="cuda:0"):
        meter.read()
    meter.close()
    meter.close()
    assert (nvml.holders, nvml.samples) == (0, 0)


def test_a_card_lost_before_the_start_hides_no_other(monkeypatch: pytest.MonkeyPatch, told: list[str]) -> None:
    nvml = FakeNvml(FakeCard(failure=pynvml.NVML_ERROR_GPU_IS_LOST), FakeCard(uuid="GPU-9"))
    assert [meter.device.uuid for meter in open_fake(monkeypatch, nvml, told)] == ["GPU-9"]
    assert told == ["no telemetry of NVIDIA card 0: GPU is lost"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("NVML_ERROR_LIBRARY_NOT_FOUND", []),
        ("NVML_ERROR_DRIVER_NOT_LOADED", []),
        ("NVML_ERROR_LIB_RM_VERSION_MISMATCH", ["no telemetry of NVIDIA cards: RM has detected an NVML/RM version mismatch."]),
        ("NVML_ERROR_NO_PERMISSION", ["no telemetry of NVIDIA cards: Insufficient Permissions"]),
    ],
)  # fmt: skip
def test_without_a_driver_there_are_no_cards(
    monkeypatch: pytest.MonkeyPatch, told: list[str], error: str, said: list[str]
) -> None:
    assert open_fake(monkeypatch, FakeNvml(FakeCard(), failures={"nvmlInit": getattr(pynvml, error)}), told) == []
    assert told == said, "a machine without cards is no surprise"


def test_without_the_binding_there_are_no_cards(monkeypatch: pytest.MonkeyPatch, told: list[str]) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert open_cards(told.append, None) == []


def test_the_real_binding_finds_no_driver_or_cards_here(told: list[str]) -> None:
    for meter in open_cards(told.append, None):
        meter.read()
        meter.close()


@pytest.mark.parametrize(
    ("visible", "found"),
    [
        (None, ["GPU-aa", "GPU-ab", "GPU-c"]),
        ("", []),
        ("-1", []),
        ("2,0", ["GPU-c", "GPU-aa"]),
        ("1,7,0", ["GPU-ab"]),
        ("GPU-c, GPU-aa", ["GPU-c", "GPU-aa"]),
        ("GPU-a", []),
    ],
)
def test_cards_are_those_that_cuda_shows(
    monkeypatch: pytest.MonkeyPatch, told: list[str], visible: str | None, found: list[str]
) -> None:
    nvml = FakeNvml(*(FakeCard(uuid=uuid) for uuid in ("GPU-aa", "GPU-ab", "GPU-c")))
    meters = open_fake(monkeypatch, nvml, told, visible)
    assert [meter.device.uuid for meter in meters] == found
    assert [meter.device.label for meter in meters] == [f"cuda:{place}" for place in range(len(found))]
    assert nvml.holders == len(found)
