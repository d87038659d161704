"""What a load asks for, apart from when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from .endpoint import Endpoint
from .request import PlannedRequest


class Workload(Protocol):
    """Makes requests. Implemented by SyntheticWorkload, FileWorkload and TraceWorkload."""

    def describe(self) -> dict[str, Any]:
        """What it is, for the result."""
        ...

    def requests(self, endpoint: Endpoint, count: int, seed: Sequence[int], exact: bool) -> list[PlannedRequest]:
        """``count`` sessions' requests, those of a session one after the other, without their times.

        ``exact`` asks for answers of exactly the planned length. The same seed gives the same requests. Raises ValueError
        where the endpoint can't take them.
        """
        ...
