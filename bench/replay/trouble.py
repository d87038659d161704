"""Why a replay's figures must not be quoted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .recording import Survey
from .totals import Totals
from .verdict import Verdict

# By so much a trace may be late and still be one.
MOST_LAG_SECONDS = 1.0


def troubles(
    totals: Totals, waived: Mapping[str, str], survey: Survey, lag: float, *, interrupted: bool
) -> Iterator[str]:
    """One sentence each."""
    if interrupted:
        yield f"the replay was interrupted after {totals.requests:,} of {survey.records:,} requests"
    if failed := totals.verdicts[Verdict.FAILED.value]:
        yield f"{failed:,} of {totals.requests:,} requests got no answer"
    for name, words in waived.items():
        yield f"the server refused {name}, which was then left out: {words}"
    if lag > MOST_LAG_SECONDS:
        yield f"requests were sent up to {lag:.1f} s later than they should have been"
