"""Prompts from a file: JSON Lines of prompts, messages, turns or ShareGPT's conversations, or plain text of one a line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from .endpoint import Endpoint
from .lengths import Lengths
from .request import PlannedRequest

FORMS = '{"prompt": ...}, {"messages": [...]}, {"turns": [...]} or {"conversations": [...]}'
HUMAN = ("human", "user")


class PromptRow(msgspec.Struct, frozen=True):
    """One row: messages to begin with, what the user says after each answer, and how many tokens to ask for, if it says."""

    messages: list[dict[str, Any]]
    later: list[str] = msgspec.field(default_factory=list)
    token_ids: list[int] | None = None
    output_tokens: int | None = None


class FileWorkload(msgspec.Struct, frozen=True):
    """A file's prompts in random order, over and over. ``turns`` is how many of a row's are sent at most, as a session."""

    path: Path
    rows: list[PromptRow]
    output_tokens: Lengths
    turns: int = 1
    think_time: float = 0.0

    def describe(self) -> dict[str, Any]:
        """For the result."""
        rest = {name: getattr(self, name) for name in ("output_tokens", "turns", "think_time")}
        return {"kind": "file", "path": str(self.path), "rows": len(self.rows), **rest}

    def requests(self, endpoint: Endpoint, count: int, seed: Sequence[int], exact: bool) -> list[PlannedRequest]:
        """``count`` rows' requests. The same seed gives the same ones."""
        generator = np.random.default_rng([*seed, 0xF11E])
        order = [int(row) for _ in range(0, count, len(self.rows)) for row in generator.permutation(len(self.rows))]
        found = []
        for number, row in enumerate(self.rows[row] for row in order[:count]):
            later = row.later[: self.turns - 1] if endpoint.api == "chat" else []
            for prompt in (_prompt(endpoint, row), *([{"role": "user", "content": text}] for text in later)):
                tokens = row.output_tokens or self.output_tokens.draw(1, generator)[0]
                found.append(
                    PlannedRequest(
                        body=endpoint.body(prompt, tokens, exact=exact),
                        prompt_tokens=len(row.token_ids) if row.token_ids and endpoint.api == "completions" else None,
                        output_tokens=tokens,
                        session=number if later else None,
                        think_time=self.think_time,
                    )
                )
        return found


def read_prompts(path: Path) -> list[PromptRow]:
    """The rows of a file, which may be gzipped. Raises ValueError, with the line's number, and OSError."""
    rows = list(_rows(path))
    if not rows:
        raise ValueError(f"{path} has no prompts")
    return rows


def _rows(path: Path) -> Iterator[PromptRow]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        if path.name.removesuffix(".gz").endswith(".json"):
            for number, row in enumerate(json.load(lines), 1):
                yield _row(row, f"{path}, row {number}")
            return
        is_text = path.name.removesuffix(".gz").endswith(".txt")
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            if is_text:
                yield PromptRow(_said(line.strip()))
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: no JSON ({error}); plain text wants a name in .txt") from None
            yield _row(row, f"{path}, line {number}")


def _row(row: Any, where: str) -> PromptRow:
    if not isinstance(row, dict):
        raise ValueError(f"{where}: no object; write {FORMS}")
    output_tokens = row.get("output_tokens", row.get("max_tokens"))
    turns = row.get("turns")
    if isinstance(talk := row.get("conversations"), list):
        turns = [said.get("value") for said in talk if said.get("from") in HUMAN]
    match row:
        case {"messages": [_, *_] as messages}:
            return PromptRow(messages, output_tokens=output_tokens)
        case {"prompt": str(text)}:
            return PromptRow(_said(text), output_tokens=output_tokens)
        case {"prompt": [int(), *_] as ids}:
            return PromptRow([], token_ids=ids, output_tokens=output_tokens)
    if isinstance(turns, list) and turns and all(isinstance(turn, str) for turn in turns):
        return PromptRow(_said(turns[0]), turns[1:], output_tokens=output_tokens)
    raise ValueError(f"{where}: no prompt in it; write {FORMS}")


def _said(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def _prompt(endpoint: Endpoint, row: PromptRow) -> list[int] | str | list[dict[str, Any]]:
    """Raises ValueError where the endpoint can't take a row of that form."""
    if endpoint.api == "chat":
        if row.token_ids is not None:
            raise ValueError("token ids can't be sent to chat; take --endpoint completions")
        return row.messages
    if row.token_ids is not None:
        return row.token_ids
    if len(row.messages) != 1 or not isinstance(row.messages[0].get("content"), str):
        raise ValueError("several messages can't be sent to completions; take --endpoint chat")
    return str(row.messages[0]["content"])
