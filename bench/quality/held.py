"""What both models are asked, from files of the user's or from the shipped ones."""

from __future__ import annotations

from pathlib import Path

import msgspec

from pennyweight.bench.load.prompt_file import read_prompts
from pennyweight.quantize.quality import samples
from pennyweight.quantize.quality.choices import read_questions
from pennyweight.quantize.quality.evaluation import Held, spread


class HeldFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Files, None for the shipped ones, and how many questions and prompts of them are taken at most."""

    text: Path | None
    choices: Path | None
    prompts: Path | None
    max_questions: int
    max_prompts: int

    def read(self) -> Held:
        """What is in them. Raises ValueError and OSError."""
        rows = read_prompts(self.prompts or samples.PROMPTS)
        return Held(
            (self.text or samples.HELD_TEXT).read_text(encoding="utf-8"),
            spread(read_questions(self.choices or samples.CHOICES), self.max_questions),
            spread([str(row.messages[0]["content"]) for row in rows if row.messages], self.max_prompts),
        )
