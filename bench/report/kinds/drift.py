"""``drift``: how far two engines are from each other on recorded requests."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pennyweight.bench.drift.summary import Drift, Forced
from pennyweight.bench.report.charts import Series, bars, cumulative, lines, rows_height
from pennyweight.bench.report.document import Figure, KeyFigure, Story, Table
from pennyweight.bench.report.quantities import NONE, plain, share, with_interval
from pennyweight.bench.report.stored import StoredResult
from pennyweight.quantize.quality.answers import AnswerScores
from pennyweight.quantize.quality.bootstrap import Estimate


class Data(msgspec.Struct, frozen=True):
    """The data of a result of kind "drift"."""

    drift: Drift


def tell(stored: StoredResult) -> Story:
    """The story of B beside A."""
    found = msgspec.convert(stored.result.data, Data).drift
    figures: list[KeyFigure] = []
    if found.answers is not None:
        figures.append(KeyFigure("greedy answers equal", found.answers.equal.value, share, more_is_better=True))
    if found.forced is not None:
        figures += [
            KeyFigure("top-1 agreement", found.forced.top1.value, share, more_is_better=True),
            KeyFigure("mean |logprob difference|", found.forced.difference.value, plain, more_is_better=False),
        ]
    return Story(
        title="Drift between two engines",
        answers=tuple(_sentences(found)),
        key_figures=tuple(figures),
        figures=tuple(_figures(found)),
        tables=tuple(_tables(found)),
    )


def _sentences(found: Drift) -> Iterator[str]:
    yield f"A is {found.one.name}, B is {found.other.name}."
    if found.answers is not None:
        yield (
            f"Of {found.requests:,} greedy answers {_estimate(found.answers.equal, is_share=True)} are equal; both begin with "
            f"{_estimate(found.answers.matched_tokens)} equal tokens in the mean."
        )
    if found.forced is not None:
        forced = found.forced
        yield (
            f"Over {forced.places:,} tokens of recorded answers the most probable token is the same in "
            f"{_estimate(forced.top1, is_share=True)} of the places; log-probabilities differ by {_estimate(forced.difference)} in the mean "
            f"and by {plain(forced.largest_difference)} at most, and KL(A || B) is at least {_estimate(forced.kl)} nats a token."
        )
    if found.other_prompts:
        yield f"{found.other_prompts:,} of the prompts became other tokens: the tokenizers or templates differ."
    if found.parts:
        yield f"Their manifests differ in {', '.join(part.name for part in found.parts)}."


def _figures(found: Drift) -> Iterator[Figure]:
    if found.answers is not None and found.answers.max_tokens:
        yield _parting(found.answers)
    if found.forced is not None:
        yield from _forced(found.forced)


def _parting(answers: AnswerScores) -> Figure:
    places = list(range(answers.max_tokens + 1))
    partings = sorted(place for place in answers.parted if place is not None)
    alike, before = [], 0
    for place in places:
        while before < len(partings) and partings[before] < place:
            before += 1
        alike.append(100 * (1 - before / answers.prompts))
    return Figure(
        "parting",
        "How long greedy answers stay equal",
        f"{share(answers.equal.value)} of the answers never part.",
        lines(
            [Series("equal so far", [float(place) for place in places], alike)],
            "tokens",
            "answers that haven't parted, %",
            steps=True,
            linear=True,
        ),
        "Answers that end count as they ended.",
    )


def _forced(forced: Forced) -> Iterator[Figure]:
    shown = [one for one in forced.quantiles if one > 0]
    if shown:
        count = len(forced.quantiles)
        heights = [(count - len(shown) + place) / (count - 1) for place in range(len(shown))]
        yield Figure(
            "difference",
            "How far the recorded tokens' log-probabilities are",
            f"In the mean {plain(forced.difference.value)}, at most {plain(forced.largest_difference)}.",
            cumulative([Series("tokens", shown, heights)], "|logprob difference|"),
            "Tokens without any difference lie below the line's beginning.",
        )
    names = ("KL(A || B), at least", "|logprob difference|, mean")
    estimates = (forced.kl, forced.difference)
    yield Figure(
        "distance",
        "Distance a token",
        ", ".join(f"{name} {plain(one.value)}" for name, one in zip(names, estimates, strict=True)),
        bars(
            names,
            [one.value for one in estimates],
            "nats",
            plain,
            intervals=[(one.low, one.high) for one in estimates],
        ),
        "Lines are 95 % intervals over requests.",
        rows_height(len(names)),
    )


def _tables(found: Drift) -> Iterator[Table]:
    if found.parts:
        rows = tuple((part.name, part.one or NONE, part.other or NONE) for part in found.parts)
        yield Table("manifests", "What differs in the manifests", ("part", "A", "B"), rows, text_columns=3)
    if found.parted:
        parted = tuple((one.id, str(one.position), one.before, one.one, one.other) for one in found.parted)
        columns = ("request", "token", "before", "A", "B")
        yield Table("parted", "The first answers that part", columns, parted, text_columns=5)
    if found.left_out:
        left = tuple((reason, f"{number:,}") for reason, number in found.left_out.items())
        yield Table("left-out", "What was left out", ("why", "requests"), left)


def _estimate(found: Estimate, *, is_share: bool = False) -> str:
    return with_interval(found.value, (found.low, found.high), share if is_share else plain)
