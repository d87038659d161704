"""Quantises by LLM Compressor, which writes compressed-tensors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from compressed_tensors.quantization.utils import is_module_quantized
from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import QuantizationModifier
from llmcompressor.pipelines.cache import IntermediatesCache
from torch.utils.data import DataLoader
from transformers import AutoConfig, AutoModelForCausalLM

from pennyweight.quantize.job import Finished, Job, Report
from pennyweight.quantize.recipe import Method, Recipe, Scheme

from .base import calibration_pieces
from .layer_store import LayerStore
from .resumable import ResumableAWQ, ResumableGPTQ
from .smoothquant import SmoothQuant


def quantise(job: Job, report: Report) -> Finished:
    """Write the checkpoint to ``job.made``. Raises QuantizeError for calibration data that can't be used."""
    report.stage("loading the model")
    # A CPU computes in float32: without instructions for bfloat16 it would take many times as long.
    model = AutoModelForCausalLM.from_pretrained(job.source, dtype=torch.float32 if job.device == "cpu" else "auto")
    dtype = AutoConfig.from_pretrained(job.source).dtype
    store = LayerStore(Path(job.state))
    resumed = len(store)
    widest = max(module.in_features for module in model.modules() if isinstance(module, torch.nn.Linear))
    pieces = calibration_pieces(job, report, widest)
    if not torch.cuda.is_available():
        # It pins what it is about to copy to a card, which fails where there is none.
        IntermediatesCache.pin_memory = lambda *args, **kwargs: None
    modifiers = _modifiers(job.recipe, store, report)
    # Each pass goes through every layer and what comes after the last.
    passes = sum(modifier.requires_calibration_data for modifier in modifiers)
    report.stage("quantising layers", passes * (model.config.num_hidden_layers + 1))
    oneshot(model=model, recipe=modifiers, **_dataset(pieces))
    report.stage("writing the checkpoint")
    _cast_the_rest(model, dtype or torch.float32)
    model.save_pretrained(job.made, save_compressed=True)
    return Finished(len(pieces), sum(map(len, pieces)), resumed)


def _cast_the_rest(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Bring to ``dtype`` what is not quantised: codes are found anew on saving, from weights and scales as they were solved for."""
    for module in model.modules():
        if not is_module_quantized(module):
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(dtype)


def _dataset(pieces: list[list[int]]) -> dict[str, Any]:
    """What ``oneshot`` takes for calibration: batches of one piece, so that none is padded."""
    if not pieces:
        return {}
    rows: Any = [
        {"input_ids": torch.tensor(piece), "attention_mask": torch.ones(len(piece), dtype=torch.long)}
        for piece in pieces
    ]
    return {"dataset": DataLoader(rows, batch_size=1), "num_calibration_samples": len(rows)}


def _modifiers(recipe: Recipe, store: LayerStore, report: Report) -> list[Any]:
    """What is done to the model, in order."""
    made: list[Any] = []
    if recipe.smoothquant is not None:
        smoothquant = SmoothQuant(smoothing_strength=recipe.smoothquant)
        smoothquant.report_to(report)
        made.append(smoothquant)
    scheme = {"config_groups": _config_groups(recipe), "ignore": list(recipe.ignore)}
    match recipe.method:
        case Method.GPTQ:
            gptq = ResumableGPTQ(**scheme)
            gptq.keep(store, report)
            made.append(gptq)
        case Method.AWQ:
            awq = ResumableAWQ()
            awq.keep(store, report)
            made += [awq, QuantizationModifier(**scheme)]
        case Method.RTN:
            made.append(QuantizationModifier(**scheme))
    return made


def _config_groups(recipe: Recipe) -> dict[str, Any]:
    """compressed-tensors' configuration of schemes. What is named comes before what takes the rest."""
    if not recipe.eight_bits:
        return {"group_0": _scheme(recipe, ["Linear"])}
    named = [rf"re:.*\.{re.escape(name)}$" for name in recipe.eight_bits]
    return {"group_0": _scheme(recipe, named, bits=8), "group_1": _scheme(recipe, ["Linear"])}


def _scheme(recipe: Recipe, targets: list[str], bits: int = 4) -> dict[str, Any]:
    """A group of that configuration. ``bits`` are those of weights in groups."""
    dynamic = {"symmetric": True, "strategy": "token", "dynamic": True, "observer": None}
    match recipe.scheme:
        case Scheme.W8A8:
            weights = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False}
            activations: dict[str, Any] | None = {"num_bits": 8, "type": "int", **dynamic}
        case Scheme.FP8:
            weights = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "channel", "dynamic": False}
            activations = {"num_bits": 8, "type": "float", **dynamic}
        case _:
            weights = {
                "num_bits": bits,
                "type": "int",
                "symmetric": recipe.symmetric,
                "strategy": "group",
                "dynamic": False,
            }
            weights |= {"group_size": recipe.group_size}
            activations = None
    return {"targets": targets, "weights": weights, "input_activations": activations}
