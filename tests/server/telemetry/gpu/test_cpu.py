"""The processors in the shape of a card."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pennyweight.server.telemetry.gpu.cpu import CpuMeter
from pennyweight.server.telemetry.gpu.rapl import RaplCounter

CPUINFO = "processor : 0\nmodel name\t: Fast 9000\ncpu MHz\t\t: 3000.0\n\nprocessor : 1\ncpu MHz\t\t: 2000.0\n"


def put(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.serial
def test_this_machine_tells_its_use_by_this_process() -> None:
    told: list[str] = []
    meter = CpuMeter(os.getpid(), told.append)
    ends = time.monotonic() + 0.3
    while time.monotonic() < ends:
        pass
    reading = meter.read()
    assert reading.utilization is not None
    # One busy thread; a machine that does other things as well may give it less.
    assert 0.2 / (os.cpu_count() or 1) < reading.utilization <= 1.1
    assert reading.memory_used is not None
    assert reading.memory_total is not None
    assert 1 << 20 < reading.memory_used < reading.memory_total
    assert meter.device.label == "cpu"
    assert reading.memory_utilization is reading.temperature is reading.memory_clock is None
    assert len(told) <= 1


def test_a_process_that_has_ended_is_no_failure() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        meter = CpuMeter(process.pid, pytest.fail)
        assert meter.read().memory_used
        process.kill()
    assert meter.read().memory_used is None


def test_clocks_and_names_are_the_systems(tmp_path: Path) -> None:
    put(tmp_path, {"proc/cpuinfo": CPUINFO})
    meter = CpuMeter(os.getpid(), pytest.fail, root=tmp_path)
    assert meter.device.card == "Fast 9000"
    assert meter.read().sm_clock == 2.5e9
    put(tmp_path, {f"sys/devices/system/cpu/cpu{n}/cpufreq/scaling_cur_freq": "4000000\n" for n in (0, 1)})
    assert meter.read().sm_clock == 4e9


def test_nothing_is_told_where_nothing_is_there(tmp_path: Path) -> None:
    reading = CpuMeter(os.getpid(), pytest.fail, root=tmp_path).read()
    assert reading.energy is reading.power is reading.sm_clock is reading.throttle_reasons is None


@pytest.mark.parametrize("cgroup", ["sys/fs/cgroup/cpu.stat", "sys/fs/cgroup/cpu/cpu.stat"])
def test_throttling_is_told_while_its_counts_rise(tmp_path: Path, cgroup: str) -> None:
    thermal = "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"
    put(tmp_path, {cgroup: "nr_periods 5\nnr_throttled 2\n", thermal: "7\n"})
    meter = CpuMeter(os.getpid(), pytest.fail, root=tmp_path)
    assert meter.read().throttle_reasons == frozenset()
    put(tmp_path, {cgroup: "nr_periods 9\nnr_throttled 3\n"})
    assert meter.read().throttle_reasons == {"cpu_quota"}
    put(tmp_path, {thermal: "8\n"})
    assert meter.read().throttle_reasons == {"thermal"}
    assert meter.read().throttle_reasons == frozenset()


def test_energy_is_the_packages_sum_over_their_wrapping_counters(tmp_path: Path) -> None:
    def packages(first: int, second: int) -> None:
        for name, energy in (("intel-rapl:0", first), ("intel-rapl:1", second), ("intel-rapl:0:0", 5)):
            put(tmp_path, {f"{name}/energy_uj": str(energy), f"{name}/max_energy_range_uj": "9999999"})

    packages(1_000_000, 9_000_000)
    counter = RaplCounter(tmp_path, pytest.fail)
    assert counter.joules() == 0.0
    packages(3_000_000, 1_000_000)  # the second one began again
    assert counter.joules() == pytest.approx(2.0 + 2.0)
    (tmp_path / "intel-rapl:1" / "energy_uj").unlink()
    assert counter.joules() is None


def test_energy_that_may_not_be_read_is_told_once(tmp_path: Path) -> None:
    put(tmp_path, {"intel-rapl:0/energy_uj": "", "intel-rapl:0/max_energy_range_uj": "9"})
    told: list[str] = []
    counter = RaplCounter(tmp_path, told.append)
    assert counter.joules() is counter.joules() is None
    assert len(told) == 1


def test_power_is_the_energy_over_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = "sys/class/powercap/intel-rapl:0"
    put(tmp_path, {f"{package}/energy_uj": "0", f"{package}/max_energy_range_uj": "99999999"})
    meter = CpuMeter(os.getpid(), pytest.fail, root=tmp_path)
    before = meter.read()
    put(tmp_path, {f"{package}/energy_uj": "5000000"})
    after = meter.read()
    assert after.energy == 5.0
    assert after.power == pytest.approx(5.0 / (after.time - before.time))
