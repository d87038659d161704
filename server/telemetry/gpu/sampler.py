"""Reads the devices now and then, in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from .meter import Device, DeviceLost, DeviceMeter, Reading, Tell

# A driver that hangs must not keep the process from ending.
END_SECONDS = 2.0


@dataclass(slots=True)
class DeviceState:
    """A device's last reading (None before the first), and seconds for which each throttle reason was seen."""

    device: Device
    reading: Reading | None = None
    is_lost: bool = False
    throttled_seconds: dict[str, float] = field(default_factory=dict)


class DeviceSampler:
    """A context manager that opens the meters, reads each every ``interval`` seconds and closes them, all in its thread.

    For opening a driver may take seconds, which nobody should wait for; ``states`` is empty until then. ``on_sample`` is called
    in the thread after each round with the time and all states, which are changed in place by the next. A device that is lost
    is not asked again. Whatever else goes wrong is told once, and the rest goes on.
    """

    def __init__(
        self,
        open_meters: Callable[[], Sequence[DeviceMeter]],
        interval: float,
        tell: Tell,
        *,
        on_sample: Callable[[float, Sequence[DeviceState]], None] = lambda time, states: None,
    ) -> None:
        self._open_meters = open_meters
        self._interval = interval
        self._tell = tell
        self._told: set[str] = set()
        self._on_sample = on_sample
        self._meters: dict[int, DeviceMeter] = {}
        self.states: tuple[DeviceState, ...] = ()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="device-sampler", daemon=True)

    def __enter__(self) -> DeviceSampler:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(END_SECONDS)

    def _run(self) -> None:
        self._guarded(self._open)
        while True:
            for index in list(self._meters):
                self._guarded(self._read, index)
            self._guarded(self._on_sample, time.monotonic(), self.states)
            if self._stop.wait(self._interval):
                break
        for meter in self._meters.values():
            self._guarded(meter.close)

    def _open(self) -> None:
        self._meters = dict(enumerate(self._open_meters()))
        self.states = tuple(DeviceState(meter.device) for meter in self._meters.values())

    def _read(self, index: int) -> None:
        state, meter = self.states[index], self._meters[index]
        try:
            reading = meter.read()
        except DeviceLost as error:
            state.is_lost, state.reading = True, None
            del self._meters[index]
            self._tell(f"lost {error}")
            meter.close()
            return
        if state.reading is not None:
            for reason in reading.throttle_reasons or ():
                seconds = state.throttled_seconds.get(reason, 0.0) + reading.time - state.reading.time
                state.throttled_seconds[reason] = seconds
        state.reading = reading

    def _guarded(self, act: Callable[..., None], *arguments: object) -> None:
        try:
            act(*arguments)
        except Exception as error:
            # Telemetry must not take anything down, and a fault that repeats every second must not fill the log.
            told = f"telemetry failed: {error!r}"
            if told not in self._told:
                self._told.add(told)
                self._tell(told)
