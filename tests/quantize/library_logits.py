"""Run by the environment with the libraries: ``library_logits.py CHECKPOINT ASKED OUT`` has the library itself run a checkpoint.

ASKED is JSON, a list of [prompt, output], each token ids. OUT gets, as safetensors and by the number in that list, float32
[len(output), V]: the logits that each token of ``output`` would be chosen from.
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


def load(checkpoint: Path) -> Any:
    if json.loads((checkpoint / "config.json").read_text())["quantization_config"]["quant_method"] == "gptq":
        from gptqmodel import BACKEND, GPTQModel

        # Its kernel takes no float32.
        return GPTQModel.load(str(checkpoint), device="cpu", backend=BACKEND.GPTQ_TORCH, dtype=torch.bfloat16).model
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)


@torch.inference_mode()
def main(checkpoint: Path, asked: Path, out: Path) -> None:
    model = load(checkpoint).eval()
    logits = {}
    for number, (prompt, output) in enumerate(json.loads(asked.read_text())):
        tokens = torch.tensor([prompt + output[:-1]])
        logits[str(number)] = model(tokens, logits_to_keep=len(output)).logits[0].float().contiguous()
    save_file(logits, out)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
