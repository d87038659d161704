"""What the README says of ``bench compare``: the table of servers, and the sentences about it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from .kinds.compare import OWN, SPEED, Data, Row, concurrencies
from .stored import StoredResult

GIB = 2**30


def servers(results: Sequence[StoredResult]) -> str:
    """Each server's medians, our own first and the fastest of them on top, with their ratios to the best of the baseline."""
    (stored,) = results
    rows = msgspec.convert(stored.result.data, Data).rows
    levels = concurrencies(rows)
    least = f"{SPEED}@{levels[0]}"
    ordered = sorted(rows, key=lambda row: (row.peer != OWN, -row.medians[least] if row.peer == OWN else 0))
    streams = ["1 stream" if level == 1 else f"{level} streams" for level in levels]
    headings = ["server", *(f"tokens/s, {one}" for one in streams)]
    headings += [f"TTFT p50, {' / '.join(map(str, levels))} streams", "ready after", "resident"]
    lines = [f"| {' | '.join(headings)} |", "|" + "---|" * len(headings)]
    for row in ordered:
        ttft = " / ".join(f"{1000 * row.medians[f'ttft_p50@{level}']:.0f}" for level in levels)
        cells = [
            _name(row, stored.result.versions.get(row.peer, "")),
            *(f"{row.medians[f'{SPEED}@{level}']:.0f}{_ratio(row, f'{SPEED}@{level}')}" for level in levels),
        ]
        cells = [f"**{cell}**" for cell in cells] if row.peer == OWN else cells
        ready, resident = row.medians["seconds_to_ready"], row.medians["resident_bytes"]
        cells += [
            f"{ttft} ms",
            f"{ready:.{0 if ready >= 60 else 1}f} s{_ratio(row, 'seconds_to_ready')}",
            f"{resident / GIB:.1f} GiB{_ratio(row, 'resident_bytes')}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def times_the_baseline(results: Sequence[StoredResult]) -> str:
    """The span of our ratios to the baseline's best over all results: tokens, memory and start."""
    own = [row for one in results for row in msgspec.convert(one.result.data, Data).rows if row.peer == OWN]
    speeds = [
        (ratio, row.variant, int(name.partition("@")[2]))
        for row in own
        for name, ratio in row.ratios.items()
        if name.startswith(f"{SPEED}@")
    ]
    (least, of_least, at_least), (most, of_most, at_most) = min(speeds), max(speeds)
    memory = [row.ratios["resident_bytes"] for row in own]
    ready = [row.medians["seconds_to_ready"] for row in own]
    return (
        f"{least:.2f} ({of_least}, {_streams(at_least)}) to {most:.2f} times ({of_most}, {_streams(at_most)}) its tokens, "
        f"{min(memory):.2f} to {max(memory):.2f} times its memory, {min(ready):.1f} to {max(ready):.1f} s after the start"
    )


def engine_in_front(results: Sequence[StoredResult]) -> str:
    """Our server on another's engine against that other server, in its fastest configuration, at the most streams."""
    (stored,) = results
    rows = msgspec.convert(stored.result.data, Data).rows
    level = concurrencies(rows)[-1]
    speed, ttft = f"{SPEED}@{level}", f"ttft_p50@{level}"
    ours = max((row for row in rows if row.peer == OWN), key=lambda row: row.medians[speed])
    theirs = max((row for row in rows if row.peer != OWN), key=lambda row: row.medians[speed])
    return (
        f"{ours.medians[speed]:.0f} tokens/s at {_streams(level)} where vLLM's own gave {theirs.medians[speed]:.0f} "
        f"({ours.ratios[speed]:.2f}), at a TTFT p50 of {ours.medians[ttft]:.1f} s against {theirs.medians[ttft]:.1f} s"
    )


def _streams(level: int) -> str:
    return "one stream" if level == 1 else f"{level} streams"


def _ratio(row: Row, name: str) -> str:
    return f" ({row.ratios[name]:.2f})" if row.peer == OWN and name in row.ratios else ""


def _name(row: Row, versions: str) -> str:
    """As readers know it: "vLLM 0.32 bfloat16, compiled"."""
    if row.peer != "vllm":
        return row.name
    found = re.search(r"vllm\S* (\d+\.\d+)", versions)
    mode = row.variant.rsplit(" ", 1)
    return " ".join(part for part in ("vLLM", found[1] if found else "", ", ".join(mode)) if part)
