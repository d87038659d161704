"""``quantize eval``: how far a quantised model is from its base, and whether it passed its gate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from pennyweight.bench.report.charts import Mark, Series, bars, cumulative, lines, rows_height
from pennyweight.bench.report.document import Figure, KeyFigure, Story, Table
from pennyweight.bench.report.quantities import NONE, binary_bytes, dollars, plain, share, times, with_interval
from pennyweight.bench.report.stored import StoredResult

from .quality_data import Data, Estimate, Speed, Text

PASSED = "passed"
# Of the axis: smaller divergences lie on its beginning.
LEAST_SHOWN = 1 / 20


def tell(stored: StoredResult) -> Story:
    """The story of a quantised model beside its base."""
    data = msgspec.convert(stored.result.data, Data)
    text = data.scores.text
    return Story(
        title="Quality of a quantised model",
        answers=tuple(_sentences(data)),
        key_figures=(
            KeyFigure("KL divergence, nats a token", text.kl.value, plain, more_is_better=False),
            KeyFigure("top-1 agreement", text.top1.value, share, more_is_better=True),
            KeyFigure("perplexity to the base's", text.perplexity_ratio.value, times, more_is_better=False),
            KeyFigure("weights on disk", float(data.quantised.disk_bytes), binary_bytes, more_is_better=False),
        ),
        figures=tuple(_figures(data)),
        tables=(_table(data), *([_speed_table(data.speed)] if data.speed else [])),
    )


def _sentences(data: Data) -> Iterator[str]:
    if data.verdict.verdict == PASSED:
        given = {name.replace("_", " "): value for name, value in data.verdict.thresholds.items() if value is not None}
        asked = ", ".join(f"{name} {value:g}" for name, value in given.items())
        yield f"The gate is passed: {asked or 'nothing was asked for'}."
    else:
        yield f"The gate is failed: {'; '.join(data.verdict.reasons)}."
    text = data.scores.text
    yield (
        f"Over {text.tokens:,} tokens of held text the most probable token is the base's in {share(text.top1.value)} of the places, "
        f"the divergence from it is {plain(text.kl.value)} nats a token, and perplexity is {plain(text.perplexity.value)} where the "
        f"base has {plain(text.base_perplexity.value)} ({_ratio(text.perplexity_ratio.value)} times that)."
    )
    if data.speed is not None:
        ratios = [
            f"{times(other / base)} at {streams}"
            for streams, base in data.speed.base.tokens_per_second.items()
            if (other := data.speed.quantised.tokens_per_second.get(streams)) is not None
        ]
        if ratios:
            yield f"Tokens a second beside the base: {', '.join(ratios)} at once."


def _figures(data: Data) -> Iterator[Figure]:
    text, answers = data.scores.text, data.scores.answers
    yield from _divergence(text)
    shares = dict(_shares(data))
    alt = ", ".join(f"{name} {share(one.value)}" for name, one in shares.items())
    yield Figure(
        "agreement",
        "How often both give the same",
        alt,
        bars(
            list(shares),
            [100 * one.value for one in shares.values()],
            "share, %",
            plain,
            intervals=[(100 * one.low, 100 * one.high) for one in shares.values()],
        ),
        "Lines are 95 % intervals.",
        rows_height(len(shares)),
    )
    if answers is not None and answers.parted:
        places = range(answers.max_tokens + 1)
        alike = [
            100 * sum(one is None or one >= place for one in answers.parted) / len(answers.parted) for place in places
        ]
        yield Figure(
            "answers",
            "How long greedy answers stay the same",
            f"After {answers.max_tokens} tokens {plain(alike[-1])} % still are; the mean is {plain(answers.matched_tokens.value)} tokens.",
            lines(
                [Series("alike", [float(place) for place in places], alike)],
                "tokens",
                "answers, %",
                steps=True,
                linear=True,
                marks=[Mark("mean", x=answers.matched_tokens.value)],
            ),
            "Answers that end before that, and are equal, stay equal.",
        )
    sizes = [("base", data.base), ("quantised", data.quantised)]
    yield Figure(
        "disk",
        "Weights on disk",
        ", ".join(f"{name} {binary_bytes(one.disk_bytes)}" for name, one in sizes),
        bars([name for name, _ in sizes], [one.disk_bytes / 2**20 for _, one in sizes], "MiB", plain),
        height=rows_height(2),
    )


def _divergence(text: Text) -> Iterator[Figure]:
    steps = len(text.kl_quantiles) - 1
    if steps < 1 or (top := text.kl_quantiles[round(0.99 * steps)]) == 0:
        return
    # Up to the 99th percentile: the few beyond it would make a line of the rest, and a logarithm would show the smallest best.
    points = [
        (value, place / steps) for place, value in enumerate(text.kl_quantiles) if LEAST_SHOWN * top <= value <= top
    ]
    x, y = zip((0.0, 0.0), *points, strict=True)
    yield Figure(
        "kl",
        "How the divergence is spread over the text",
        f"Half of the positions have at most {plain(text.kl_quantiles[steps // 2])} nats, 99 % at most {plain(top)}.",
        cumulative([Series("KL", x, y)], "KL(base || quantised), nats"),
        f"The mean is {with_interval(text.kl.value, text.kl.interval)} nats, the largest {plain(text.kl_quantiles[-1])}.",
    )


def _shares(data: Data) -> Iterator[tuple[str, Estimate]]:
    yield "most probable token", data.scores.text.top1
    if data.scores.choices is not None:
        yield "choice of an answer", data.scores.choices.agreement
    if data.scores.answers is not None:
        yield "whole greedy answer", data.scores.answers.equal


def _table(data: Data) -> Table:
    text, choices, answers = data.scores.text, data.scores.choices, data.scores.answers
    rows = [
        ("perplexity", _number(text.base_perplexity), _number(text.perplexity)),
        (
            "perplexity to the base's",
            "",
            with_interval(text.perplexity_ratio.value, text.perplexity_ratio.interval, _ratio),
        ),
        ("KL divergence, nats a token", "", _number(text.kl)),
        ("top-1 agreement", "", _share(text.top1)),
    ]
    if choices is not None:
        if choices.base_accuracy is not None and choices.accuracy is not None:
            name = f"accuracy on {choices.answered} questions"
            rows.append((name, _share(choices.base_accuracy), _share(choices.accuracy)))
        rows.append((f"same choice on {choices.questions} questions", "", _share(choices.agreement)))
    if answers is not None:
        rows.append((f"equal greedy answers to {answers.prompts} prompts", "", _share(answers.equal)))
        rows.append((f"tokens before they part, of at most {answers.max_tokens}", "", _number(answers.matched_tokens)))
    rows += [
        ("KV cache", data.base.kv_cache_dtype, data.quantised.kv_cache_dtype),
        ("weights on disk", binary_bytes(data.base.disk_bytes), binary_bytes(data.quantised.disk_bytes)),
        ("projections in memory", binary_bytes(data.base.weight_bytes), binary_bytes(data.quantised.weight_bytes)),
        ("process after loading", binary_bytes(data.base.resident_bytes), binary_bytes(data.quantised.resident_bytes)),
    ]
    columns = ("measure", f"base ({data.base.dtype})", f"quantised ({data.quantised.dtype})")
    note = f"The base is {data.base.model}, the quantised model {data.quantised.model}. In brackets: 95 % intervals."
    return Table("quality", "Quality and size", columns, tuple(rows), note=note)


def _speed_table(speed: Speed) -> Table:
    base, other = speed.base, speed.quantised
    rows = [
        (f"tokens/s, {streams} at once", plain(of_base), plain(other.tokens_per_second.get(streams)))
        for streams, of_base in base.tokens_per_second.items()
    ]
    rows += [
        (
            f"a million output tokens, {streams} at once",
            dollars(of_base),
            dollars(other.dollars_per_million.get(streams)),
        )
        for streams, of_base in base.dollars_per_million.items()
    ]
    rows.append(("server's resident memory", binary_bytes(base.resident_bytes), binary_bytes(other.resident_bytes)))
    return Table(
        "speed", "Speed and cost", ("measure", "base", "quantised"), tuple(rows), note=_warning(speed.complaints)
    )


def _warning(complaints: Sequence[str]) -> str:
    return f"These speeds must not be quoted: {'; '.join(complaints)}." if complaints else ""


def _ratio(value: float | None) -> str:
    """To the thousandth: eight bits differ by no more."""
    return NONE if value is None else f"{value:.3f}"


def _number(found: Estimate) -> str:
    return with_interval(found.value, found.interval, plain)


def _share(found: Estimate) -> str:
    return with_interval(found.value, found.interval, share)
