from __future__ import annotations

import dataclasses

import pytest

from pennyweight.bench.plan.device import Device
from pennyweight.bench.plan.model_shape import ModelShape
from pennyweight.bench.plan.quantisation import QUANTISATIONS
from pennyweight.bench.plan.step_model import StepParameters, make_step_model

PERFECT = StepParameters(1.0, 1.0, 1.0, 0.0, 0.0, 0.0)
BFLOAT16, FP8 = QUANTISATIONS[0], QUANTISATIONS[1]


def test_one_token_reads_every_weight_once(llama: ModelShape, devices: dict[str, Device]) -> None:
    model = make_step_model(llama, BFLOAT16, devices["h100"], PERFECT)
    # The layers and the head in 16 bits; of the embeddings one row.
    bytes_read = 2 * (llama.layer_parameters + llama.head_parameters)
    assert model.seconds(1, 1, 1, 0, 0) == pytest.approx(bytes_read / 3.35e12)


def test_a_long_chunk_is_bound_by_arithmetic(llama: ModelShape, devices: dict[str, Device]) -> None:
    model = make_step_model(llama, BFLOAT16, devices["h100"], PERFECT)
    flops = 2 * 2048 * llama.layer_parameters + 2 * llama.head_parameters
    assert model.seconds(2048, 1, 1, 0, 0) == pytest.approx(flops / 989.4e12)
    assert make_step_model(llama, FP8, devices["h100"], PERFECT).seconds(2048, 0, 1, 0, 0) == pytest.approx(
        2 * 2048 * llama.layer_parameters / 1978.9e12
    )
    # No units for fp8: it is computed as bfloat16.
    assert make_step_model(llama, FP8, devices["a100-80gb"], PERFECT).seconds(2048, 0, 1, 0, 0) == pytest.approx(
        2 * 2048 * llama.layer_parameters / 312e12
    )


def test_attention_reads_the_cache_and_overheads_add_up(llama: ModelShape, devices: dict[str, Device]) -> None:
    model = make_step_model(
        llama, BFLOAT16, devices["h100"], dataclasses.replace(PERFECT, step_overhead=1e-3, sequence_overhead=1e-5)
    )
    longer = model.seconds(8, 8, 8, 80_000, 80_000) - model.seconds(8, 8, 8, 0, 0)
    assert longer == pytest.approx(80_000 * 131072 / 3.35e12)
    bare = make_step_model(llama, BFLOAT16, devices["h100"], PERFECT)
    assert model.seconds(8, 8, 8, 0, 0) - bare.seconds(8, 8, 8, 0, 0) == pytest.approx(1e-3 + 8e-5)


def test_tensor_parallelism_divides_the_work_and_pays_for_talking(
    llama: ModelShape, devices: dict[str, Device]
) -> None:
    parameters = dataclasses.replace(PERFECT, link_efficiency=1.0, exchange_latency=1e-5)
    one, two = (make_step_model(llama, BFLOAT16, devices["h100"], parameters, tp) for tp in (1, 2))
    sent = 2 * 32 * 4096 * 2  # bytes a token: two all-reduces of each layer, each device sends half and receives half
    talking = 100 * sent / 450e9 + 64 * 1e-5
    assert two.seconds(100, 1, 1, 0, 0) == pytest.approx(one.seconds(100, 1, 1, 0, 0) / 2 + talking)


def test_few_tokens_reach_few_experts(mixtral: ModelShape, devices: dict[str, Device]) -> None:
    assert mixtral.distinct_experts(1) == pytest.approx(2)
    assert mixtral.distinct_experts(1000) == pytest.approx(8)
    model = make_step_model(mixtral, BFLOAT16, devices["h200"], PERFECT)
    active = mixtral.active_parameters
    assert model.seconds(1, 1, 1, 0, 0) == pytest.approx(2 * active / 4.8e12)
