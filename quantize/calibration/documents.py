"""Calibration data as it is written: plain texts and chats."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pennyweight.quantize.errors import QuantizeError

# Written for this project: prose, reference, dialogue, code, tables, letters, two dozen languages, questions with their answers.
# Varied on purpose: a method that looks at activations learns which of them matter from what it is shown.
SAMPLE = Path(__file__).parent / "sample"
SAMPLE_NAME = "the sample that comes with pennyweight"

# A text, or the messages of a chat.
Document = str | list[dict[str, str]]


def calibration_files(given: Path | None) -> tuple[Path, ...]:
    """The files of the sample, or the one that is given, or those in a directory that is given. Raises QuantizeError."""
    path = given or SAMPLE
    files = tuple(sorted(file for file in path.iterdir() if file.is_file())) if path.is_dir() else (path,)
    if missing := [file for file in files if not file.is_file()]:
        raise QuantizeError(f"--calibration {missing[0]}: there is no such file")
    if not files:
        raise QuantizeError(f"--calibration {path} has no files")
    return files


def read_documents(files: Sequence[Path]) -> list[Document]:
    """The documents of all files in turn. Raises QuantizeError where one can't be understood."""
    return [document for file in files for document in _documents(file)]


def digest_of(files: Sequence[Path]) -> str:
    """sha256, in hexadecimal, of the files' bytes one after the other."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _documents(file: Path) -> Iterator[Document]:
    """A file's whole text, or of JSON lines each line: ``{"messages": [...]}``, ``{"text": "..."}``, or a list of messages."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise QuantizeError(f"the calibration data {file} can't be read as UTF-8: {error}") from None
    if file.suffix != ".jsonl":
        if text.strip():
            yield text
        return
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            yield _document(json.loads(line))
        except ValueError as error:
            raise QuantizeError(f"line {number} of the calibration data {file}: {error}") from None


def _document(row: Any) -> Document:
    """Raises ValueError."""
    if isinstance(row, dict) and isinstance(row.get("text"), str):
        text: str = row["text"]
        return text
    messages = row.get("messages") if isinstance(row, dict) else row
    if not isinstance(messages, list) or not messages:
        raise ValueError('it has neither "messages" nor "text"')
    for message in messages:
        if not isinstance(message, dict) or not all(isinstance(message.get(key), str) for key in ("role", "content")):
            raise ValueError("each message needs a role and a content, both text")
    return [{"role": message["role"], "content": message["content"]} for message in messages]
