"""FAQ documents, read: JSON lines, CSV and Markdown, each made into entries."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from pennyweight.server.errors import ModelError

MAX_BYTES = 32 * 1024 * 1024
TAG_SEPARATOR = ";"
COLUMNS = ("question", "answer", "id", "tags", "valid_from", "valid_until")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A question with its answer. ``headings`` are those above the question in its document. The days of validity count both, in UTC.

    ``id`` is its own, else the document's name and the line where it begins.
    """

    id: str
    question: str
    answer: str
    document: str
    tags: tuple[str, ...] = ()
    headings: tuple[str, ...] = ()
    valid_from: date | None = None
    valid_until: date | None = None

    def is_valid(self, day: date) -> bool:
        """Whether the answer may be given on that day."""
        return (self.valid_from is None or self.valid_from <= day) and (
            self.valid_until is None or day <= self.valid_until
        )


class _Written(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    question: str
    answer: str
    id: str | int | None = None
    tags: tuple[str, ...] = ()
    valid_from: date | None = None
    valid_until: date | None = None


def read_documents(paths: Sequence[Path]) -> list[Entry]:
    """The entries of all documents in their order. Raises ModelError with the document and the line."""
    found: list[Entry] = []
    places: dict[str, str] = {}
    for path in paths:
        for line, entry in READERS[path.suffix.lower()](path, _text_of(path)):
            place = f"{path}, line {line}"
            if entry.id in places:
                raise ModelError(f"{place}: the id {entry.id} is that of {places[entry.id]} too")
            if entry.valid_from and entry.valid_until and entry.valid_from > entry.valid_until:
                raise ModelError(f"{place}: valid_from is after valid_until")
            places[entry.id] = place
            found.append(entry)
    if not found:
        raise ModelError(f"there is no entry in {', '.join(map(str, paths))}")
    return found


def _text_of(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ModelError(f"{path} is larger than {MAX_BYTES // 2**20} MiB")
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ModelError(f"{path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ModelError(f"{path} is no UTF-8 (byte {error.start})") from None


def _read_lines(path: Path, text: str) -> Iterator[tuple[int, Entry]]:
    decoder = msgspec.json.Decoder(_Written)
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                written = decoder.decode(line)
            except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
                raise ModelError(f"{path}, line {number}: {error}") from None
            yield number, _entry(path, number, written)


def _read_csv(path: Path, text: str) -> Iterator[tuple[int, Entry]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, restval="")
    line = 1
    try:
        names = reader.fieldnames or ()
        if missing := [name for name in COLUMNS[:2] if name not in names]:
            raise ModelError(f"{path}: the first line must name the columns; there is no {missing[0]}")
        if unknown := [name for name in names if name not in COLUMNS]:
            raise ModelError(f"{path} has an unknown column {unknown[0]!r}; there are {', '.join(COLUMNS)}")
        line = reader.line_num + 1
        for row in reader:
            if None in row:
                raise ModelError(f"{path}, line {line}: there are more values than columns")
            yield line, _entry(path, line, _written_row(path, line, row))
            line = reader.line_num + 1
    except csv.Error as error:
        raise ModelError(f"{path}, line {line}: {error}") from None


def _written_row(path: Path, line: int, row: Mapping[str, str]) -> _Written:
    given: dict[str, Any] = {name: value.strip() for name, value in row.items() if value.strip()}
    if "tags" in given:
        given["tags"] = [tag.strip() for tag in given["tags"].split(TAG_SEPARATOR) if tag.strip()]
    try:
        return msgspec.convert(given, _Written)
    except msgspec.ValidationError as error:
        raise ModelError(f"{path}, line {line}: {error}") from None


def _read_markdown(path: Path, text: str) -> Iterator[tuple[int, Entry]]:
    """A heading is a question, what stands until the next one its answer; one with nothing below it is for those that follow."""
    # Here, for JSON lines and CSV don't need it.
    from markdown_it import MarkdownIt

    lines = text.splitlines()
    tokens = MarkdownIt("commonmark").parse("\n".join(lines))
    headings: list[tuple[int, int, int, str]] = []
    for token, inline in itertools.pairwise(tokens):
        if token.type == "heading_open" and token.level == 0 and token.map is not None:
            parts = (child.content for child in inline.children or () if child.type in ("text", "code_inline"))
            headings.append((int(token.tag[1:]), token.map[0], token.map[1], "".join(parts).strip()))
    above: list[tuple[int, str]] = []
    for place, (level, begin, end, question) in enumerate(headings):
        above = [one for one in above if one[0] < level]
        until = headings[place + 1][1] if place + 1 < len(headings) else len(lines)
        answer = "\n".join(lines[end:until]).strip()
        if answer and question:
            written = _Written(question=question, answer=answer)
            yield begin + 1, _entry(path, begin + 1, written, tuple(name for _, name in above))
        above.append((level, question))


def _entry(path: Path, line: int, written: _Written, headings: tuple[str, ...] = ()) -> Entry:
    question, answer = written.question.strip(), written.answer.strip()
    if not question or not answer:
        raise ModelError(f"{path}, line {line}: there must be a question and an answer, and neither empty")
    return Entry(
        id=f"{path.name}:{line}" if written.id is None else str(written.id),
        question=question,
        answer=answer,
        document=path.name,
        tags=written.tags,
        headings=headings,
        valid_from=written.valid_from,
        valid_until=written.valid_until,
    )


READERS: Mapping[str, Callable[[Path, str], Iterator[tuple[int, Entry]]]] = {
    ".jsonl": _read_lines,
    ".csv": _read_csv,
    ".md": _read_markdown,
    ".markdown": _read_markdown,
}
