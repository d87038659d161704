"""What the measurement comes to."""

from __future__ import annotations

import msgspec
from rich.table import Table

from .crash import Kept, Replayed
from .overhead import Overhead, Round


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. ``prompts`` are how many different ones there were; ``overhead`` is None where it wasn't measured; ``failures`` tell of
    what could not be.
    """

    prompts: int
    kept: Kept
    replayed: Replayed
    rounds: list[Round]
    overhead: Overhead | None
    failures: list[str] = []

    @property
    def complaints(self) -> list[str]:
        """What was promised and isn't so."""
        found = []
        if self.kept.lost:
            found.append(f"{self.kept.lost} records that were acknowledged are in no file")
        parted = self.replayed.acknowledged - self.replayed.acknowledged_bitwise - self.kept.lost
        if parted > 0:
            found.append(f"{parted} acknowledged records did not give the same bits again")
        if self.replayed.generations < self.replayed.bitwise:
            found.append(f"the replaying engine counted {self.replayed.generations} generations only")
        return [*found, *self.failures]


def table(account: Account) -> Table:
    """For people."""
    kept, replayed = account.kept, account.replayed
    shown = Table(title="recorded, killed, and run again")
    shown.add_column("")
    shown.add_column("", justify="right")
    rows = {
        "requests": f"{kept.asked:,}",
        "answered": f"{kept.answered:,}",
        "cut off by the server's end": f"{kept.broken:,}",
        "acknowledged": f"{kept.acknowledged:,} ({kept.acknowledged / max(kept.answered, 1):.2%} of answers)",
        "acknowledged and lost": f"{kept.lost:,}",
        "records": f"{kept.records:,}",
        "files that end within a line": f"{kept.torn:,}",
        "bytes a record": f"{kept.file_bytes / max(kept.records, 1):,.0f}",
        "replayed bitwise equal": f"{replayed.bitwise:,} of {replayed.requests:,}",
        "of the acknowledged": f"{replayed.acknowledged_bitwise:,} of {replayed.acknowledged:,}",
        "generations of the replay": f"{replayed.generations:,}",
    }
    rows |= {f"not equal: {name}": f"{count:,}" for name, count in replayed.others.items()}
    if (lost := account.overhead) is not None:
        rows["throughput that recording takes"] = f"{lost.throughput:.1%} ({lost.low:.1%} to {lost.high:.1%})"
        rows["CPU time that it adds"] = f"{lost.cpu:.1%}"
    for name, value in rows.items():
        shown.add_row(name, value)
    return shown
