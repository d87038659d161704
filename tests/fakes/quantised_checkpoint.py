"""Checkpoints with quantised projections, written by hand after the formats' definitions, and models of what they stand for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from pennyweight.kernels.quantised import QuantisedLinear, Scheme, round_to_nearest

CONFIGS: dict[Scheme, dict[str, Any]] = {
    Scheme.W8A8: {
        "weights": {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"},
        "input_activations": {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True},
    },
    Scheme.W8A16: {
        "weights": {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"},
        "input_activations": None,
    },
    Scheme.W4A16: {
        "weights": {"num_bits": 4, "type": "int", "symmetric": False, "strategy": "group", "group_size": 32},
        "input_activations": None,
    },
}


def quantise_checkpoint(path: Path, model: PreTrainedModel, scheme: Scheme) -> None:
    """Rewrite a saved model with the projections of its layers quantised, and give ``model`` the weights that they stand for."""
    tensors = load_file(path / "model.safetensors")
    parameters = dict(model.named_parameters())
    for name in [name for name in tensors if name.endswith("_proj.weight")]:
        quantised = round_to_nearest(tensors.pop(name), scheme, 32 if scheme is Scheme.W4A16 else None)
        with torch.no_grad():
            parameters[name].copy_(quantised.dequantised())
        module = name.removesuffix(".weight")
        tensors |= {f"{module}.{suffix}": tensor for suffix, tensor in stored(quantised).items()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path / "model.safetensors")
    config = json.loads((path / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized" if scheme is Scheme.W4A16 else "int-quantized",
        "config_groups": {"group_0": {"targets": ["Linear"], **CONFIGS[scheme]}},
        "ignore": ["lm_head"],
    }
    (path / "config.json").write_text(json.dumps(config))


def stored(weight: QuantisedLinear) -> dict[str, Tensor]:
    """The tensors of a projection as compressed-tensors keeps them."""
    rows, columns = weight.shape
    if weight.scheme is not Scheme.W4A16:
        values = weight.values if weight.scheme is Scheme.W8A8 else (weight.values.to(torch.int16) - 128).to(torch.int8)
        return {"weight": values, "weight_scale": weight.scales}
    assert weight.zeros is not None
    padded = torch.nn.functional.pad(weight.zeros, (0, 0, 0, -rows % 8))
    return {
        "weight_packed": packed(weight.values),
        "weight_scale": weight.scales,
        "weight_zero_point": packed(padded.t().contiguous()).t(),
        "weight_shape": torch.tensor([rows, columns]),
    }


def packed(codes: Tensor) -> Tensor:
    """Codes of four bits [R, C], eight to an int32 along C, the first in the lowest bits."""
    words = codes.view(codes.shape[0], -1, 8).to(torch.int64) << torch.arange(0, 32, 4)
    whole = words.sum(dim=-1)
    return torch.where(whole >= 1 << 31, whole - (1 << 32), whole).to(torch.int32)
