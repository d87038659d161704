"""LLM Compressor's SmoothQuant, for every projection that can be smoothed, by what it reads."""

from __future__ import annotations

from typing import Any

import torch
from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier
from llmcompressor.modifiers.transform.smoothquant.base import SmoothQuantScale
from llmcompressor.modifiers.transform.smoothquant.dynamic_mappings import get_layer_mappings_from_model
from llmcompressor.modifiers.transform.smoothquant.utils import LayerMap
from pydantic import PrivateAttr
from torch import Tensor
from torch.nn import Module

from pennyweight.quantize.job import Report

# Of a gated MLP, down(act(gate(x)) * up(x)), a column of down's input is a multiple of up's row: scales pass through the product.
GATED_MLP = LayerMap(balance_layers=["re:.*down_proj$"], smooth_layers="re:.*up_proj$")


class SmoothQuant(SmoothQuantModifier):  # type: ignore[misc]  # untyped
    """SmoothQuant (arXiv:2211.10438), which is quick: it keeps nothing. ``report_to`` must be called before it is used.

    Beyond the library's: what a gated MLP hands down is smoothed too, whose outliers are otherwise the most of what w8a8 loses;
    so ranges are taken of what the balanced projections read, which there is not what the smoothed one puts out.
    """

    _report: Report = PrivateAttr()

    def report_to(self, report: Report) -> None:
        """Who is told of each layer."""
        self._report = report

    def _infer_mappings_from_model(self, model: Module) -> list[Any]:
        if self.mappings is not None:
            return list(self.mappings)
        mappings = list(get_layer_mappings_from_model(model))
        parents = {name.rpartition(".")[0] for name, _ in model.named_modules() if name.endswith(".down_proj")}
        gated = [parent for parent in parents if hasattr(model.get_submodule(parent), "up_proj")]
        return [*mappings, GATED_MLP] if gated else mappings

    def _setup_scale_hooks(self) -> None:
        for mapping in self.resolved_mappings_:
            self.register_hook(mapping.balance_layers[0], self._observe(mapping.smooth_name), "forward_pre")

    def _observe(self, name: str) -> Any:
        @torch.no_grad()
        def observe(module: Module, inputs: tuple[Tensor, ...]) -> None:
            columns = inputs[0].reshape(-1, inputs[0].shape[-1])
            least, most = columns.amin(dim=0), columns.amax(dim=0)
            if (seen := self.scales_.get(name)) is None:
                self.scales_[name] = SmoothQuantScale(min_channel_vals=least, max_channel_vals=most)
            else:
                seen.min_channel_vals = torch.minimum(seen.min_channel_vals, least)
                seen.max_channel_vals = torch.maximum(seen.max_channel_vals, most)

        return observe

    def on_sequential_epoch_end(self, state: Any, event: Any, **kwargs: Any) -> None:
        super().on_sequential_epoch_end(state, event, **kwargs)
        self._report.step()
