"""What tests with a real model share: prompts as token ids, transformers as the oracle, and the rule for ties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from pennyweight.server.engines.local.chat_template import load_chat_template
from pennyweight.server.engines.local.tokenizer import load_tokenizer
from pennyweight.server.types import ChatPrompt, Message

# Two logits this near to each other in float64 are a tie: float32 may take either.
TIE = 1e-4


def chat_prompts(path: Path, rows: Sequence[dict[str, Any]], count: int, longest: int) -> list[list[int]]:
    """Token ids of first turns in the model's chat template: ``count`` of at most ``longest`` tokens, spread over the rows."""
    tokenizer, template = load_tokenizer(path), load_chat_template(path, None)
    assert template is not None
    texts = [template.render(ChatPrompt(messages=(Message(role="user", content=row["turns"][0]),))) for row in rows]
    encoded = [ids for text in texts if len(ids := tokenizer.encode(text, add_special_tokens=False)) <= longest]
    return encoded[:: len(encoded) // count][:count]


def load_oracle(path: Path, dtype: torch.dtype) -> PreTrainedModel:
    """The model in transformers."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation="sdpa")
    return model.eval()


@torch.inference_mode()
def next_logits(model: PreTrainedModel, prompt: list[int], output: list[int]) -> torch.Tensor:
    """The logits that each token of ``output`` was chosen from, by one pass over prompt and output: [len(output), V]."""
    tokens = torch.tensor([prompt + output[:-1]], device=model.device)
    logits: torch.Tensor = model(tokens, logits_to_keep=len(output)).logits[0]
    return logits


@dataclass
class TieJudge:
    """Accepts two continuations that differ first where the logits of both tokens are within TIE of the largest.

    ``ties`` holds (name, position, gap) of those accepted. The float64 model is loaded when it is first needed.
    """

    path: Path
    ties: list[tuple[str, int, float]] = field(default_factory=list)
    _model: PreTrainedModel | None = None

    def check(self, name: str, prompt: list[int], output: list[int], other: list[int]) -> None:
        """Raise AssertionError unless the two are equal or differ first at a tie."""
        assert len(output) == len(other)
        place = next((index for index, pair in enumerate(zip(output, other, strict=True)) if pair[0] != pair[1]), None)
        if place is None:
            return
        self._model = self._model or load_oracle(self.path, torch.float64)
        logits = next_logits(self._model, prompt, output[: place + 1])[-1]
        gap = float(logits.max() - logits[[output[place], other[place]]].min())
        assert gap <= TIE, (
            f"{name} differs at token {place} ({output[place]}, {other[place]}): the logits are {gap} apart"
        )
        self.ties.append((name, place, gap))
