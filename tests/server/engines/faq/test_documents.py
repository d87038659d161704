"""Documents: what is read of each format, and what is said of those that are wrong."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from pennyweight.server.engines.faq.documents import Entry, read_documents
from pennyweight.server.errors import ModelError

MARKDOWN = """Text before.

# Returns

## How do I *return* an `item`?

Send it back.

```
# not a heading
```

## And a gift?
The same way.

Hours
=====
From 9 to 18.

# Empty
"""


def entries(tmp_path: Path, name: str, text: str) -> list[Entry]:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8", newline="")
    return read_documents([file])


def test_json_lines_have_all_fields(tmp_path: Path) -> None:
    text = (
        '\ufeff{"question": "A?", "answer": "B."}\r\n\n'
        '{"question": "C?", "answer": "D.", "id": 7, "tags": ["t"], "valid_from": "2026-01-01", "valid_until": "2026-12-31"}'
    )
    first, second = entries(tmp_path, "faq.jsonl", text)
    assert first == Entry(id="faq.jsonl:1", question="A?", answer="B.", document="faq.jsonl")
    assert (second.id, second.tags) == ("7", ("t",))
    assert [second.is_valid(date(2026, 1, 1)), second.is_valid(date(2026, 12, 31))] == [True, True]
    assert [second.is_valid(date(2025, 12, 31)), second.is_valid(date(2027, 1, 1))] == [False, False]


def test_csv_has_the_same_by_its_columns(tmp_path: Path) -> None:
    text = 'question,answer,tags,valid_until\r\n"A, b?","C\nd.",x; y,2026-12-31\r\nE?,F.\r\n'
    first, second = entries(tmp_path, "faq.csv", text)
    assert (first.id, first.question, first.answer, first.tags) == ("faq.csv:2", "A, b?", "C\nd.", ("x", "y"))
    assert first.valid_until == date(2026, 12, 31)
    assert (second.id, second.answer, second.tags) == ("faq.csv:4", "F.", ())


def test_markdown_has_a_question_in_each_heading_with_text_below_it(tmp_path: Path) -> None:
    found = entries(tmp_path, "handbook.md", MARKDOWN)
    assert [(one.id, one.question, one.headings) for one in found] == [
        ("handbook.md:5", "How do I return an item?", ("Returns",)),
        ("handbook.md:13", "And a gift?", ("Returns",)),
        ("handbook.md:16", "Hours", ()),
    ]
    assert found[0].answer == "Send it back.\n\n```\n# not a heading\n```"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"question": "A?"}', r"a\.jsonl, line 1: .*missing required field `answer`"),
        ("a.jsonl", '{"question": "A?", "answer": "B."}\n{', r"a\.jsonl, line 2: "),
        ("a.jsonl", '{"question": "A?", "answer": "B.", "tag": 1}', "unknown field `tag`"),
        ("a.jsonl", '{"question": "A?", "answer": "B.", "valid_from": "1.1.2026"}', "line 1: .*date"),
        ("a.jsonl", '{"question": " ", "answer": "B."}', "neither empty"),
        ("a.jsonl", "[" * 100_000, "line 1: "),
        (
            "a.jsonl",
            '{"question": "A?", "answer": "B.", "valid_from": "2026-02-01", "valid_until": "2026-01-01"}',
            "valid_from is after valid_until",
        ),
        (
            "a.jsonl",
            '{"question": "A?", "answer": "B.", "id": "x"}\n{"question": "A?", "answer": "B.", "id": "x"}',
            r"line 2: the id x is that of .*line 1 too",
        ),
        ("a.csv", "question;answer\nA;B", "there is no question"),
        ("a.csv", "question,answer,x\nA,B,C", "unknown column 'x'"),
        ("a.csv", "question,answer\nA,B,C", "line 2: there are more values than columns"),
        ("a.csv", 'question,answer\n"A', "line 2: "),
        ("a.csv", "question,answer\nA,", "line 2: .*missing required field `answer`"),
        ("a.md", "no heading", "there is no entry"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        entries(tmp_path, name, text)


def test_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="can't be read: No such file"):
        read_documents([tmp_path / "none.md"])
    (tmp_path / "a.md").write_bytes(b"# A\n\xff")
    with pytest.raises(ModelError, match=r"is no UTF-8 \(byte 4\)"):
        read_documents([tmp_path / "a.md"])
