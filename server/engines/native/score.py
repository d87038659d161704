"""The process that tells a model's distributions: ``python -m pennyweight.server.engines.native.score JSON``.

The JSON has the engine's settings. It speaks ``quantize.quality.protocol`` on its standard input and output, and loads a
model as the engine does: the same kernels, precisions and formats.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import IO

import msgspec

from pennyweight.quantize.quality.protocol import (
    Answers,
    Chat,
    Encode,
    Failed,
    Generate,
    Loaded,
    Logits,
    Logprobs,
    Question,
    Rows,
    Tokens,
    Values,
    read_question,
    write,
)
from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.local.memory import process_tree_bytes
from pennyweight.server.engines.local.model_store import resolve
from pennyweight.server.engines.local.text_side import TextSide, load_text_side
from pennyweight.server.errors import ModelError
from pennyweight.server.types import ChatPrompt, Message

from .scorer import Scorer


def main() -> None:
    """Load the model, say so, and answer questions until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the gate's to handle
    questions = sys.stdin.buffer
    # What a library prints must not get between the frames.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        settings = msgspec.json.decode(sys.argv[1], type=EngineSettings)
        path = resolve(settings.model)
        scorer, text = Scorer(path, settings), load_text_side(path, settings)
    except ModelError as error:
        write(answers, Failed(str(error)))
        return
    write(answers, _loaded(path, scorer))
    while (question := read_question(questions)) is not None:
        answer(question, scorer, text, answers)


def answer(question: Question, scorer: Scorer, text: TextSide, answers: IO[bytes]) -> None:
    """Answer one question."""
    match question:
        case Encode(text=wanted):
            write(answers, Tokens(text.tokenizer.encode(wanted, add_special_tokens=True)))
        case Chat(message=message):
            write(answers, Tokens(_chat(text, message)))
        case Logits(token_ids=token_ids, first=first):
            for logits in scorer.logits(token_ids, first):
                write(answers, Rows(logits.cpu().numpy().astype("<f4", copy=False).tobytes()))
        case Logprobs(token_ids=token_ids, first=first):
            write(answers, Values(scorer.logprobs(token_ids, first)))
        case Generate(prompts=prompts, max_tokens=max_tokens):
            ends = frozenset(text.defaults.eos_token_ids)
            write(answers, Answers(scorer.generate(prompts, max_tokens, ends)))


def _chat(text: TextSide, message: str) -> list[int]:
    if text.template is None:
        return text.tokenizer.encode(message, add_special_tokens=True)
    written = text.template.render(ChatPrompt(messages=(Message(role="user", content=message),)))
    return text.tokenizer.encode(written, add_special_tokens=False)


def _loaded(path: Path, scorer: Scorer) -> Loaded:
    runner = scorer.runner
    return Loaded(
        path=str(path),
        vocab_size=runner.vocab_size,
        max_model_len=runner.max_model_len,
        fingerprint=runner.fingerprint(),
        details={
            "dtype": str(runner.precision),
            "kv_cache_dtype": runner.fingerprint()["kv_cache_dtype"],
            "device": str(runner.device),
            "kernels": runner.kernels_name,
        },
        quantization=scorer.quantization,
        disk_bytes=_disk_bytes(path),
        weight_bytes=runner.cost.weight_bytes,
        resident_bytes=process_tree_bytes(os.getpid()),
    )


def _disk_bytes(path: Path) -> int:
    """Of the files of weights."""
    files = [path] if path.is_file() else path.glob("*.safetensors")
    return sum(file.stat().st_size for file in files)


if __name__ == "__main__":
    main()
