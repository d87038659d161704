"""LLM Compressor's GPTQ and AWQ, which keep each layer that is done and take up those that an earlier run has kept.

Layers are quantised one after the other, each on what the quantised ones before it compute. So a layer that was kept is not solved
again, only run; what follows comes out as if the run had never stopped.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from compressed_tensors.utils import update_offload_parameter
from llmcompressor.modifiers.gptq import GPTQModifier
from llmcompressor.modifiers.transform.awq import AWQModifier
from pydantic import PrivateAttr
from torch import Tensor
from torch.nn import Module

from pennyweight.quantize.job import Report

from .layer_store import LayerStore


class ResumableGPTQ(GPTQModifier):  # type: ignore[misc]
    """GPTQ. ``keep`` must be called before it is used."""

    # Of some ten thousand tokens the library's 0.01 learns too much of these by heart: held text of the default model says so.
    dampening_frac: float | None = 0.05

    _store: LayerStore = PrivateAttr()
    _report: Report = PrivateAttr()
    _kept: set[Module] = PrivateAttr(default_factory=set)

    def keep(self, store: LayerStore, report: Report) -> None:
        """Where layers are kept, and who is told of each."""
        self._store, self._report = store, report

    def calibrate_module(self, module: Module, args: tuple[Tensor, ...], _output: Tensor) -> None:
        # Each token counts the same, as it does behind a norm: the few with massive activations (arXiv:2402.17762) would otherwise be
        # all that is minimised for.
        norms = args[0].norm(dim=-1, keepdim=True).clamp_min(torch.finfo(args[0].dtype).tiny)
        super().calibrate_module(module, (args[0] / norms,), _output)

    def on_calibration_start(self, state: Any, event: Any, **kwargs: Any) -> None:
        self._kept = restore(state.model, self._store.load())
        super().on_calibration_start(state, event, **kwargs)

    def register_hook(self, target: Any, *args: Any, **kwargs: Any) -> Any:
        # What is kept needs no calibration.
        return None if target in self._kept else super().register_hook(target, *args, **kwargs)

    def on_sequential_epoch_end(self, state: Any, event: Any, modules: list[Module], **kwargs: Any) -> None:
        calibrated = [module for module in self._num_samples if module not in self._kept]
        super().on_sequential_epoch_end(state, event, modules, **kwargs)
        if calibrated:
            self._store.save(named_tensors({self._module_names[module]: module for module in calibrated}))
        self._report.step()


class ResumableAWQ(AWQModifier):  # type: ignore[misc]
    """AWQ. ``keep`` must be called before it is used."""

    _store: LayerStore = PrivateAttr()
    _report: Report = PrivateAttr()
    _resolved_mappings: list[Any] = PrivateAttr(default_factory=list)

    def keep(self, store: LayerStore, report: Report) -> None:
        """Where layers are kept, and who is told of each."""
        self._store, self._report = store, report

    def _set_resolved_mappings(self, model: Module) -> None:
        super()._set_resolved_mappings(model)
        kept = restore(model, self._store.load())
        self._resolved_mappings = [
            mapping for mapping in self._resolved_mappings if not kept.issuperset(mapping.balance_layers)
        ]

    def on_sequential_epoch_end(self, state: Any, event: Any, **kwargs: Any) -> None:
        smoothed = [
            mapping for mapping in self._resolved_mappings if mapping.smooth_name in self._smooth_activation_stats
        ]
        super().on_sequential_epoch_end(state, event, **kwargs)
        if smoothed:
            changed = {
                name: module
                for mapping in smoothed
                for name, module in (
                    (mapping.smooth_name, mapping.smooth_layer),
                    *zip(mapping.balance_names, mapping.balance_layers, strict=True),
                )
            }
            # Weights alone: their scales are made once all is smooth.
            tensors = named_tensors(changed)
            self._store.save({name: tensors[name] for name in tensors if name.endswith((".weight", ".bias"))})
        self._report.step()


def named_tensors(modules: dict[str, Module]) -> dict[str, Tensor]:
    """The parameters and buffers of modules, by their names in the model."""
    return {
        f"{name}.{own}": tensor
        for name, module in modules.items()
        for own, tensor in module.state_dict().items()
        if isinstance(tensor, Tensor)
    }


@torch.no_grad()
def restore(model: Module, tensors: dict[str, Tensor]) -> set[Module]:
    """Put tensors into a model by name; the modules that they belong to."""
    modules = dict(model.named_modules())
    for name, tensor in tensors.items():
        owner, _, own = name.rpartition(".")
        update_offload_parameter(modules[owner], own, tensor)
    return {modules[name] for name in _owners(tensors)}


def _owners(names: Iterable[str]) -> set[str]:
    return {name.rpartition(".")[0] for name in names}
