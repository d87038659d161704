"""What a prompt's form tells of its task: lengths, numbers, words of operations and comparison, choices, symbols."""

from __future__ import annotations

import math
import re

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]

# A change of what a feature means makes older model files unreadable: they say under which version they were trained.
FEATURE_VERSION = 1
# A longer prompt is judged by its beginning and its end, so that the time for a decision is bounded; its length counts as a whole.
HEAD, TAIL = 4000, 2000

# Words whose number is a feature, by what they are about.
LEXICON: dict[str, tuple[str, ...]] = {
    "multiples": ("times", "twice", "thrice", "double", "triple", "doubled", "tripled"),
    "fractions": ("half", "halves", "third", "thirds", "quarter", "quarters", "fourth", "fifth", "tenth"),
    "percent": ("percent", "percentage"),
    "rates": ("each", "every", "per", "apiece"),
    "than": ("than",),
    "comparison": ("more", "fewer", "less", "greater", "older", "younger", "taller"),
    "remainder": ("remaining", "rest", "remainder", "left", "leftover", "over"),
    "totals": ("total", "altogether", "combined", "together", "sum"),
    "conditions": ("if",),
    "negations": ("not", "no", "never", "except", "without", "least", "false", "incorrect", "wrong"),
    "time": (
        *("second", "seconds", "minute", "minutes", "hour", "hours", "day", "days", "daily", "week", "weeks", "weekly"),
        *("month", "months", "year", "years"),
    ),
    "money": (
        *("cost", "costs", "price", "pay", "paid", "spend", "spent", "buy", "bought", "sell", "sold", "earn", "earns"),
        *("profit", "cent", "cents", "dollar", "dollars"),
    ),
    "averages": ("average", "mean", "ratio", "rate", "mph", "speed"),
    "order": ("then", "after", "before", "first", "next", "finally", "later", "but", "however", "instead"),
    "equality": ("same", "equal", "equally", "evenly"),
    "ages": ("age", "old"),
    "others": ("only", "already", "both", "other", "another"),
    "pronouns": ("he", "she", "they", "his", "her", "their", "it"),
    "number words": (
        *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
        *("twenty", "dozen", "hundred", "thousand"),
    ),
    "many": ("many",),
    "much": ("much",),
}
_CLASS_OF = {word: place for place, words in enumerate(LEXICON.values()) for word in words}

_WORD = re.compile(r"[A-Za-z']+")
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
_SENTENCE_END = re.compile(r"[.!?]\s+(?=\S)")
_CHOICE = re.compile(r"\n\(?[A-J][.):] ?(.*)")
_SYMBOL = re.compile(r"[\\^_{}=<>≤≥∨∧⊃≡~·•∑∫√π]")

NAMES = (
    *("characters", "words", "sentences", "words a sentence", "letters a word", "long words", "distinct words"),
    *("numbers", "distinct numbers", "decimals", "largest number", "mean number", "large numbers", "numbers a word"),
    *("digits", "choices", "length of choices", "spread of choices", "choices without words", "length before choices"),
    *("symbols", "capitalised words", "distinct capitalised words", "commas", "question marks", "quotes", "brackets"),
    *("length of the last sentence", "numbers in the last sentence", "blank", "percent signs", "dollar signs"),
    *("which of the following", *LEXICON),
)
_CHOICES = NAMES.index("choices")


def excerpt(prompt: str) -> str:
    """The part of a prompt that is read."""
    return prompt if len(prompt) <= HEAD + TAIL else f"{prompt[:HEAD]}\n{prompt[-TAIL:]}"


def form_of(features: Vector) -> int:
    """0 where lines of the prompt are lettered choices, two or more, and 1 for an open question: two populations."""
    return int(features[_CHOICES] < 2)


def task_features(prompt: str) -> Vector:
    """The features that ``NAMES`` names; counts and lengths are logarithms of 1 + themselves. Finite for any text."""
    text = excerpt(prompt)
    words = _WORD.findall(text)
    count = max(len(words), 1)
    lower = list(map(str.lower, words))
    lengths = list(map(len, words))
    capitalised = [word for word in words if "A" <= word[0] <= "Z"]
    numbers = [found.replace(",", "") for found in _NUMBER.findall(text)]
    magnitudes = list(map(_magnitude, numbers))
    ends = [0, *(found.end() for found in _SENTENCE_END.finditer(text))]
    last = text[ends[-1] :]
    bodies = _CHOICE.findall(text)
    choices = list(map(len, bodies))
    wordless = sum(_WORD.search(body) is None for body in bodies)
    mean_choice = sum(choices) / max(len(choices), 1)
    spread = math.sqrt(sum((one - mean_choice) ** 2 for one in choices) / max(len(choices), 1))
    by_class = [0] * len(LEXICON)
    for place in map(_CLASS_OF.get, lower):
        if place is not None:
            by_class[place] += 1
    log = math.log1p
    values = [
        *(log(len(prompt)), log(len(words)), log(len(ends)), len(words) / len(ends)),
        *(sum(lengths) / count, sum(length > 9 for length in lengths) / count, len(set(lower)) / count),
        *(log(len(numbers)), log(len(set(numbers))), log(sum("." in number for number in numbers))),
        *(max(magnitudes, default=0.0), sum(magnitudes) / max(len(magnitudes), 1)),
        *(log(sum(one >= 2 for one in magnitudes)), len(numbers) / count, log(sum(map(len, numbers)))),
        *(len(choices), log(mean_choice), log(spread), log(wordless), log(max(len(prompt) - sum(choices), 0))),
        *(log(len(_SYMBOL.findall(text))), len(capitalised) / count, log(len(set(capitalised)))),
        *(log(text.count(mark)) for mark in (",", "?", '"', "(")),
        *(log(last.count(" ")), log(len(_NUMBER.findall(last))), float("___" in text)),
        *(log(text.count("%")), log(text.count("$")), float("which of the following" in text.lower())),
        *map(log, by_class),
    ]
    return np.array(values, dtype=np.float32)


def _magnitude(number: str) -> float:
    """The decimal logarithm of 1 + the number; ``number`` has digits and at most one point. Beyond 300 digits: 300."""
    return math.log10(1 + float(number)) if len(number) <= 300 else 300.0
