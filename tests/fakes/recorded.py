"""Records that were never made by a server, and the answers that would be the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from pennyweight.bench.replay.answer import Answer, AnsweredChoice
from pennyweight.server.engines.manifest import Manifest
from pennyweight.server.record.line import Header, encode_line
from pennyweight.server.record.record import Record, RecordedChoice
from pennyweight.server.types import Request, SamplingParams, TextPrompt

TOKENS = (11, 12, 13, 14)
HASHES = bytes(range(8 * len(TOKENS)))


def recorded_choice(**changes: Any) -> RecordedChoice:
    """A whole choice of four tokens, with hashes of their logits."""
    whole = RecordedChoice(index=0, token_ids=TOKENS, text="a b c d", finish_reason="length", logits_hashes=HASHES)
    return msgspec.structs.replace(whole, **changes)


def record(number: int = 0, **changes: Any) -> Record:
    """A greedy completion's record, with one choice."""
    whole = Record(
        id=f"request{number}",
        arrival=1000.0 + number,
        endpoint="/v1/completions",
        received=f'{{"model":"tiny","prompt":"Say {number}","max_tokens":4,"temperature":0}}',
        request=Request(
            id=f"request{number}",
            model="tiny",
            prompt=TextPrompt(text=f"Say {number}"),
            sampling=SamplingParams(max_tokens=4, temperature=0.0),
        ),
        prompt_token_ids=(1, 2, 3),
        model="tiny",
        manifest="fp_one",
        choices=(recorded_choice(),),
    )
    return msgspec.structs.replace(whole, **changes)


def answered_choice(**changes: Any) -> AnsweredChoice:
    """The same choice as it is answered."""
    same = AnsweredChoice(index=0, token_ids=TOKENS, hashes=HASHES, text="a b c d", finish_reason="length")
    return msgspec.structs.replace(same, **changes)


def answer(*choices: AnsweredChoice, **changes: Any) -> Answer:
    """The same answer."""
    same = Answer(
        status=200,
        model="tiny",
        fingerprint="fp_one",
        prompt_token_ids=(1, 2, 3),
        choices=choices or (answered_choice(),),
    )
    return msgspec.structs.replace(same, **changes)


def write_recording(path: Path, *entries: Manifest | Record) -> Path:
    """A recording's file, as the server writes it."""
    lines = [Header(pennyweight="0.1.0", began=1000.0), *entries]
    path.write_bytes(b"".join(encode_line(entry) + b"\n" for entry in lines))
    return path
