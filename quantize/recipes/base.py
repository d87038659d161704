"""What the recipes share: calibration text as tokens of the model that is quantised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from pennyweight.quantize.calibration.documents import read_documents
from pennyweight.quantize.calibration.pieces import make_pieces
from pennyweight.quantize.job import Job, Report

# With fewer tokens for each column than this, what GPTQ learns of the columns' company is mostly chance.
FEW_TOKENS_PER_COLUMN = 4


def calibration_pieces(job: Job, report: Report, widest: int) -> list[list[int]]:
    """Token ids of each piece; none where the recipe needs none. ``widest`` is the most columns that a projection has.

    Raises QuantizeError where the data can't be read or has no text.
    """
    if job.calibration is None:
        return []
    tokenizer: Any = AutoTokenizer.from_pretrained(job.source)
    documents = read_documents([Path(file) for file in job.calibration.files])
    pieces = make_pieces(documents, tokenizer, job.calibration.tokens, job.calibration.samples)
    tokens = sum(map(len, pieces))
    report.note(f"calibrating on {len(pieces)} pieces of text, {tokens} tokens")
    if tokens < FEW_TOKENS_PER_COLUMN * widest:
        report.note(
            f"that is little for projections of {widest} columns, and the result may be worse than plain rounding: "
            f"give {FEW_TOKENS_PER_COLUMN * widest} tokens or more by --calibration"
        )
    return pieces
