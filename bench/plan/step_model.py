"""How long one step of an engine takes: the roofline of its arithmetic and its memory traffic, and what comes on top."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from .device import Device
from .model_shape import ModelShape
from .quantisation import Quantisation

# Bytes of an activation when it crosses from device to device.
ACTIVATION_BYTES = 2


@dataclass(frozen=True)
class StepParameters:
    """What data sheets don't tell; each is above 0.

    ``compute_efficiency``, ``bandwidth_efficiency``: the shares of the device's peaks that the linear layers reach.
    ``attention_efficiency``: the same for attention, of bandwidth where it reads the cache, of compute in a long prompt.
    ``step_overhead``: seconds of a step that don't depend on its size: scheduling, launching, sampling's fixed part.
    ``sequence_overhead``: seconds for each sequence in a step: its row's sampling, its token's way out.
    ``request_overhead``: seconds that a request takes outside the engine's steps: HTTP, tokenising, the way of its first token.
    ``link_efficiency``, ``exchange_latency``: tensor parallelism's share of the link's bandwidth, and seconds per all-reduce.
    """

    compute_efficiency: float
    bandwidth_efficiency: float
    attention_efficiency: float
    step_overhead: float
    sequence_overhead: float
    request_overhead: float
    link_efficiency: float = 0.7
    exchange_latency: float = 10e-6


# Where to start from, and what counts where nothing was calibrated: kernels of vLLM's kind, graphs captured.
DEFAULTS = {
    "gpu": StepParameters(0.6, 0.8, 0.5, 2e-3, 20e-6, 10e-3),
    "cpu": StepParameters(0.5, 0.6, 0.3, 2e-3, 300e-6, 5e-3),
}
# Which of them a load on one device can tell apart.
FITTED = (
    "compute_efficiency",
    "bandwidth_efficiency",
    "attention_efficiency",
    "step_overhead",
    "sequence_overhead",
    "request_overhead",
)


@dataclass(frozen=True)
class StepModel:
    """Coefficients of a step's time in seconds, worked out once for a model on a device, so that a step is a few products.

    ``token``: a token's arithmetic in the layers; ``row``: a sampled row's in the head; ``weights``, ``head``: reading them
    once; ``pair``: a query attending to a key; ``cached``: reading a token of the cache; ``exchange``: a token's all-reduces.
    """

    token: float
    row: float
    weights: float
    head: float
    pair: float
    cached: float
    exchange: float
    fixed: float
    sequence: float
    request: float
    expert: float = 0.0  # reading one expert of every layer; 0 where all of them are in ``weights``
    experts: int = 1
    active_experts: int = 1

    def seconds(self, tokens: int, rows: int, sequences: int, pairs: float, cached: float) -> float:
        """A step of ``tokens`` tokens of ``sequences`` sequences, ``rows`` of which sample.

        ``pairs`` are queries times the keys that each attends to, ``cached`` the tokens of the cache that are read.
        """
        reading = self.weights + (self.head if rows else 0.0)
        if self.expert:
            missed = (1.0 - self.active_experts / self.experts) ** tokens
            reading += self.expert * self.experts * (1.0 - missed)
        linear = max(tokens * self.token + rows * self.row, reading)
        attention = max(pairs * self.pair, cached * self.cached)
        return linear + attention + tokens * self.exchange + self.fixed + sequences * self.sequence


def make_step_model(
    shape: ModelShape, quantisation: Quantisation, device: Device, parameters: StepParameters, tp: int = 1
) -> StepModel:
    """The step model of ``tp`` devices that share every layer (Megatron's tensor parallelism, arXiv:1909.08053)."""
    flops = device.flops_of(quantisation.compute) * parameters.compute_efficiency * tp
    head_flops = device.flops_of("bfloat16") * parameters.compute_efficiency * tp
    bandwidth = device.bandwidth * parameters.bandwidth_efficiency * tp
    weight_bytes = quantisation.weight_bits / 8
    active = shape.always_parameters + shape.layers * shape.active_experts * shape.expert_parameters
    is_dense = shape.experts == 1
    # Two all-reduces a layer, in which each device sends and receives 2 (tp - 1) / tp of every activation.
    sent = 2 * shape.layers * 2 * (tp - 1) / tp * shape.hidden_size * ACTIVATION_BYTES
    return StepModel(
        token=2 * active / flops,
        row=2 * shape.head_parameters / head_flops,
        weights=(shape.layer_parameters if is_dense else shape.always_parameters) * weight_bytes / bandwidth,
        head=shape.head_parameters * quantisation.head_bits / 8 / bandwidth,
        pair=shape.attention_flops_per_pair
        / (device.flops_of("bfloat16") * parameters.attention_efficiency * min(tp, shape.heads)),
        cached=shape.kv_bytes_per_token(quantisation.kv_bits, tp)
        / (device.bandwidth * parameters.attention_efficiency),
        exchange=sent / (device.link * parameters.link_efficiency),
        fixed=parameters.step_overhead + (2 * shape.layers * parameters.exchange_latency if tp > 1 else 0.0),
        sequence=parameters.sequence_overhead,
        request=parameters.request_overhead,
        expert=0.0 if is_dense else shape.layers * shape.expert_parameters * weight_bytes / bandwidth,
        experts=shape.experts,
        active_experts=shape.active_experts,
    )


def scaled(parameters: StepParameters, logarithms: dict[str, float]) -> StepParameters:
    """Parameters times e to the given powers; efficiencies stay at most 1."""
    values = {}
    for name, power in logarithms.items():
        value = getattr(parameters, name) * math.exp(power)
        values[name] = min(value, 1.0) if name.endswith("efficiency") else value
    return dataclasses.replace(parameters, **values)
