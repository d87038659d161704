"""The environment with the quantising libraries, a small model that has a tokenizer, and the command that quantises it."""

from __future__ import annotations

import json
import string
import subprocess
from pathlib import Path

import pytest
from fakes.quantize_command import PYTHON, TIMEOUT, Quantize, quantize_command
from fakes.tiny_models import VOCAB_SIZE, save_tiny_model
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel

TEMPLATE = "{% for message in messages %}<{{ message.role }}>{{ message.content }}\n{% endfor %}"


@pytest.fixture(scope="session")
def python() -> str:
    """The interpreter of the environment with the libraries."""
    if not PYTHON.exists():
        pytest.skip("the quantising libraries are not installed: make quantize")
    return str(PYTHON)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of two layers, 64 and 96 columns, whose tokens are characters."""
    path = tmp_path_factory.mktemp("tiny") / "tiny-llama"
    save_tiny_model(path, "llama")
    characters = [*string.printable, *"äöüß"]
    entries = {entry: number for number, entry in enumerate(["<pad>", "<s>", "</s>", "<unk>", *characters])}
    assert len(entries) <= VOCAB_SIZE
    tokenizer = Tokenizer(WordLevel(entries, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.save(str(path / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "chat_template": TEMPLATE,
    }
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    return path


@pytest.fixture(scope="session")
def quantize() -> Quantize:
    def run(*arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = quantize_command(*arguments)
        ran = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        assert ran.returncode == code, ran.stderr
        return ran

    return run
