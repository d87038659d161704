"""What a forward pass costs by the model's shape: floating-point operations, and bytes to and from memory."""

from __future__ import annotations

from dataclasses import dataclass

from .model_config import ModelConfig
from .projections import model_projections


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCost:
    """The parts that the cost of any step is made of.

    FLOPs are those of PaLM's appendix B (arXiv:2204.02311), which gives 6N + 12LHQT for a token of training: its forward pass
    is a third of that, so 2 for each weight of the linear layers (``token_flops``) and 4LHQ for each token that it attends to
    (``attention_flops``), here the tokens up to its own, for the mask is causal. N leaves out the token table, which is looked up;
    the head (``logits_flops``) is only computed for the rows that a token is chosen from.

    Bytes are the least that must move: the weights once a step however many tokens share them (``weight_bytes``), a row of the
    token table for each token (``token_bytes``), the keys and values of a sequence's context once a step, and those of
    each new token, which are written (``kv_bytes`` for a token). That is the numerator of MBU as Databricks defined it ("LLM
    Inference Performance Engineering", 2023). Activations stay in caches and aren't counted; norms, rotations, softmax, sampling,
    adapters and the logits of prompts are left out as well, all small beside these.
    """

    token_flops: int
    logits_flops: int
    attention_flops: int
    weight_bytes: int
    token_bytes: int
    kv_bytes: int


def model_cost(config: ModelConfig, *, weight_bytes: int, bytes_per_embedding: int, kv_bytes: int) -> ModelCost:
    """The cost of a model whose linear layers and head have ``weight_bytes`` in all.

    An element of the token table has ``bytes_per_embedding``, a token's keys and values of all layers have ``kv_bytes``.
    """
    linear = sum(one.rows * one.columns for one in model_projections(config))
    head = config.vocab_size * config.hidden_size
    return ModelCost(
        token_flops=2 * linear,
        logits_flops=2 * head,
        attention_flops=4 * config.num_layers * config.num_heads * config.head_dim,
        weight_bytes=weight_bytes,
        token_bytes=config.hidden_size * bytes_per_embedding,
        kv_bytes=kv_bytes,
    )
