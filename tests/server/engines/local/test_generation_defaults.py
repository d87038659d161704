"""Defaults and ends of sequence, from the model or from where the operator says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pennyweight.server.engines.local.generation_defaults import GenerationDefaults, load_generation_defaults
from pennyweight.server.errors import ModelError


def save(path: Path, config: dict[str, Any], generation: Any = None) -> Path:
    (path / "config.json").write_text(json.dumps(config))
    if generation is not None:
        (path / "generation_config.json").write_text(
            generation if isinstance(generation, str) else json.dumps(generation)
        )
    return path


def test_the_model_s_defaults_and_all_its_ends_are_taken(tmp_path: Path) -> None:
    generation = {"temperature": 0.6, "top_p": 0.9, "top_k": 40, "repetition_penalty": 1.05, "eos_token_id": [9, 8]}
    found = load_generation_defaults(save(tmp_path, {"eos_token_id": 7}, generation))
    assert found == GenerationDefaults(
        temperature=0.6, top_p=0.9, top_k=40, repetition_penalty=1.05, eos_token_ids=(7, 8, 9)
    )


def test_a_model_without_opinions_has_none(tmp_path: Path) -> None:
    assert load_generation_defaults(save(tmp_path, {"eos_token_id": None})) == GenerationDefaults()


@pytest.mark.parametrize("source", ["neutral", "vllm"])
def test_neutral_keeps_the_ends_alone(tmp_path: Path, source: str) -> None:
    save(tmp_path, {}, {"temperature": 0.6, "eos_token_id": 2})
    assert load_generation_defaults(tmp_path, source) == GenerationDefaults(eos_token_ids=(2,))


def test_another_directory_s_defaults_leave_the_ends_the_model_s(tmp_path: Path) -> None:
    model, other = tmp_path / "model", tmp_path / "other"
    for path in (model, other):
        path.mkdir()
    save(model, {"eos_token_id": 2}, {"temperature": 0.6})
    save(other, {}, {"temperature": 0.2, "eos_token_id": 99})
    assert load_generation_defaults(model, str(other)) == GenerationDefaults(temperature=0.2, eos_token_ids=(2,))


@pytest.mark.parametrize(
    ("generation", "message"),
    [
        ("[1]", "no JSON object"),
        ("{", "can't be read"),
        ({"eos_token_id": "two"}, "token ids are expected"),
        ({"eos_token_id": True}, "token ids are expected"),
        ({"eos_token_id": [2, -1]}, "token ids are expected"),
        ({"temperature": -1}, "temperature .* must be a number from 0"),
        ({"temperature": True}, "temperature"),
        ('{"temperature": NaN}', "temperature"),
        ({"top_p": "most"}, "top_p"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, generation: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_generation_defaults(save(tmp_path, {}, generation))


def test_a_place_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no /nowhere"):
        load_generation_defaults(save(tmp_path, {}), "/nowhere")


@pytest.mark.parametrize(("top_k", "taken"), [(-1, 0), (0, 0), (50, 50)])
def test_top_k_has_two_ways_to_be_off(tmp_path: Path, top_k: int, taken: int) -> None:
    assert load_generation_defaults(save(tmp_path, {}, {"top_k": top_k})).top_k == taken


def test_a_file_of_the_operator_s_is_read_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('{"temperature": 0}')
    assert load_generation_defaults(save(tmp_path, {}), str(tmp_path / "mine.json")).temperature == 0
