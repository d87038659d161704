"""What the router has done so far, for metrics."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from pennyweight.server.cache.result import GIVEN_AGAIN
from pennyweight.server.types import Route, Usage

from .target import Target

PROMPT, GENERATION = "prompt", "generation"


@dataclass(frozen=True, slots=True)
class Routed:
    """What is counted of a request: its tier, its model and the policy that chose them."""

    tier: str
    model: str
    policy: str


class Tally:
    """Requests by route, and dollars by model: those ``spent`` and, beyond them, those that the dearest model would have cost.

    Of answers that were made and not given, ``dropped_tokens`` are by model and PROMPT or GENERATION, and ``dropped_dollars``, which are
    among those spent, by model. What the response cache gave counts as nothing. ``targets`` are all models that may answer.
    """

    def __init__(self) -> None:
        self.routed: Counter[Routed] = Counter()
        self.spent: defaultdict[str, float] = defaultdict(float)
        self.saved: defaultdict[str, float] = defaultdict(float)
        self.dropped_tokens: Counter[tuple[str, str]] = Counter()
        self.dropped_dollars: defaultdict[str, float] = defaultdict(float)

    def began(self, route: Route, targets: Mapping[str, Target]) -> None:
        """An answer has begun, for which others may have been dropped."""
        self.routed[Routed(route.tier, route.model, route.policy)] += 1
        for answer in route.dropped:
            if answer.cache in GIVEN_AGAIN:
                continue
            self.dropped_tokens[answer.model, PROMPT] += answer.usage.prompt_tokens
            self.dropped_tokens[answer.model, GENERATION] += answer.usage.completion_tokens
            cost = targets[answer.model].cost(answer.usage)
            if cost is not None:
                self.spent[answer.model] += cost
                self.dropped_dollars[answer.model] += cost

    def finished(self, model: str, usage: Usage, targets: Mapping[str, Target], *, is_given: bool) -> None:
        """An answer is whole; the response cache gave it if ``is_given``."""
        cost = targets[model].cost(usage)
        if cost is None:
            return
        dearest = max(one for target in targets.values() if (one := target.cost(usage)) is not None)
        if is_given:
            cost = 0.0
        self.spent[model] += cost
        self.saved[model] += dearest - cost
