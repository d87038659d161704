"""Devices read in a thread: what is lost or fails takes nothing else with it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from pennyweight.server.telemetry.gpu.meter import Device, DeviceLost, DeviceMeter, Reading
from pennyweight.server.telemetry.gpu.sampler import DeviceSampler, DeviceState
from pennyweight.server.telemetry.gpu.window import RateWindow

READING = Reading(time=0.0, power=5.0)


class ScriptedMeter:
    """Gives readings in turn, the last one for ever; an error among them is raised."""

    def __init__(self, label: str, *script: Reading | Exception) -> None:
        self.device = Device(label=label, card="card")
        self.script = list(script)
        self.closed = 0

    def read(self) -> Reading:
        now = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(now, Exception):
            raise now
        return now

    def close(self) -> None:
        self.closed += 1


def after_rounds(rounds: int, told: list[str], meters: Callable[[], Sequence[DeviceMeter]]) -> tuple[DeviceState, ...]:
    """The states after so many rounds, or more."""
    seen, enough = 0, threading.Event()

    def note(time: float, states: Sequence[DeviceState]) -> None:
        nonlocal seen
        seen += 1
        if seen >= rounds:
            enough.set()

    with DeviceSampler(meters, 0.001, told.append, on_sample=note) as sampler:
        assert enough.wait(10)
    return sampler.states


def test_a_lost_device_is_told_once_and_the_rest_goes_on() -> None:
    told: list[str] = []
    lost, fine = ScriptedMeter("a", READING, DeviceLost("a: gone")), ScriptedMeter("b", READING)
    states = after_rounds(5, told, lambda: [lost, fine])
    assert [(state.is_lost, state.reading) for state in states] == [(True, None), (False, READING)]
    assert told == ["lost a: gone"]
    assert (lost.closed, fine.closed) == (1, 1)


def test_a_fault_is_told_once_and_the_device_asked_again() -> None:
    told: list[str] = []
    faults = [RuntimeError("odd")] * 3
    (state,) = after_rounds(6, told, lambda: [ScriptedMeter("a", *faults, READING)])
    assert state.reading == READING
    assert told == ["telemetry failed: RuntimeError('odd')"]


def test_meters_that_can_not_be_opened_leave_none() -> None:
    told: list[str] = []

    def fail() -> list[DeviceMeter]:
        raise OSError("no /proc")

    assert after_rounds(2, told, fail) == ()
    assert told == ["telemetry failed: OSError('no /proc')"]


def test_throttling_is_added_up_between_readings() -> None:
    hot = frozenset({"thermal"})
    readings = [
        Reading(time=float(second), throttle_reasons=hot if second in (2, 3) else frozenset()) for second in range(6)
    ]
    (state,) = after_rounds(6, [], lambda: [ScriptedMeter("a", *readings)])
    assert state.throttled_seconds == {"thermal": 2.0}


def test_rates_are_those_of_the_window_and_begin_again_with_the_counters() -> None:
    window = RateWindow(10.0)
    assert window.rates() == {}
    for second in range(0, 30, 5):
        window.add(float(second), {"tokens": second * (4.0 if second > 10 else 1.0)})
    assert window.rates() == {"tokens": (100 - 60) / 10}
    window.add(31.0, {"tokens": 3.0})
    assert window.rates() == {}
    window.add(33.0, {"tokens": 7.0})
    assert window.rates() == {"tokens": 2.0}
