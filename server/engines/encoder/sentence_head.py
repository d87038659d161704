"""How one vector is made of a text's hidden states: what sentence-transformers writes beside a model."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pennyweight.server.engines.local.model_json import read_json_if_there, read_json_object
from pennyweight.server.errors import ModelError

MODULES_FILE = "modules.json"
LENGTH_FILE = "sentence_bert_config.json"
POOLING_PREFIX = "pooling_mode_"


class Pooling(enum.StrEnum):
    """Which of a text's hidden states its vector is: their mean, or the first."""

    MEAN = "mean_tokens"
    CLS = "cls_token"


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceHead:
    """``max_length`` is the longest text in tokens that the makers have the model take; None where they don't say."""

    pooling: Pooling = Pooling.MEAN
    normalize: bool = False
    max_length: int | None = None


class _Module(msgspec.Struct, frozen=True):
    type: str
    path: str = ""


def load_sentence_head(path: Path) -> SentenceHead:
    """What the model in a directory says of itself; without its modules.json the mean, as sentence-transformers has it.

    Raises ModelError for a file that can't be read or asks for what is not done here.
    """
    length = read_json_if_there(path / LENGTH_FILE).get("max_seq_length")
    if length is not None and (not isinstance(length, int) or isinstance(length, bool) or length < 1):
        raise ModelError(f"max_seq_length of {path / LENGTH_FILE} is {length!r}; it must be a positive number")
    file = path / MODULES_FILE
    if not file.is_file():
        return SentenceHead(max_length=length)
    try:
        modules = msgspec.json.decode(file.read_bytes(), type=list[_Module])
    except (OSError, msgspec.DecodeError) as error:
        raise ModelError(f"{file} can't be read: {error}") from error
    # The class alone counts: its package was another in older versions.
    match [(module.type.rpartition(".")[2], module.path) for module in modules]:
        case [("Transformer", _), ("Pooling", folder)]:
            return SentenceHead(pooling=_pooling(path / folder), max_length=length)
        case [("Transformer", _), ("Pooling", folder), ("Normalize", _)]:
            return SentenceHead(pooling=_pooling(path / folder), normalize=True, max_length=length)
        case found:
            names = ", ".join(name for name, _ in found)
            raise ModelError(f"{file} has {names or 'no modules'}; done here are Transformer, Pooling and Normalize")


def _pooling(folder: Path) -> Pooling:
    config = read_json_object(folder / "config.json")
    chosen = [
        name.removeprefix(POOLING_PREFIX) for name, on in config.items() if name.startswith(POOLING_PREFIX) and on
    ]
    try:
        (name,) = chosen
        return Pooling(name)
    except ValueError:
        raise ModelError(
            f"{folder} pools by {', '.join(chosen) or 'nothing'}; done here is one of {', '.join(Pooling)}"
        ) from None
