"""A server's /metrics, read now and again: Pennyweight's, or vLLM's, whose names are the same under another prefix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urljoin

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from pennyweight.server.telemetry.gpu.device_metrics import GAUGES
from pennyweight.server.telemetry.gpu.meter import Device, Reading

PREFIXES = ("pennyweight:", "vllm:")
SECONDS = 10
PROF = "device_prof_"

Labels = Mapping[str, str]


@dataclass(frozen=True)
class MetricsPage:
    """Samples by name without the server's prefix. ``time`` is when they were asked for, on time.monotonic()'s clock."""

    time: float
    samples: Mapping[str, tuple[tuple[Labels, float], ...]]

    def total(self, name: str, **labels: str) -> float | None:
        """The sum of the samples that have these labels; None where there are none."""
        found = [value for has, value in self.samples.get(name, ()) if labels.items() <= has.items()]
        return sum(found) if found else None

    def label(self, name: str, label: str) -> str | None:
        """A label of the first of the samples."""
        return next((has.get(label) for has, _ in self.samples.get(name, ())), None)

    def readings(self) -> list[tuple[Device, Reading]]:
        """What the server tells of its devices."""
        found = []
        for labels, _ in self.samples.get("device_up", ()):
            of = {"device": labels["device"]}
            values = {field: self.total(f"device_{name}", **of) for name, (field, _) in GAUGES.items()}
            activity = {
                name.removeprefix(PROF): share
                for name in self.samples
                if name.startswith(PROF) and (share := self.total(name, **of)) is not None
            }
            reasons = [
                has["reason"] for has, _ in self.samples.get("device_throttled", ()) if has["device"] == of["device"]
            ]
            reading = Reading(
                time=self.time,
                energy=self.total("device_energy_consumption_joules_total", **of),
                throttle_reasons=frozenset(reasons),
                activity=activity,
                **values,  # type: ignore[arg-type]
            )
            found.append((Device(label=labels["device"], card=labels["card"], uuid=labels["uuid"] or None), reading))
        return found


def parse_page(text: str, time: float) -> MetricsPage:
    """The samples with one of PREFIXES. Raises ValueError for what is no exposition."""
    samples: dict[str, list[tuple[Labels, float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            prefix = next((one for one in PREFIXES if sample.name.startswith(one)), None)
            if prefix is not None:
                samples.setdefault(sample.name.removeprefix(prefix), []).append((sample.labels, sample.value))
    return MetricsPage(time, {name: tuple(found) for name, found in samples.items()})


async def read_page(url: str, time: float) -> MetricsPage | None:
    """The server's page; None where it has none."""
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(urljoin(url + "/", "metrics")) as answer,
        ):
            return parse_page(await answer.text(), time) if answer.status == 200 else None
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None


def grown(before: MetricsPage | None, after: MetricsPage | None, name: str, **labels: str) -> float | None:
    """By how much a counter has grown; None where it isn't there, or began anew in between."""
    if before is None or after is None or (end := after.total(name, **labels)) is None:
        return None
    growth = end - (before.total(name, **labels) or 0.0)
    return growth if growth >= 0 else None
