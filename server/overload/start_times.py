"""How much of the time until an engine began to answer was spent in its queue."""

from __future__ import annotations

from pennyweight.server.types import ChatPrompt, Delta, Prompt, TextPrompt

# Of an interval between two tokens, in the mean that is kept of them.
WEIGHT = 1 / 64
# Seconds after which what was seen at its least counts no more.
MEMORY_SECONDS = 60.0


class StartTimes:
    """The engine's step, which is the time between two tokens of an answer, and what a start takes beside waiting.

    Where the engine tells how long a request waited for its first step (``Started.queue_seconds``), that is the wait, less the
    longer of a step and what its own start took: whoever comes while a step is computed waits for its end, also when there is no
    queue, and steps that begin answers are the longer ones. An engine that doesn't tell is
    measured by its own clock. Its first token takes so many steps for a prompt of such a length, however full its batch is; what it
    takes beyond the fewest that were seen of late is waiting. (In seconds, the fewest would be those of an idle engine, and a
    full batch would pass for a queue.)
    """

    def __init__(self) -> None:
        self.step = 0.0
        self._least: dict[int, _Least] = {}

    def interval(self, seconds: float, delta: Delta) -> None:
        """The time from an answer's last delta to this one."""
        step = seconds / max(len(delta.token_ids), 1)
        self.step = step if not self.step else self.step + WEIGHT * (step - self.step)

    def waited(self, seconds: float, queue_seconds: float | None, prompt: Prompt, now: float) -> float:
        """Of the ``seconds`` that a start took, those spent in the engine's queue."""
        if queue_seconds is not None:
            own = max(seconds - queue_seconds, self.step)
            return min(max(queue_seconds - own, 0.0), seconds)
        if not self.step:
            return 0.0  # nothing is known yet of the engine's pace
        steps = seconds / self.step
        least = self._least.setdefault(length(prompt).bit_length(), _Least(now))
        fewest = least.of(steps, now)
        # One step more or less is the time within a step at which a request came.
        return max(steps - fewest - 1.0, 0.0) * self.step


class _Least:
    """The least of the values of the last ``MEMORY_SECONDS`` to twice that."""

    __slots__ = ("_before", "_now", "_since")

    def __init__(self, now: float) -> None:
        self._since = now
        self._now = self._before = float("inf")

    def of(self, value: float, now: float) -> float:
        if now - self._since > MEMORY_SECONDS:
            self._before, self._now, self._since = self._now, float("inf"), now
        self._now = min(self._now, value)
        return min(self._now, self._before)


def length(prompt: Prompt) -> int:
    """A prompt's length, in characters or tokens: prompts are compared with others of about the same."""
    match prompt:
        case ChatPrompt():
            return sum(len(message.content or "") for message in prompt.messages)
        case TextPrompt():
            return len(prompt.text)
        case _:
            return len(prompt.token_ids)
