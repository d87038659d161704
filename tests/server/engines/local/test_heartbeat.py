from __future__ import annotations

import threading
from itertools import count

import pytest

from pennyweight.server.engines.local import heartbeat
from pennyweight.server.engines.local.heartbeat import Heartbeat


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "SIGN_OF_LIFE_SECONDS", 0.001)


class Beats:
    """Counts up to ``most``, and then finds nobody there, which ends the heartbeat."""

    def __init__(self, most: int) -> None:
        self.count = 0
        self.ended = threading.Event()
        self._most = most

    def __call__(self) -> None:
        self.count += 1
        if self.count == self._most:
            self.ended.set()
            raise BrokenPipeError


def test_it_beats_while_there_is_progress_and_until_nobody_is_there() -> None:
    beats, numbers = Beats(3), count()
    Heartbeat(lambda: next(numbers), beats)
    assert beats.ended.wait(10)
    asked = next(numbers)
    assert not threading.Event().wait(0.05)
    assert (beats.count, next(numbers)) == (3, asked + 1)


def test_what_stands_still_has_none() -> None:
    beats, asked = Beats(1), threading.Semaphore(0)
    looks = count()

    def progress() -> int:
        asked.release()
        # The end of the test ends the thread.
        return 7 if next(looks) < 50 else 8

    Heartbeat(progress, beats)
    for _ in range(50):
        assert asked.acquire(timeout=10)
        assert beats.count == 0
    assert beats.ended.wait(10)
