"""What the gate asks when it is told nothing else: a text, questions and prompts that were written for this project."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent / "data"
# Prose, letters, dialogue, code, lists and tables, mostly in English, some in eleven other languages.
HELD_TEXT = _HERE / "held_text.txt"
# Common knowledge and everyday reasoning, such as a small model has in part. See choices.read_questions.
CHOICES = _HERE / "choices.jsonl"
# What users ask for. {"prompt": ...} in each line.
PROMPTS = _HERE / "prompts.jsonl"
