"""Quantises by bitsandbytes, through transformers: NF4 (QLoRA, arXiv:2305.14314) and LLM.int8 (arXiv:2208.07339)."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from pennyweight.quantize.job import Finished, Job, Report
from pennyweight.quantize.recipe import Scheme


def quantise(job: Job, report: Report) -> Finished:
    """Write the checkpoint to ``job.made``."""
    report.stage("quantising while loading the model")
    make_config: Any = BitsAndBytesConfig  # untyped
    if job.recipe.scheme is Scheme.NF4:
        config = make_config(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    else:
        config = make_config(load_in_8bit=True)
    model = AutoModelForCausalLM.from_pretrained(
        job.source, quantization_config=config, device_map=job.device, dtype="auto"
    )
    report.stage("writing the checkpoint")
    # At once: a forward pass on a CPU puts the four-bit weights into another order, which would be saved as if it were this one.
    model.save_pretrained(job.made)
    return Finished()
