from __future__ import annotations

from pathlib import Path

import pytest
from fakes.tiny_words import save_word_tokenizer
from tokenizers import Tokenizer

from pennyweight.bench.load.synthetic import make_prompts


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    path = tmp_path / "tokenizer.json"
    save_word_tokenizer(path)
    return path


@pytest.mark.parametrize("tokens", [1, 2, 62])
def test_prompts_have_exactly_the_length_asked_for(tokenizer: Path, tokens: int) -> None:
    assert [len(prompt) for prompt in make_prompts(tokenizer, count=9, tokens=tokens)] == [tokens] * 9


def test_no_two_prompts_share_a_prefix(tokenizer: Path) -> None:
    prompts = make_prompts(tokenizer, count=600, tokens=3)
    assert len({prompt[0] for prompt in prompts}) == 600


def test_prompts_are_words(tokenizer: Path) -> None:
    vocabulary = Tokenizer.from_file(str(tokenizer))
    texts = {
        vocabulary.id_to_token(token) for prompt in make_prompts(tokenizer, count=20, tokens=30) for token in prompt
    }
    assert all(text.startswith("Ġ") for text in texts)


def test_a_seed_gives_the_same_prompts_again_and_another_gives_others(tokenizer: Path) -> None:
    first = make_prompts(tokenizer, count=4, tokens=8, seed=1)
    assert make_prompts(tokenizer, count=4, tokens=8, seed=1) == first
    assert make_prompts(tokenizer, count=4, tokens=8, seed=2) != first


def test_more_prompts_than_words_are_refused(tokenizer: Path) -> None:
    with pytest.raises(ValueError, match="676 ordinary words, too few for 677 prompts"):
        make_prompts(tokenizer, count=677, tokens=2)


def test_the_default_models_vocabulary_gives_prompts(default_model: Path) -> None:
    prompts = make_prompts(default_model / "tokenizer.json", count=300, tokens=62)
    assert {len(prompt) for prompt in prompts} == {62}
