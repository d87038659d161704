"""A YAML file read strictly: no name twice, plain values alone, and errors that tell the place and never the text."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .errors import ConfigError


@dataclass(frozen=True, slots=True)
class Document:
    """What a file says, and the line of each name in it and of each name one level below."""

    value: Any
    lines: Mapping[tuple[str, ...], int]

    def place(self, file: Path, *names: str) -> str:
        """Where a name stands, for an error: the file, and the line where that is known."""
        line = self.lines.get(names)
        return str(file) if line is None else f"{file}, line {line},"


def read_yaml(file: Path) -> Document:
    """The one document of a file; None as its value when it says nothing.

    Raises ConfigError. The file may hold API keys, so its text is in no message, as it is in PyYAML's own.
    """
    try:
        loader = _StrictLoader(file.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        return Document(None, {}) if node is None else Document(loader.construct_document(node), _lines(node))
    except OSError as error:
        raise ConfigError(f"the configuration {file} can't be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"the configuration {file} is not valid YAML: {_reason(error)}") from None


class _TwiceError(yaml.constructor.ConstructorError):
    """A name that comes twice; YAML says that it is an error, and PyYAML takes the last."""


class _StrictLoader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a name that is no text", key.start_mark)
            if key.value in seen:
                raise _TwiceError(None, None, "a name that comes twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _lines(node: yaml.Node, above: tuple[str, ...] = ()) -> dict[tuple[str, ...], int]:
    if not isinstance(node, yaml.MappingNode):
        return {}
    lines = {}
    for key, value in node.value:
        place = (*above, str(key.value))
        lines[place] = key.start_mark.line + 1
        if not above:
            lines |= _lines(value, place)
    return lines


def _reason(error: Exception) -> str:
    # The texts of scanner and parser name single characters and kinds of tokens; those of the other steps, and of tags,
    # quote what the file says.
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return "it must be UTF-8 text with names, texts, numbers and lists alone"
    where = f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}"
    if isinstance(error, _TwiceError):
        return f"{where}: the name comes twice"
    if isinstance(error, (yaml.scanner.ScannerError, yaml.parser.ParserError)) and "tag" not in str(error.problem):
        return f"{where}: {error.problem}"
    return f"{where}: neither tags, aliases nor other kinds of values can be used; put a text that begins with !, & or * into quotes"
