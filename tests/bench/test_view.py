from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from pennyweight.bench.load import view
from pennyweight.bench.load.mode import ClosedLoop, OpenLoop
from pennyweight.bench.load.progress import Progress, combined
from pennyweight.bench.load.view import View, label


def progress(elapsed: float, events: int) -> Progress:
    return Progress(sent=9, done=5, failed=1, events=events, ttft_p50=0.25, planned=20, elapsed=elapsed)


def test_a_terminal_sees_one_line_that_changes() -> None:
    output = io.StringIO()
    with View(Console(file=output, force_terminal=True, width=120)) as shown:
        show = shown.watch(ClosedLoop(4))
        show(progress(1.0, 100))
        show(progress(2.0, 180))
        time.sleep(0.6)
    assert "4 at once: 2 s, 5 of 20 done, 4 running, 1 failed, 80 tokens/s, TTFT p50 250 ms" in output.getvalue()


def test_a_file_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    with View(Console(file=output, width=120)) as shown:
        show = shown.watch(OpenLoop(2.0))
        for number in range(10):
            show(progress(number / 10, number))
        assert output.getvalue() == ""
        monkeypatch.setattr(view, "QUIET_SECONDS", 0.0)
        show(progress(1.0, 10))
    assert output.getvalue().startswith("2 requests/s, poisson: 1 s, 5 of 20 done")
    assert output.getvalue().count("\n") == 1


def test_a_load_has_a_name() -> None:
    assert label(OpenLoop(0.5, "gamma", 2.0)) == "0.5 requests/s, gamma (CV 2)"


def test_progress_of_several_clients_adds_up() -> None:
    found = combined([Progress(4, 2, 1, 10, 0.2), Progress(3, 3, 0, 5, None)], 20, 1.5)
    assert (found.sent, found.done, found.failed, found.events, found.running) == (7, 5, 1, 15, 2)
    assert (found.ttft_p50, found.planned, found.elapsed) == (0.2, 20, 1.5)
