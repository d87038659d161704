"""Every way of deciding over one stream, and what each comes to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from pennyweight.server.cache.semantic.bound import Bound
from pennyweight.server.cache.semantic.wording import wording_of

from .character import replay_characters
from .neighbours import Neighbours
from .pairs import Stream
from .replay import Outcome, replay_bounded, replay_static

Over = Literal["requests", "hits"]
# Hears of stages, of what is done and of all that is to be.
Tell = Callable[[str, int, int], None]
OVERS: tuple[Over, ...] = ("requests", "hits")

RESAMPLES = 2000
POINTS = 100
CHARACTER_THRESHOLD = 0.90


class Estimate(msgspec.Struct, frozen=True):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


class Point(msgspec.Struct, frozen=True):
    """How it stood after some of the requests."""

    requests: int
    hits: int
    wrong: int


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One way of deciding. ``wrong_of_hits`` is None without hits; ``judged`` answers were compared for it, ``audits`` of those after
    the decision to give one."""

    name: str
    hit_rate: Estimate
    wrong_of_requests: Estimate
    wrong_of_hits: Estimate | None
    judged: int = 0
    audits: int = 0
    along: tuple[Point, ...] = ()

    def share(self, over: Over) -> float:
        """Of wrong hits."""
        if over == "requests":
            return self.wrong_of_requests.value
        return 0.0 if self.wrong_of_hits is None else self.wrong_of_hits.value


class Bounded(msgspec.Struct, frozen=True, kw_only=True):
    """A bound, the server's own policy under it, and the best fixed threshold that keeps it, chosen after the fact; None where none does."""

    bound: float
    over: Over
    strict: bool
    policy: Row
    static: Row | None
    is_kept: bool


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    requests: int
    texts: int
    same: int
    bounded: tuple[Bounded, ...]
    sweep: Mapping[str, Row]
    characters: Row | None


def evaluate(
    stream: Stream,
    neighbours: Neighbours,
    bounds: Sequence[float],
    sweep: Sequence[float],
    *,
    audit_share: float,
    characters: bool,
    seed: int,
    tell: Tell,
) -> Evaluation:
    """Replay the stream each way."""
    drawn = np.random.default_rng(seed)
    total = len(stream.requests)
    static = {}
    for number, threshold in enumerate(sweep, 1):
        static[f"{threshold:.2f}"] = _row(
            f"cosine {threshold:.2f}", replay_static(stream, neighbours, threshold), drawn
        )
        tell("fixed thresholds", number, len(sweep))
    wordings = [wording_of(text) for text in stream.texts]
    bounded = []
    for share, over, strict in _asked(bounds):
        name = f"{share:.2%} of {over}{', strict' if strict else ''}"
        bound = Bound(share=share, over=over, strict=strict, audit_share=audit_share)
        outcome = replay_bounded(
            stream,
            wordings,
            neighbours,
            bound,
            lambda done, stage=name: tell(stage, done, total),  # type: ignore[misc]
        )
        row = _row(name, outcome, drawn)
        meeting = [one for one in static.values() if one.share(over) <= share and one.hit_rate.value > 0]
        bounded.append(
            Bounded(
                bound=share,
                over=over,
                strict=strict,
                policy=row,
                static=max(meeting, key=lambda one: one.hit_rate.value, default=None),
                is_kept=row.share(over) <= share,
            )
        )
    floor = None
    if characters:
        tell("characters", 0, 1)
        floor = _row(
            f"TF-IDF of characters {CHARACTER_THRESHOLD:.2f}", replay_characters(stream, CHARACTER_THRESHOLD), drawn
        )
        tell("characters", 1, 1)
    return Evaluation(
        requests=total,
        texts=len(stream.texts),
        same=sum(one.same for one in stream.requests),
        bounded=tuple(bounded),
        sweep=static,
        characters=floor,
    )


def _asked(bounds: Sequence[float]) -> Iterator[tuple[float, Over, bool]]:
    for share in bounds:
        for over in OVERS:
            yield share, over, False
        yield share, "requests", True


def _row(name: str, outcome: Outcome, drawn: np.random.Generator) -> Row:
    total, hits, wrong = len(outcome.hits), int(outcome.hits.sum()), int(outcome.wrong.sum())
    # A resample of requests with replacement has so many of each of the three kinds.
    kinds = np.array([total - hits, hits - wrong, wrong]) / total
    found = drawn.multinomial(total, kinds, size=RESAMPLES)
    some = found[:, 1] + found[:, 2] > 0
    return Row(
        name=name,
        hit_rate=_estimate(hits / total, (found[:, 1] + found[:, 2]) / total),
        wrong_of_requests=_estimate(wrong / total, found[:, 2] / total),
        wrong_of_hits=None if not hits else _estimate(wrong / hits, found[some, 2] / (found[some, 1] + found[some, 2])),
        judged=outcome.judged,
        audits=outcome.audits,
        along=tuple(_along(outcome)),
    )


def _along(outcome: Outcome) -> Iterator[Point]:
    hits, wrong = np.cumsum(outcome.hits), np.cumsum(outcome.wrong)
    for place in np.unique(np.linspace(1, len(hits), min(POINTS, len(hits))).astype(int)):
        yield Point(int(place), int(hits[place - 1]), int(wrong[place - 1]))


def _estimate(value: float, resampled: npt.NDArray[Any]) -> Estimate:
    low, high = np.quantile(resampled, (0.025, 0.975))
    return Estimate(value, float(low), float(high))
