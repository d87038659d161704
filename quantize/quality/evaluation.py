"""Evaluates a quantised model against its base: both compute side by side, and what they say is compared as it comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
import numpy as np

from . import answers, choices, held_text
from .answers import AnswerScores, matched_prefix
from .choices import ChoiceScores, Question
from .divergence import Divergence, compare, joined
from .held_text import TextScores, Window
from .scored_model import ScoredModel

# Told of a stage how much of it is done.
OnProgress = Callable[[str, int, int], None]

T = TypeVar("T")


class Incomparable(Exception):
    """Two models that don't speak the same tokens, or a text that has none of them."""


class Held(msgspec.Struct, frozen=True):
    """What both models are asked: a text, questions, and users' messages."""

    text: str
    questions: Sequence[Question]
    prompts: Sequence[str]


def spread(items: Sequence[T], at_most: int) -> list[T]:
    """At most so many of the items, at even distances, so that every part of a sorted file is among them."""
    if len(items) <= at_most:
        return list(items)
    return [items[place * len(items) // at_most] for place in range(at_most)]


class Extent(msgspec.Struct, frozen=True, kw_only=True):
    """How much: windows of ``window`` tokens, ``max_tokens`` of the text (None: all), answers of ``answer_tokens``."""

    window: int = 512
    max_tokens: int | None = None
    answer_tokens: int = 64
    seed: int = 0


class Scores(msgspec.Struct, frozen=True):
    """What was found; None for what nothing was asked of."""

    text: TextScores
    choices: ChoiceScores | None
    answers: AnswerScores | None


def evaluate(base: ScoredModel, other: ScoredModel, held: Held, extent: Extent, tell: OnProgress) -> Scores:
    """The quantised model ``other`` against its base. Raises ModelFailed and Incomparable."""
    limit = min(base.loaded.max_model_len, other.loaded.max_model_len)
    if base.loaded.vocab_size != other.loaded.vocab_size:
        sizes = f"{base.loaded.vocab_size} and {other.loaded.vocab_size}"
        raise Incomparable(f"the models have vocabularies of {sizes} tokens: one is not made from the other")
    windows = _windows(base, other, held.text, min(extent.window, limit), extent.max_tokens)
    divergences = []
    for number, window in enumerate(windows):
        tell("held text", number, len(windows))
        divergences.append(_divergence(base, other, window))
    return Scores(
        held_text.summarise(divergences, extent.seed),
        _choices(base, other, held.questions, limit, extent.seed, tell),
        _answers(base, other, held.prompts, limit, extent, tell),
    )


def _windows(base: ScoredModel, other: ScoredModel, text: str, size: int, at_most: int | None) -> list[Window]:
    whole = base.encode(text)
    if other.encode(text) != whole:
        raise Incomparable("the models' tokenizers differ: one is not made from the other")
    # What every text begins with (a begin-of-sequence token), each window does.
    begin = matched_prefix(base.encode(""), whole)
    windows = list(held_text.cut(whole[begin:], whole[:begin], size, at_most))
    if not windows:
        raise Incomparable("the held text has too few tokens to predict any of them")
    return windows


def _divergence(base: ScoredModel, other: ScoredModel, window: Window) -> Divergence:
    for model in (base, other):
        model.ask_logits(window.token_ids, window.first)
    targets = np.array(window.token_ids[window.first + 1 :], dtype=np.int64)
    parts: list[Divergence] = []
    at = 0
    for of_base, of_other in zip(base.logits(len(targets)), other.logits(len(targets)), strict=True):
        parts.append(compare(of_base, of_other, targets[at : at + len(of_base)]))
        at += len(of_base)
    return joined(parts)


def _choices(
    base: ScoredModel, other: ScoredModel, questions: Sequence[Question], limit: int, seed: int, tell: OnProgress
) -> ChoiceScores | None:
    asked, of_base, of_other = [], [], []
    for number, question in enumerate(questions):
        tell("questions", number, len(questions))
        context = base.encode(question.context)
        texts = [base.encode(f"{question.context} {choice}") for choice in question.choices]
        if max(map(len, texts)) > limit:
            continue
        totals = []
        for text in texts:
            first = max(matched_prefix(context, text) - 1, 0)
            for model in (base, other):
                model.ask_logprobs(text, first)
            totals.append((sum(base.logprobs()), sum(other.logprobs())))
        asked.append(question)
        of_base.append(choices.choose([total for total, _ in totals], question.choices))
        of_other.append(choices.choose([total for _, total in totals], question.choices))
    return choices.summarise(asked, of_base, of_other, seed)


def _answers(
    base: ScoredModel, other: ScoredModel, prompts: Sequence[str], limit: int, extent: Extent, tell: OnProgress
) -> AnswerScores | None:
    encoded = [tokens for prompt in prompts if len(tokens := base.chat(prompt)) + extent.answer_tokens <= limit]
    tell("answers", 0, len(encoded))
    for model in (base, other):
        model.ask_answers(encoded, extent.answer_tokens)
    return answers.summarise(base.answers(), other.answers(), extent.answer_tokens, extent.seed)
