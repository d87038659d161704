"""The encoder's core with tiny models of random weights, and what of a model's files it refuses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.encoder.encoder_config import is_encoder
from pennyweight.server.engines.encoder.engine import EncoderCore
from pennyweight.server.engines.local.messages import Embed
from pennyweight.server.errors import ModelError

TOLERANCE = 1e-5
SIZES = {
    "vocab_size": 97,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "max_position_embeddings": 50,
}
TEXTS = [[2, 3, 4], [5], [9] * 50, [7, 8, 9, 10, 11, 12, 13], [3, 2, 4], [90, 1]]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A BERT of random weights, far enough from zero that its vectors differ."""
    torch.manual_seed(0)
    BertModel(BertConfig(**SIZES, initializer_range=0.5)).eval().save_pretrained(tmp_path)
    return tmp_path


def write_head(path: Path, *, pooling: str = "mean_tokens", normalize: bool = False, extra: Sequence[str] = ()) -> None:
    """What sentence-transformers writes beside a model."""
    names = ["Transformer", "Pooling", *(["Normalize"] if normalize else []), *extra]
    folders = {"Pooling": "1_Pooling", "Transformer": ""}
    modules = [
        {
            "idx": n,
            "name": str(n),
            "path": folders.get(name, f"{n}_{name}"),
            "type": f"sentence_transformers.models.{name}",
        }
        for n, name in enumerate(names)
    ]
    (path / "modules.json").write_text(json.dumps(modules))
    (path / "1_Pooling").mkdir(exist_ok=True)
    modes = {f"pooling_mode_{name}": name == pooling for name in ("mean_tokens", "cls_token", "max_tokens")}
    (path / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 24} | modes))


def change(path: Path, **fields: Any) -> None:
    """Set fields of the model's config.json."""
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | fields))


def core_of(path: Path, **settings: Any) -> EncoderCore:
    return EncoderCore(path, EngineSettings(**settings), on_progress=lambda done, total: None)


def embed(
    core: EncoderCore, *requests: Sequence[Sequence[int]], dimensions: int | None = None
) -> list[np.ndarray[Any, Any]]:
    """The vectors of each request, all of them submitted at once."""
    for number, texts in enumerate(requests):
        inputs = tuple(np.array(text, dtype="<i4").tobytes() for text in texts)
        core.submit(Embed(request_id=str(number), inputs=inputs, dimensions=dimensions))
    found: dict[str, np.ndarray[Any, Any]] = {}
    while core.has_work:
        for one in core.step():
            found[one.request_id] = np.stack([np.frombuffer(vector, dtype="<f4") for vector in one.vectors])
    assert core.stats().running == core.stats().waiting == 0
    return [found[str(number)] for number in range(len(requests))]


@torch.inference_mode()
def reference(path: Path, texts: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """Hidden states [L, hidden] of each text, computed alone by transformers."""
    model = BertModel.from_pretrained(path).eval()
    return [model(torch.tensor([text])).last_hidden_state[0] for text in texts]


@pytest.mark.parametrize("pooling", ["mean_tokens", "cls_token"])
@pytest.mark.parametrize("normalize", [False, True])
def test_vectors_are_as_transformers_and_the_models_pooling_have_them(
    tiny: Path, pooling: str, normalize: bool
) -> None:
    write_head(tiny, pooling=pooling, normalize=normalize)
    (found,) = embed(core_of(tiny), TEXTS)
    for vector, hidden in zip(found, reference(tiny, TEXTS), strict=True):
        expected = hidden.mean(dim=0) if pooling == "mean_tokens" else hidden[0]
        if normalize:
            expected = expected / expected.norm()
        assert np.abs(vector - expected.numpy()).max() < TOLERANCE


def test_the_batch_changes_nothing(tiny: Path) -> None:
    core = core_of(tiny, max_num_batched_tokens=100)
    alone = [embed(core, [text])[0][0] for text in TEXTS]
    together = embed(core, *([text] for text in TEXTS))
    (as_list,) = embed(core, TEXTS)
    for one, other, third in zip(alone, together, as_list, strict=True):
        assert np.abs(one - other[0]).max() < TOLERANCE
        assert np.abs(one - third).max() < TOLERANCE


def test_matryoshka_vectors_are_cut_and_scaled(tiny: Path) -> None:
    write_head(tiny, normalize=True)
    change(tiny, is_matryoshka=True, matryoshka_dimensions=[8, 24])
    core = core_of(tiny)
    assert core.config.embedding_sizes == {8, 24}
    (whole,), (cut,) = embed(core, TEXTS[:1]), embed(core, TEXTS[:1], dimensions=8)
    assert cut.shape == (1, 8)
    expected = whole[0, :8] / np.linalg.norm(whole[0, :8])
    assert np.abs(cut[0] - expected).max() < TOLERANCE
    change(tiny, matryoshka_dimensions=None)
    assert core_of(tiny).config.embedding_sizes == set(range(1, 25))


def test_what_is_aborted_is_forgotten(tiny: Path) -> None:
    core = core_of(tiny, max_num_seqs=1)
    core.submit(Embed(request_id="gone", inputs=(np.array([1], dtype="<i4").tobytes(),) * 3))
    assert core.step() == []
    assert core.stats().running == 1
    core.abort("gone")
    assert not core.has_work
    assert embed(core, TEXTS[:1])[0].shape == (1, 24)


def test_the_longest_input_is_the_makers_and_never_beyond_the_positions(tiny: Path) -> None:
    assert core_of(tiny).max_model_len == 50
    (tiny / "sentence_bert_config.json").write_text('{"max_seq_length": 30}')
    assert core_of(tiny).max_model_len == 30
    assert core_of(tiny, max_model_len=40).max_model_len == 40
    with pytest.raises(ModelError, match="50 positions"):
        core_of(tiny, max_model_len=51)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, "the encoder has BertModel"),
        ({"hidden_act": "relu"}, "hidden_act 'relu'"),
        ({"position_embedding_type": "relative_key"}, "relative_key"),
        ({"is_decoder": True}, "is_decoder"),
        ({"hidden_size": 0}, "hidden_size"),
        ({"num_attention_heads": 7}, "don't fit"),
        ({"num_hidden_layers": 3}, r"no tensor encoder\.layer\.2"),
        ({"num_hidden_layers": 1}, "does not account for"),
    ],
)
def test_a_model_that_is_not_done_is_refused(tiny: Path, fields: dict[str, Any], message: str) -> None:
    change(tiny, **fields)
    with pytest.raises(ModelError, match=message):
        core_of(tiny)


def test_a_head_that_is_not_done_is_refused(tiny: Path) -> None:
    write_head(tiny, extra=["Dense"])
    with pytest.raises(ModelError, match="Transformer, Pooling, Dense"):
        core_of(tiny)
    write_head(tiny, pooling="max_tokens")
    with pytest.raises(ModelError, match="pools by max_tokens"):
        core_of(tiny)
    (tiny / "modules.json").write_text("{}")
    with pytest.raises(ModelError, match="can't be read"):
        core_of(tiny)


def test_other_dtypes_are_refused(tiny: Path) -> None:
    with pytest.raises(ModelError, match="float32"):
        core_of(tiny, dtype="int8")


def test_encoders_are_known_by_their_architecture(tiny: Path, tmp_path: Path) -> None:
    assert is_encoder(tiny)
    change(tiny, architectures=["LlamaForCausalLM"])
    assert not is_encoder(tiny)
    assert not is_encoder(tmp_path / "model.gguf")
    assert not is_encoder(tmp_path / "nowhere")
