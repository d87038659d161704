"""An evaluation as a table for people."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from pennyweight.bench.report.quantities import binary_bytes, dollars, plain, share, times, with_interval
from pennyweight.quantize.quality.bootstrap import Estimate
from pennyweight.quantize.quality.protocol import Loaded

from .report import Evaluation
from .speed import ServedSpeed, Speed


def quality_table(found: Evaluation) -> Table:
    """The base and the quantised model side by side, with 95 % intervals."""
    table = Table(title=f"quality, {found.scores.text.tokens:,} tokens of held text; intervals are 95 %")
    table.add_column("measure")
    for heading in ("base", "quantised", "change"):
        table.add_column(heading, justify="right")
    for row in (*_qualities(found), *_sizes(found)):
        table.add_row(*row)
    table.caption = _caption(found)
    return table


def speed_table(speed: Speed) -> Table:
    """How fast both are served."""
    table = Table(title=f"served alone on the machine, medians of {speed.rounds} rounds")
    table.add_column("measure")
    for heading in ("base", "quantised", "change"):
        table.add_column(heading, justify="right")
    for streams, base in speed.base.tokens_per_second.items():
        other = speed.quantised.tokens_per_second.get(streams)
        change = times(None if other is None else other / base)
        table.add_row(f"tokens/s, {streams} at once", plain(base), plain(other), change)
    for streams, base in speed.base.dollars_per_million.items():
        other = speed.quantised.dollars_per_million.get(streams)
        change = times(None if other is None else other / base)
        table.add_row(f"$ a million output tokens, {streams} at once", dollars(base), dollars(other), change)
    table.add_row("server's resident memory", *_memory(speed.base), *_memory(speed.quantised), "")
    if speed.complaints:
        table.caption = "not to be quoted: " + "; ".join(speed.complaints)
    return table


def _qualities(found: Evaluation) -> Iterator[tuple[str, str, str, str]]:
    text, choices, answers = found.scores.text, found.scores.choices, found.scores.answers
    ratio = text.perplexity_ratio
    change = f"×{ratio.value:.3f} ({ratio.low:.3f} to {ratio.high:.3f})"
    yield "perplexity", _number(text.base_perplexity), _number(text.perplexity), change
    yield "KL divergence from the base, nats a token", "", _number(text.kl), ""
    yield "top-1 agreement with the base", "", _share(text.top1), ""
    if choices is not None:
        if choices.base_accuracy is not None and choices.accuracy is not None:
            name = f"accuracy on {choices.answered} questions"
            yield name, _share(choices.base_accuracy), _share(choices.accuracy), ""
        yield f"same choice on {choices.questions} questions", "", _share(choices.agreement), ""
    if answers is not None:
        yield f"equal greedy answers to {answers.prompts} prompts", "", _share(answers.equal), ""
        yield f"tokens before they part (at most {answers.max_tokens})", "", _number(answers.matched_tokens), ""


def _sizes(found: Evaluation) -> Iterator[tuple[str, str, str, str]]:
    yield "computed in", _numerics(found.base), _numerics(found.quantised), ""
    for name, field in (
        ("weights on disk", "disk_bytes"),
        ("projections in memory", "weight_bytes"),
        ("process after loading", "resident_bytes"),
    ):
        base, other = getattr(found.base, field), getattr(found.quantised, field)
        yield name, binary_bytes(base), binary_bytes(other), times(other / base if base else None)


def _numerics(loaded: Loaded) -> str:
    return f"{loaded.details['dtype']}, KV cache {loaded.details['kv_cache_dtype']}"


def _caption(found: Evaluation) -> str:
    verdict = found.verdict
    if verdict.is_passed:
        asked = [f"{name.replace('_', ' ')} {value:g}" for name, value in _asked(found)]
        return f"The gate is PASSED ({', '.join(asked) or 'nothing was asked for'})."
    return f"The gate is FAILED: {'; '.join(verdict.reasons)}."


def _asked(found: Evaluation) -> list[tuple[str, float]]:
    thresholds = found.verdict.thresholds
    return [(name, value) for name in thresholds.__struct_fields__ if (value := getattr(thresholds, name)) is not None]


def _memory(served: ServedSpeed) -> tuple[str]:
    return (binary_bytes(served.resident_bytes),)


def _number(found: Estimate) -> str:
    return with_interval(found.value, (found.low, found.high), plain)


def _share(found: Estimate) -> str:
    return with_interval(found.value, (found.low, found.high), share)
