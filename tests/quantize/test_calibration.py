"""Calibration data: what is read, what is refused, and how it is cut into pieces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pennyweight.quantize.calibration.documents import calibration_files, digest_of, read_documents
from pennyweight.quantize.calibration.pieces import make_pieces
from pennyweight.quantize.errors import QuantizeError


class CharacterTokenizer:
    """A token for each character, with marks at both ends."""

    bos_token_id = 1
    eos_token_id = 2

    def __init__(self, chat_template: str | None = None) -> None:
        self.chat_template = chat_template

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        assert not add_special_tokens
        return [ord(character) for character in text]

    def apply_chat_template(self, conversation: list[dict[str, str]], *, tokenize: bool) -> Any:
        assert not tokenize
        return "".join(f"<{message['role']}>{message['content']}" for message in conversation)


def test_the_sample_that_comes_along_is_varied() -> None:
    files = calibration_files(None)
    documents = read_documents(files)
    size = sum(file.stat().st_size for file in files)
    assert 60_000 <= size <= 100_000
    chats = [document for document in documents if isinstance(document, list)]
    assert len(chats) >= 50
    assert all(chat[-1]["role"] == "assistant" for chat in chats)
    text = " ".join(document if isinstance(document, str) else document[-1]["content"] for document in documents)
    # Latin, Cyrillic, Greek, Arabic, Devanagari, Chinese, Japanese and Korean letters; code; numbers.
    assert all(sign in text for sign in ("ß", "ж", "φ", "ع", "ग", "清", "駅", "할", "def ", "#include", "3.14159"))
    paragraphs = [one for document in documents if isinstance(document, str) for one in document.split("\n\n")]
    assert len(set(paragraphs)) == len(paragraphs)


def test_text_and_json_lines_of_each_kind(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("plain text\n")
    (tmp_path / "empty.txt").write_text("  \n")
    chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    rows = [{"messages": chat, "id": 7}, {"text": "a text"}, chat]
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    assert read_documents(calibration_files(tmp_path)) == ["plain text\n", chat, "a text", chat]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "line 2"),
        ('{"messages": []}', "neither"),
        ('{"prompt": "x"}', "neither"),
        ('{"messages": [{"role": "user", "content": ["x"]}]}', "both text"),
    ],
)
def test_a_line_that_is_no_document_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text(f'{{"text": "fine"}}\n{line}\n')
    with pytest.raises(QuantizeError, match=f"line 2 .*{complaint}" if complaint != "line 2" else complaint):
        read_documents([file])


def test_data_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(QuantizeError, match="no such file"):
        calibration_files(tmp_path / "none.txt")
    with pytest.raises(QuantizeError, match="has no files"):
        calibration_files(tmp_path)
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(QuantizeError, match="UTF-8"):
        read_documents([tmp_path / "bytes.txt"])


def test_the_digest_is_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    (tmp_path / "b").write_text("one")
    (tmp_path / "c").write_text("two")
    assert digest_of([tmp_path / "a"]) == digest_of([tmp_path / "b"]) != digest_of([tmp_path / "c"])


def test_pieces_are_full_and_spread_over_all_documents() -> None:
    documents: list[Any] = [letter * 98 for letter in "abcdefghij"]
    pieces = make_pieces(documents, CharacterTokenizer(), length=50, count=100)
    assert len(pieces) == 20
    assert all(len(piece) == 50 for piece in pieces)
    assert sum(piece.count(1) for piece in pieces) == sum(piece.count(2) for piece in pieces) == 10
    fewer = make_pieces(documents, CharacterTokenizer(), length=50, count=10)
    assert fewer == pieces[::2]
    assert pieces == make_pieces(documents, CharacterTokenizer(), length=50, count=100)


def test_chats_take_the_models_template_where_it_has_one() -> None:
    chat = [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "c"}]

    def text(tokenizer: CharacterTokenizer) -> str:
        (piece,) = make_pieces([chat], tokenizer, length=500, count=1)
        return "".join(map(chr, piece))

    assert text(CharacterTokenizer("a template")) == "<user>ab<assistant>c"
    assert text(CharacterTokenizer()) == "\x01ab\n\nc\x02"


def test_data_without_text_is_refused() -> None:
    with pytest.raises(QuantizeError, match="no text"):
        make_pieces([], CharacterTokenizer(), length=16, count=1)
