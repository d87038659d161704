"""How far a suite has come: written after every step, so that a suite that was ended in between goes on where it was."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

FILE = "suite.json"


class State(StrEnum):
    """What became of a step. FAILED and LATE ones are tried again when the suite goes on."""

    DONE = "done"
    INVALID = "invalid"  # there is a result, which says why its figures must not be quoted
    FAILED = "failed"
    LATE = "late"  # the time was up before, or during it
    MISSING = "missing"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One step's: seconds that it took, and why it is not DONE."""

    name: str
    state: State
    seconds: float = 0.0
    reason: str = ""


class Record(msgspec.Struct, kw_only=True):
    """The profile and subject that a directory's steps belong to, and the outcomes so far by step."""

    profile: str
    subject: Mapping[str, Any]
    outcomes: dict[str, Outcome] = {}

    def has_result(self, name: str) -> bool:
        outcome = self.outcomes.get(name)
        return outcome is not None and outcome.state in (State.DONE, State.INVALID)

    def save(self, directory: Path) -> None:
        """Replace the file in one go: a suite that is killed leaves the old one or the new one."""
        new = directory / f"{FILE}.new"
        new.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1))
        os.replace(new, directory / FILE)


def open_record(directory: Path, profile: str, subject: Mapping[str, Any]) -> Record:
    """That of the suite in a directory, or a new one. Raises ValueError when what is there measured something else."""
    file = directory / FILE
    if not file.exists():
        return Record(profile=profile, subject=subject)
    try:
        found = msgspec.json.decode(file.read_bytes(), type=Record)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{file} can't be read ({error}): name another directory") from error
    if (found.profile, found.subject) != (profile, subject):
        changed = [name for name, value in subject.items() if found.subject.get(name) != value]
        raise ValueError(
            f"{directory} holds a suite of other options ({', '.join(changed) or 'the profile'}): name another directory"
        )
    return found
