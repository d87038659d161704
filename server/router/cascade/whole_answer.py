"""An answer that is whole, as judges read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pennyweight.server.types import Delta, DroppedAnswer, Event, Finished, FinishReason, Started, TokenLogprob


@dataclass(frozen=True, slots=True)
class Called:
    """One call of a tool: its name, and its arguments as JSON text."""

    name: str
    arguments: str


class WholeAnswer:
    """The events of an answer of ``n`` choices, which begin with a ``Started`` that has a route and end with a ``Finished``."""

    def __init__(self, events: Sequence[Event], n: int) -> None:
        started, finished = events[0], events[-1]
        assert isinstance(started, Started)
        assert started.route is not None
        assert isinstance(finished, Finished)
        self.started, self.route, self.finished = started, started.route, finished
        self.deltas = tuple(event for event in events if isinstance(event, Delta))
        self._n = n

    @property
    def model(self) -> str:
        """Which model gave it, by the router's name."""
        return self.route.model

    @property
    def is_cut_off(self) -> bool:
        """Whether a choice ended before the model had said all: at the token limit, or by an upstream's filter."""
        return any(delta.finish_reason not in (None, FinishReason.STOP) for delta in self.deltas)

    def texts(self) -> list[str]:
        """Each choice's text."""
        found: list[list[str]] = [[] for _ in range(self._n)]
        for delta in self.deltas:
            found[delta.index].append(delta.text)
        return ["".join(parts) for parts in found]

    def calls(self) -> list[list[Called]]:
        """Each choice's calls, as far as its engine has told them from the text."""
        names: dict[tuple[int, int], str] = {}
        arguments: dict[tuple[int, int], list[str]] = {}
        for delta in self.deltas:
            for call in delta.tool_calls:
                place = (delta.index, call.index)
                names[place] = names.get(place) or call.name or ""
                arguments.setdefault(place, []).append(call.arguments)
        found: list[list[Called]] = [[] for _ in range(self._n)]
        for place in sorted(names):
            found[place[0]].append(Called(names[place], "".join(arguments[place])))
        return found

    def logprobs(self) -> list[TokenLogprob]:
        """Those of all tokens of all choices, as far as they were given."""
        return [one for delta in self.deltas for one in delta.logprobs]

    def dropped(self) -> DroppedAnswer:
        """What is told of it when it is not given."""
        return DroppedAnswer(model=self.model, usage=self.finished.usage, cache=self.started.cache)
