"""Adapters as vLLM's LoRA requests. Imported in vLLM's process only."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from safetensors import safe_open
from vllm.lora.request import LoRARequest
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from pennyweight.server.engines.local.peft_adapter import WEIGHTS_FILE, adapter_digest, read_peft_adapter
from pennyweight.server.errors import InvalidRequest, ModelError
from pennyweight.server.types import Adapter

# vLLM's ids are positive; 32 bits with a sign hold them in all of its versions.
ID_BITS = (1 << 31) - 1
TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<part>[AB])\.weight")


class VllmAdapters:
    """Has vLLM load each adapter before a request that uses it: what is wrong with one is then that request's alone.

    Loading in the middle of a step would end vLLM's engine.
    """

    def __init__(self, engine: AsyncLLM, model: Path, max_rank: int) -> None:
        self._engine = engine
        self._model = model
        self._max_rank = max_rank
        self._checked: set[str] = set()

    async def lora_request(self, adapter: Adapter) -> LoRARequest:
        """What to generate with. Raises InvalidRequest for an adapter that can't be loaded."""
        # The name is part of what vLLM's prefix cache goes by: with the digest it changes with the adapter.
        request = LoRARequest(f"{adapter.name}@{adapter.digest}", lora_id(adapter), adapter.path)
        try:
            if adapter.digest not in self._checked:
                await asyncio.to_thread(self._check, adapter)
                self._checked.add(adapter.digest)
            # Each time: vLLM may have dropped it for others meanwhile.
            await self._engine.add_lora(request)
        except EngineDeadError:
            raise
        except Exception as error:  # vLLM raises what its worker did, as whatever it was
            reason = " ".join(str(error).split())
            raise InvalidRequest(f"The adapter {adapter.name} can't be used: {reason}.", param="model") from error
        return request

    def _check(self, adapter: Adapter) -> None:
        directory = Path(adapter.path)
        if adapter_digest(directory) != adapter.digest:
            raise ModelError("its files have changed a moment ago; try again")
        given = read_peft_adapter(directory, max_rank=self._max_rank)
        if given.rank_pattern or given.alpha_pattern:
            raise ModelError("its modules differ in rank or alpha, which vLLM would not heed; use the native engine")
        check_shapes(
            _shapes([directory / WEIGHTS_FILE]), _shapes(sorted(self._model.glob("*.safetensors"))), given.rank
        )


def check_shapes(adapter: Mapping[str, list[int]], model: Mapping[str, list[int]], rank: int) -> None:
    """Raise ModelError for a tensor of an adapter that doesn't fit the model's: vLLM itself would fail in the middle of a step.

    Modules whose weights the checkpoint has in another form (packed ones) are left to vLLM.
    """
    modules = {name.rpartition(".")[0] for name in model}
    for name, shape in adapter.items():
        found = TENSOR.fullmatch(name)
        if found is None or found["module"] not in modules:
            raise ModelError(f"it has a tensor that belongs to nothing in this model: {name}")
        if (weight := model.get(f"{found['module']}.weight")) is None:
            continue
        wanted = [rank, weight[1]] if found["part"] == "A" else [weight[0], rank]
        if shape != wanted:
            raise ModelError(f"its tensor {name} is {shape}, where rank and model ask for {wanted}")


def _shapes(files: Iterable[Path]) -> dict[str, list[int]]:
    shapes: dict[str, list[int]] = {}
    for file in files:
        with safe_open(file, framework="np") as tensors:
            shapes |= {name: list(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118 (it is no dict)
    return shapes


def lora_id(adapter: Adapter) -> int:
    """A positive number that the adapter has in every process and at every time."""
    return int(adapter.digest[:8], 16) & ID_BITS or 1
