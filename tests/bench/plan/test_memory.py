"""Sizes against hand calculation: 8.03 billion weights of Llama 3 8B, 46.7 of Mixtral 8x7B, 128 KiB of cache a token."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes.model_shapes import LLAMA_3_8B

from pennyweight.bench.plan.device import Device
from pennyweight.bench.plan.memory import GIB, DoesNotFit, MemoryPlan, plan_memory
from pennyweight.bench.plan.model_shape import ModelShape, read_model_shape
from pennyweight.bench.plan.quantisation import QUANTISATIONS, choose_quantisations, read_quality
from pennyweight.server.errors import ConfigError

BY_NAME = {one.name: one for one in QUANTISATIONS}


def planned(shape: ModelShape, device: Device, quantisation: str = "bfloat16", tp: int = 1) -> MemoryPlan:
    return plan_memory(
        shape,
        BY_NAME[quantisation],
        device,
        tp=tp,
        max_num_seqs=64,
        max_num_batched_tokens=2048,
        longest=8192,
    )


def test_weights_are_counted_from_a_config_alone(llama: ModelShape, mixtral: ModelShape, small: ModelShape) -> None:
    assert llama.parameters == pytest.approx(8.03e9, rel=1e-3)
    assert mixtral.parameters == pytest.approx(46.7e9, rel=1e-3)
    assert mixtral.active_parameters == pytest.approx(12.8e9, rel=1e-2)  # 12.9 billion with the embeddings
    assert small.parameters == pytest.approx(134.5e6, rel=1e-3)


def test_a_token_of_cache_takes_its_keys_and_values_in_every_layer(llama: ModelShape, small: ModelShape) -> None:
    assert llama.kv_bytes_per_token(16) == 2 * 32 * 8 * 128 * 2 == 131072
    assert llama.kv_bytes_per_token(8) == 65536
    assert llama.kv_bytes_per_token(16, tp=4) == 32768
    assert llama.kv_bytes_per_token(16, tp=16) == 16384  # 8 heads over 16 devices: each holds one
    assert small.kv_bytes_per_token(16) == 2 * 30 * 3 * 64 * 2


def test_llama_8b_leaves_room_on_24_gb_and_much_on_80(llama: ModelShape, devices: dict[str, Device]) -> None:
    # 24,564 MiB x 0.9 = 21.59 GiB; 14.96 of weights, 1 of runtime, 2048 x 2 x (2 x 4096 + 2 x 14336) B = 0.14 and
    # 64 x 128,256 x 4 B = 0.03 of activations leave 5.46 GiB, 44,700 tokens of 128 KiB.
    card = planned(llama, devices["rtx-4090"])
    assert card.weights / GIB == pytest.approx(14.96, abs=0.01)
    assert card.activations / GIB == pytest.approx(0.171, abs=0.01)
    assert card.kv_tokens == pytest.approx(44_700, rel=0.01)
    # 81,559 MiB x 0.9 - 16.13 = 55.55 GiB.
    assert planned(llama, devices["h100"]).kv_tokens == pytest.approx(455_000, rel=0.01)


def test_quantised_and_divided_weights_leave_more(llama: ModelShape, devices: dict[str, Device]) -> None:
    plain, fp8 = planned(llama, devices["l4"]), planned(llama, devices["l4"], "fp8")
    # 6.98 billion weights in the layers lose a byte each; embeddings and head don't.
    assert plain.weights - fp8.weights == llama.layer_parameters == pytest.approx(6.98e9, rel=1e-3)
    assert planned(llama, devices["l4"], tp=2).weights == plain.weights / 2
    assert planned(llama, devices["l4"], "fp8-kv8").kv_tokens == pytest.approx(2 * fp8.kv_tokens, rel=1e-4)


def test_a_cpu_keeps_its_cache_small(small: ModelShape, devices: dict[str, Device]) -> None:
    assert planned(small, devices["epyc-2-cores"]).kv_tokens == 4 * GIB // small.kv_bytes_per_token(16)


def test_what_has_no_room_says_by_how_much(mixtral: ModelShape, devices: dict[str, Device]) -> None:
    with pytest.raises(DoesNotFit, match=r"misses h100 by 17\.6 GiB a device: 87\.0 of weights") as error:
        planned(mixtral, devices["h100"])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"hidden_size": None}, "has no hidden_size"),
        ({"kv_lora_rank": 512}, "has kv_lora_rank"),
        ({"vocab_size": "many"}, "has no vocab_size"),
    ],
)
def test_a_shape_that_cannot_be_planned_for_is_refused(tmp_path: Path, change: dict[str, object], reason: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_3_8B | change))
    with pytest.raises(ConfigError, match=reason):
        read_model_shape(tmp_path)


def test_measured_quality_is_read_and_checked(tmp_path: Path) -> None:
    file = tmp_path / "quality.yaml"
    file.write_text("fp8: 0.99\nw4a16: 0.95\n")
    found = choose_quantisations(["bfloat16", "fp8"], read_quality(file))
    assert [one.quality for one in found] == [None, 0.99]
    file.write_text("fp8: 99\n")
    with pytest.raises(ConfigError, match="must be above 0 and at most 1"):
        read_quality(file)
    with pytest.raises(ConfigError, match="no quantisation is called 'int3'"):
        choose_quantisations(["int3"], {})
