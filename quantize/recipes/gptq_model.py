"""Quantises by GPTQModel, which writes GPTQ checkpoints that auto-gptq's readers take."""

from __future__ import annotations

from typing import Any

import torch
from gptqmodel import GPTQModel
from gptqmodel.quantization.config import FORMAT, GPTQConfig

from pennyweight.quantize.job import Finished, Job, Report

from .base import calibration_pieces


class LayerCallback:
    """Reports each layer that GPTQModel has finished with."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def layer_complete(self, *, layer_idx: int, submodule_finalized: bool) -> None:
        """Called once a layer is quantised and, where that is done apart, once more when it is packed."""
        del layer_idx
        if submodule_finalized:
            self._report.step()


def quantise(job: Job, report: Report) -> Finished:
    """Write the checkpoint to ``job.made``. GPTQModel keeps nothing of a run that is stopped: the next begins anew.

    Raises QuantizeError for calibration data that can't be used.
    """
    report.stage("loading the model")
    recipe = job.recipe
    config = GPTQConfig(
        bits=recipe.bits,
        group_size=recipe.group_size,
        sym=recipe.symmetric,
        # Version 1 stores zero points less one, and so has none for 0.
        format=FORMAT.GPTQ if recipe.symmetric else FORMAT.GPTQ_V2,
        desc_act=False,
        device=job.device,
        offload_to_disk=False,
    )
    model: Any = GPTQModel.load(job.source, config, dtype=torch.float32 if job.device == "cpu" else "auto")
    hidden = model.model.config
    pieces = calibration_pieces(job, report, max(hidden.hidden_size, hidden.intermediate_size))
    model.layer_callback = LayerCallback(report)
    report.stage("quantising layers", hidden.num_hidden_layers)
    model.quantize([{"input_ids": [piece], "attention_mask": [[1] * len(piece)]} for piece in pieces], batch_size=1)
    report.stage("writing the checkpoint")
    model.save(job.made)
    return Finished(len(pieces), sum(map(len, pieces)))
