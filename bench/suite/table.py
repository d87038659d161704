"""A suite's steps for people: what there is to do, or what has become of each."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from .record import Outcome, Record, State
from .step import Step

STYLES = {State.DONE: "green", State.INVALID: "yellow", State.FAILED: "red", State.LATE: "yellow", State.MISSING: "dim"}


def make_table(steps: Sequence[Step], record: Record, minutes: float) -> Table:
    """The steps in their order, with estimates, and outcomes as far as there are any."""
    left = sum(step.seconds for step in steps if not record.has_result(step.name) and not step.missing)
    table = Table(title=f"{record.profile}: about {left / 60:.0f} min to do, {minutes:g} given", title_justify="left")
    for heading in ("step", "what it measures", "about, s", "took, s", ""):
        table.add_column(heading, justify="right" if heading.endswith(" s") else "left")
    for step in steps:
        outcome = record.outcomes.get(step.name)
        if outcome is None and step.missing:
            outcome = Outcome(name=step.name, state=State.MISSING, reason=step.missing)
        took, text = "", Text("to do")
        if outcome is not None:
            took = f"{outcome.seconds:.0f}" if outcome.seconds else ""
            text = Text(f"{outcome.state}  {outcome.reason.splitlines()[-1] if outcome.reason else ''}".strip())
            text.stylize(STYLES[outcome.state])
        table.add_row(step.name, step.what, f"{step.seconds:.0f}", took, text)
    return table
