"""The sign of life of a step loop that is deep in a long step."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .process import SIGN_OF_LIFE_SECONDS


class Heartbeat:
    """Calls ``beat`` now and then from a thread of its own, as long as ``progress()`` is another number each time.

    A step of a large model, or of slow kernels, may take longer than the server would wait for news: it isn't hung while it gets on. What
    stands still has no heartbeat, however busy its processor is. Ends with the process, or when ``beat`` finds nobody there.
    """

    def __init__(self, progress: Callable[[], int], beat: Callable[[], None]) -> None:
        self._progress = progress
        self._beat = beat
        self._never = threading.Event()
        threading.Thread(target=self._run, name="heartbeat", daemon=True).start()

    def _run(self) -> None:
        seen = self._progress()
        while not self._never.wait(SIGN_OF_LIFE_SECONDS):
            now = self._progress()
            if now != seen:
                seen = now
                try:
                    self._beat()
                except OSError:
                    return  # the step loop will find the same
