"""The engines' work as metrics: FLOPs, bytes and seconds as counters; MFU, MBU, tokens/s and $/M tokens of the last minute.

The first three have vLLM's names (its ``--enable-mfu-metrics``) under our prefix. An engine that can't tell has no samples.
MFU is the FLOP/s that a model needed over the device's peak at the precision served (PaLM, arXiv:2204.02311, appendix B), MBU
the bytes/s that it had to move over the peak bandwidth; idle time counts against both. $/M tokens are what the machine costs an
hour over all tokens of all models in an hour, prompts and answers alike, at the rate of the window.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pennyweight.server.engines.base import Engine, EngineWork
from pennyweight.server.errors import PennyweightError

from .window import RateWindow

PREFIX = "pennyweight:"
WINDOW_SECONDS = 60.0
FIELDS = EngineWork.__struct_fields__
TOTALS = {
    "flops": ("estimated_flops_per_gpu", "Floating-point operations of the model, without those done a second time."),
    "read_bytes": ("estimated_read_bytes_per_gpu", "Bytes read from the device's memory: weights and KV cache."),
    "write_bytes": ("estimated_write_bytes_per_gpu", "Bytes written to the device's memory: KV cache."),
}
PHASES = {"prefill_seconds": "prefill", "decode_seconds": "decode", "recompute_seconds": "recompute", "idle_seconds": "idle"}  # fmt: skip
TOKENS = {"prefill_tokens": "prefill", "decode_tokens": "decode", "recomputed_tokens": "recompute"}
STEPS = {"prefill_steps": "prefill", "decode_steps": "decode", "mixed_steps": "mixed"}
INFO = ("engine", "dtype", "device")
RATES = {"prompt": "prompt_tokens_per_second", "generation": "generation_tokens_per_second"}
# The peak at which an engine computes, and the answered tokens (prompt, generation) so far.
PeakOf = Callable[[Engine], "tuple[float | None, float | None]"]
Tokens = Callable[[], tuple[float, float]]


class WorkCollector(Collector):
    """``look`` every now and then, from one thread; collected from any. ``peak_of`` gives FLOP/s and bytes/s, None if not known.

    An engine's counters start from 0 again with its process; what they had reached at the last look is added to what follows.
    """

    def __init__(
        self,
        engines: Mapping[str, Engine],
        tokens: Tokens,
        peak_of: PeakOf,
        dollars_per_hour: float | None,
        *,
        window: float = WINDOW_SECONDS,
    ) -> None:
        self._engines = engines
        self._tokens = tokens
        self._peak_of = peak_of
        self._dollars_per_hour = dollars_per_hour
        self._lock = threading.Lock()
        self._last: dict[str, tuple[float, ...]] = {}
        self._before: dict[str, tuple[float, ...]] = {}
        self._windows = {name: RateWindow(window) for name in engines}
        self._token_window = RateWindow(window)

    def look(self, now: float) -> None:
        """Note what there is at ``now`` (seconds) for the rates."""
        with self._lock:
            for name, total in self._totals().items():
                moved = total["read_bytes"] + total["write_bytes"]
                self._windows[name].add(now, {"flops": total["flops"], "bytes": moved})
            prompt, generation = self._tokens()
            self._token_window.add(now, {"prompt": prompt, "generation": generation})

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            totals = self._totals()
            yield from self._models()
            yield from self._counters(totals)
            yield from self._rates()

    def _models(self) -> Iterator[Metric]:
        info = _gauge("model_info", "Always 1: how a loaded model runs.", "model_name", *INFO)
        for name, engine in self._engines.items():
            with contextlib.suppress(PennyweightError):
                known = engine.capabilities()
                info.add_metric([name, known.engine, *(known.details.get(label, "") for label in INFO[1:])], 1.0)
        if info.samples:
            yield info

    def _counters(self, totals: Mapping[str, Mapping[str, float]]) -> Iterator[Metric]:
        plain = {field: _counter(name, help_text) for field, (name, help_text) in TOTALS.items()}
        seconds = _counter("engine_seconds", "The engine's time, by what it was for.", "phase")
        tokens = _counter("engine_tokens", "Tokens computed, by what for.", "phase")
        steps = _counter("engine_steps", "Steps, by what they held.", "kind")
        for name, total in totals.items():
            for field, family in plain.items():
                family.add_metric([name], total[field])
            for family, fields in ((seconds, PHASES), (tokens, TOKENS), (steps, STEPS)):
                for field, label in fields.items():
                    family.add_metric([name, label], total[field])
        yield from (family for family in (*plain.values(), seconds, tokens, steps) if family.samples)

    def _rates(self) -> Iterator[Metric]:
        mfu = _gauge("mfu", "Model FLOPs utilisation over the last minute.", "model_name")
        mbu = _gauge("mbu", "Model bandwidth utilisation over the last minute.", "model_name")
        for name, window in self._windows.items():
            if not (rates := window.rates()):
                continue
            flops, bandwidth = self._peak_of(self._engines[name])
            if flops:
                mfu.add_metric([name], rates["flops"] / flops)
            if bandwidth:
                mbu.add_metric([name], rates["bytes"] / bandwidth)
        yield from (family for family in (mfu, mbu) if family.samples)
        rates = self._token_window.rates()
        for kind, name in RATES.items():
            if kind in rates:
                family = _gauge(name, f"Tokens/s of {kind} over the last minute.")
                family.add_metric([], rates[kind])
                yield family
        total = sum(rates.values())
        if self._dollars_per_hour is not None and total > 0:
            price = _gauge("dollars_per_million_tokens", "What a million tokens cost over the last minute.")
            price.add_metric([], self._dollars_per_hour / 3600 / total * 1e6)
            yield price

    def _totals(self) -> dict[str, dict[str, float]]:
        found = {}
        for name, engine in self._engines.items():
            work = engine.stats().work
            last = self._last.get(name)
            if work is not None:
                now = tuple(map(float, msgspec.structs.astuple(work)))
                before = self._before.setdefault(name, (0.0,) * len(FIELDS))
                if last is not None and any(new < old for new, old in zip(now, last, strict=True)):
                    self._before[name] = tuple(map(sum, zip(before, last, strict=True)))
                self._last[name] = last = now
            if last is not None:  # while a model is not loaded, its counters stand still
                summed = map(sum, zip(self._before[name], last, strict=True))
                found[name] = dict(zip(FIELDS, summed, strict=True))
        return found


def _counter(name: str, help_text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(PREFIX + name, help_text, labels=["model_name", *labels])


def _gauge(name: str, help_text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, help_text, labels=labels)
