"""Run by the environment with the libraries: ``library_weights.py DIRECTORY...`` has the libraries themselves dequantise.

Beside each checkpoint, as DIRECTORY.weights: float32 [N, K] of each projection in its layers, by module, as safetensors.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "GPTQMODEL_CPU_WORKERS": "2"}

import torch
from safetensors.torch import save_file


def compressed_tensors(checkpoint: str) -> dict[str, Any]:
    from transformers import AutoModelForCausalLM, CompressedTensorsConfig

    config = CompressedTensorsConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, quantization_config=config, dtype=torch.float32)
    return {name: module.weight for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}


def gptq(checkpoint: str) -> dict[str, Any]:
    from gptqmodel import BACKEND, GPTQModel

    # Its kernel takes no float32: products are rounded to float16.
    model = GPTQModel.load(checkpoint, device="cpu", backend=BACKEND.GPTQ_TORCH, dtype=torch.float16)
    return {
        name: module.dequantize_weight().t()
        for name, module in model.model.named_modules()
        if hasattr(module, "dequantize_weight")
    }


def bitsandbytes(checkpoint: str) -> dict[str, Any]:
    from bitsandbytes import functional
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(checkpoint, device_map="cpu")
    weights = {}
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if state := getattr(weight, "quant_state", None):
            state.dtype = torch.float32
            weights[name] = functional.dequantize_4bit(weight.data, state)
        elif getattr(weight, "SCB", None) is not None:
            weights[name] = functional.int8_vectorwise_dequant(weight.data, weight.SCB)
    return weights


READERS = {"compressed-tensors": compressed_tensors, "gptq": gptq, "bitsandbytes": bitsandbytes}


def main(checkpoint: str) -> None:
    config = json.loads((Path(checkpoint) / "config.json").read_text())
    weights = READERS[config["quantization_config"]["quant_method"]](checkpoint)
    found = {name: weight for name, weight in weights.items() if ".layers." in name}
    copied = {name: weight.detach().float().contiguous().clone() for name, weight in found.items()}
    save_file(copied, f"{checkpoint}.weights")


if __name__ == "__main__":
    for directory in sys.argv[1:]:
        main(directory)
