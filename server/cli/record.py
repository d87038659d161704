"""``pennyweight record``: look at the requests that a server has recorded, and take one out."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pennyweight.server.engines.manifest import Manifest
from pennyweight.server.errors import ConfigError
from pennyweight.server.key_file import read_key
from pennyweight.server.record.case import make_case, write_case
from pennyweight.server.record.reader import RecordingReader
from pennyweight.server.record.record import Record

# Between two looks whether there is more, in seconds.
TAIL_SECONDS = 0.25

record = typer.Typer(
    name="record",
    help="Look at the requests that a server has recorded (record.directory in its configuration).",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

Place = Annotated[Path, typer.Argument(metavar="DIR", help="The directory, or one of its files.", show_default=False)]
Id = Annotated[str, typer.Argument(metavar="ID", help="The answer's x-request-id, or its id.", show_default=False)]
KeyFile = Annotated[
    str | None, typer.Option(help="The file with the key that the recording is encrypted with.", show_default=False)
]


@record.command("list")
def list_records(
    place: Place,
    key_file: KeyFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Each whole record as a line of JSON, for programs.")] = False,
) -> None:
    """Every record: when it came, whose it is, what answered and how it ended."""
    reader = _reader(place, key_file)
    if as_json:
        for one in _records(reader):
            _print_line(one)
    else:
        table = Table(
            "id", "time", "tenant", "model", "cache", "tokens", "seconds", "end", box=None, padding=(0, 2, 0, 0)
        )
        for one in _records(reader):
            table.add_row(*map(escape, _row(one)))
        # A table in a file or a pipe is as wide as it is.
        Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(table)
    for path, nbytes in reader.torn.items():
        print(f"pennyweight: {path} ends in {nbytes} bytes of a record that was never whole", file=sys.stderr)


@record.command()
def show(place: Place, id: Id, key_file: KeyFile = None) -> None:
    """One record as JSON."""
    found, _ = _found(place, id, key_file)
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")


@record.command()
def export(
    place: Place,
    id: Id,
    out: Annotated[Path, typer.Option(help="The file to write.", show_default=False)],
    with_prompt: Annotated[
        bool, typer.Option("--with-prompt", help="With the prompt's text and token ids, which are else left out.")
    ] = False,
    key_file: KeyFile = None,
) -> None:
    """One request as a file of its own, to be run again elsewhere: the record and the manifest of what answered."""
    case = make_case(*_found(place, id, key_file), with_prompt=with_prompt)
    write_case(case, out)
    print(f"{out}{'' if case.has_prompt else ', without the prompt'}")


@record.command()
def tail(place: Place, key_file: KeyFile = None) -> None:
    """What is recorded from now on, a line of JSON for each record, until Ctrl-C."""
    reader = _reader(place, key_file)
    for _ in reader:
        pass
    try:
        while True:
            for one in _records(reader):
                _print_line(one)
            sys.stdout.flush()
            time.sleep(TAIL_SECONDS)
    except KeyboardInterrupt:
        return


def _reader(place: Path, key_file: str | None) -> RecordingReader:
    return RecordingReader([place], None if key_file is None else read_key(key_file, "--key-file"))


def _records(entries: Iterable[Manifest | Record]) -> Iterator[Record]:
    return (one for one in entries if isinstance(one, Record))


def _found(place: Path, id: str, key_file: str | None) -> tuple[Record, Manifest | None]:
    found = _reader(place, key_file).find(id)
    if found is None:
        raise ConfigError(f"{place} has no record of {id}")
    return found


def _print_line(one: Record) -> None:
    print(msgspec.json.encode(one).decode())


def _row(one: Record) -> tuple[str, ...]:
    usage, finished = one.usage, one.times.finished
    ends = {choice.finish_reason or "" for choice in one.choices}
    return (
        one.id,
        datetime.fromtimestamp(one.arrival, UTC).isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00"),
        one.tenant,
        one.model or one.request.model,
        one.cache or "",
        "" if usage is None else f"{usage.prompt_tokens} + {usage.completion_tokens}",
        "" if finished is None else f"{finished:.3f}",
        one.error or ", ".join(sorted(ends)),
    )
