"""What an encoder is: the sizes that its config.json states, checked against what is done here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from pennyweight.server.engines.local.model_json import read_json_if_there, read_json_object
from pennyweight.server.errors import ModelError

ARCHITECTURES = ("BertModel",)
OTHER_ENGINES = "the engine vllm may take it"

Size = Annotated[int, Meta(ge=1)]


class EncoderConfig(msgspec.Struct, frozen=True, kw_only=True):
    """BERT (arXiv:1810.04805) as transformers configures it.

    ``is_matryoshka`` and ``matryoshka_dimensions`` say to which lengths vectors may be cut (arXiv:2205.13147), as vLLM reads them.
    """

    architectures: tuple[str, ...] = ()
    hidden_size: Size
    intermediate_size: Size
    num_hidden_layers: Size
    num_attention_heads: Size
    vocab_size: Size
    max_position_embeddings: Size
    type_vocab_size: Size = 2
    layer_norm_eps: float = 1e-12
    hidden_act: str = "gelu"
    position_embedding_type: str = "absolute"
    is_decoder: bool = False
    is_matryoshka: bool = False
    matryoshka_dimensions: tuple[Size, ...] = ()

    @property
    def embedding_sizes(self) -> frozenset[int]:
        """Every length that a vector may have, the largest of them uncut."""
        full = self.hidden_size
        if self.is_matryoshka and not self.matryoshka_dimensions:
            return frozenset(range(1, full + 1))
        return frozenset({full, *(size for size in self.matryoshka_dimensions if size < full)})


def is_encoder(path: Path) -> bool:
    """Whether the model at ``path`` is of an architecture that is an encoder here. Raises ModelError for a config.json that is none."""
    if path.suffix == ".gguf":
        return False
    architectures = read_json_if_there(path / "config.json").get("architectures")
    return isinstance(architectures, list) and any(one in ARCHITECTURES for one in architectures)


def load_encoder_config(path: Path) -> EncoderConfig:
    """The configuration of the model in a directory in Hugging Face format.

    Raises ModelError where it can't be read, lacks a size, or asks for what is not done here.
    """
    if path.suffix == ".gguf":
        raise ModelError(f"the encoder does not read {path.name}: give it a directory in Hugging Face format")
    raw = {name: value for name, value in read_json_object(path / "config.json").items() if value is not None}
    if not is_encoder(path):
        shown = raw.get("architectures") or raw.get("model_type")
        raise ModelError(
            f"{path} is a {shown}; the encoder has {', '.join(ARCHITECTURES)}. For others, {OTHER_ENGINES}"
        )
    try:
        config = msgspec.convert(raw, EncoderConfig)
    except msgspec.ValidationError as error:
        raise ModelError(f"the configuration of {path} can't be used: {error}") from error
    if config.hidden_size % config.num_attention_heads:
        raise ModelError(
            f"{path} has {config.num_attention_heads} heads for vectors of {config.hidden_size}: they don't fit"
        )
    for name, value, done in (
        ("hidden_act", config.hidden_act, "gelu"),
        ("position_embedding_type", config.position_embedding_type, "absolute"),
        ("is_decoder", config.is_decoder, False),
    ):
        if value != done:
            raise ModelError(f"{path} has {name} {value!r}, which the encoder does not do; {OTHER_ENGINES}")
    return config
