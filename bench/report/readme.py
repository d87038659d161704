"""The figures of README.md, taken from results of record: ``python -m pennyweight.bench.report.readme``.

A place for figures lies between two comments, which no reader of the page sees:

    <!-- figures: servers 2026-11-25-epyc-2-cores -->
    ...
    <!-- /figures -->

The first word says what is shown (FIGURES), the others which directories of bench/results/ it is taken from, and where the
form wants one, the name of a table. Markers that stand alone on their lines hold a block, and others hold words of a sentence.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .kinds.registry import tell
from .markdown import as_table
from .readme_servers import engine_in_front, servers, times_the_baseline
from .stored import StoredResult, find_results

_PLACE = re.compile(r"<!-- figures: (?P<what>[^>]+?) -->(?P<inside>.*?)<!-- /figures -->", re.DOTALL)

# Characters of one complaint: a peer's may go on with its log.
MAX_COMPLAINT = 160


class BadMarker(Exception):
    """A marker asks for figures that there are none of; the message says which."""


def answers(results: Sequence[StoredResult]) -> str:
    """The answers of the results' stories, as a list."""
    return "\n".join(f"- {sentence}" for one in results for sentence in tell(one).answers) + caveat(results)


def tables(results: Sequence[StoredResult]) -> str:
    """Every table of the results' stories."""
    return "\n\n".join(as_table(table) for one in results for table in tell(one).tables) + caveat(results)


def caveat(results: Sequence[StoredResult]) -> str:
    """What invalid runs complain of, each once, to stand below their figures; nothing for valid ones."""
    complaints = [one.splitlines()[0][:MAX_COMPLAINT] for stored in results for one in stored.result.complaints]
    return f"\n\n*Invalid by its own account: {'; '.join(dict.fromkeys(complaints))}.*" if complaints else ""


FIGURES: Mapping[str, Callable[[Sequence[StoredResult]], str]] = {
    "answers": answers,
    "tables": tables,
    "servers": servers,
    "times-the-baseline": times_the_baseline,
    "engine-in-front": engine_in_front,
}


def render(text: str, results: Path) -> str:
    """The text with every place for figures filled from the directory of results. Raises BadMarker and NoResult."""

    def fill(place: re.Match[str]) -> str:
        name, *directories = place["what"].split()
        table = None
        if name == "table" and directories:
            table, *directories = directories
        if (name not in FIGURES and table is None) or not directories:
            forms = ", ".join([*FIGURES, "table NAME"])
            raise BadMarker(f"{place['what']!r} wants one of {forms}, then directories of {results}")
        found = [one for directory in directories for one in find_results([results / directory])]
        shown = FIGURES[name](found) if table is None else _table(found, table)
        filled = f"\n{shown}\n" if place["inside"].startswith("\n") else shown
        return f"<!-- figures: {place['what']} -->{filled}<!-- /figures -->"

    return _PLACE.sub(fill, text)


def _table(results: Sequence[StoredResult], name: str) -> str:
    known = [table for one in results for table in tell(one).tables]
    found = [as_table(table) for table in known if table.name == name]
    if not found:
        raise BadMarker(f"no table is called {name!r}; there are {', '.join(table.name for table in known)}")
    return "\n\n".join(found) + caveat(results)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the figures of README.md anew from results of record.")
    parser.add_argument("--readme", type=Path, default=Path("README.md"))
    parser.add_argument("--results", type=Path, default=Path("bench/results"))
    options = parser.parse_args()
    before = options.readme.read_text(encoding="utf-8")
    after = render(before, options.results)
    options.readme.write_text(after, encoding="utf-8")
    print(f"{options.readme}: {'unchanged' if before == after else 'written'}")


if __name__ == "__main__":
    main()
