"""How the workers of pytest-xdist (``pytest -n 3``) share the tests: file by file, what takes longest first.

Two folders stay whole, as all their files use what their fixtures start or make: servers of every engine, and checkpoints.
"""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

_WHOLE = ("tests/engines/", "tests/quantize/")
# Minutes each: whoever began with them last would end long after the others.
_LONGEST = (*_WHOLE, "tests/server/engines/native/", "tests/server/engines/vllm/", "tests/kernels/triton/")


def longest_first(items: list[pytest.Item]) -> None:
    """Put the tests into the order in which they are handed out; a file's stay together."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONGEST))


class FileScheduling(LoadScopeScheduling):
    """Gives a worker one unit of work after another, in the tests' order: a file's tests, or a whole folder's."""

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        config.option.loadscopereorder = False  # else by their number, which says nothing of how long they take
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return next((folder for folder in _WHOLE if nodeid.startswith(folder)), nodeid.partition("::")[0])
