"""What a sweep measured: which model, quantised how, on what device, within which limits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pennyweight.server.errors import ConfigError

from .device import STEP_TOKENS, Device, read_devices
from .memory import plan_memory
from .model_shape import ModelShape, read_model_shape
from .outcome import Outcome
from .quantisation import Quantisation, choose_quantisations
from .simulation import EngineLimits
from .step_model import StepParameters, make_step_model
from .sweep import Point


@dataclass(frozen=True)
class Served:
    """One replica of an engine that was measured."""

    shape: ModelShape
    quantisation: Quantisation
    device: Device
    limits: EngineLimits
    tp: int = 1

    def outcome(self, point: Point, parameters: StepParameters) -> Outcome:
        """What a load's requests meet with by the model."""
        model = make_step_model(self.shape, self.quantisation, self.device, parameters, self.tp)
        return point.simulated(model, self.limits)


def describe_served(
    model: Path,
    device: str,
    devices: Path | None,
    quantisation: str,
    *,
    tp: int,
    max_num_seqs: int,
    max_num_batched_tokens: int | None,
    kv_tokens: int | None,
    longest: int,
) -> Served:
    """From what the command line says. Without ``kv_tokens`` the cache is as large as the memory plan says. Raises ConfigError."""
    shape = read_model_shape(model)
    book = read_devices(devices)
    if device not in book:
        raise ConfigError(f"no device is called {device!r}; the device book has {', '.join(book)}")
    (chosen,) = choose_quantisations([quantisation], {})
    step_tokens = max(max_num_batched_tokens or STEP_TOKENS[book[device].kind], max_num_seqs)
    if kv_tokens is None:
        kv_tokens = plan_memory(
            shape,
            chosen,
            book[device],
            tp=tp,
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=step_tokens,
            longest=longest,
        ).kv_tokens
    if kv_tokens < longest:
        raise ConfigError(f"--kv-tokens {kv_tokens} is less than the sweep's longest request of {longest} tokens")
    return Served(shape, chosen, book[device], EngineLimits(max_num_seqs, step_tokens, kv_tokens), tp)
