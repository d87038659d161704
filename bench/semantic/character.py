"""A floor without any model: TF-IDF over characters by threes, four and five, within words."""

from __future__ import annotations

import math
import re
from array import array
from collections import Counter

import numpy as np

from .pairs import Stream
from .replay import Outcome, nothing

SIZES = (3, 4, 5)


def replay_characters(stream: Stream, threshold: float) -> Outcome:
    """The nearest kept text is hit from a fixed cosine on, as in ``replay_static``; how rare a piece is, is known of the whole stream."""
    hits, wrong = nothing(stream)
    counts = [_pieces(text) for text in stream.texts]
    frequency = Counter(piece for one in counts for piece in one)
    weights = {piece: math.log((1 + len(counts)) / (1 + seen)) + 1 for piece, seen in frequency.items()}
    index: dict[str, tuple[array[int], array[float]]] = {}
    scores = np.zeros(len(counts))
    kept = np.ones(len(counts), dtype=np.bool_)
    added = 0
    for place, request in enumerate(stream.requests):
        for number in range(added, request.before):
            if kept[number]:
                _add(index, number, _unit(counts[number], weights))
        added = max(added, request.before)
        scores[:added] = 0.0
        for piece, weight in _unit(counts[request.text], weights).items():
            if piece in index:
                numbers, values = index[piece]
                scores[np.frombuffer(numbers, dtype=np.int32)] += weight * np.frombuffer(values, dtype=np.float64)
        nearest = int(np.argmax(scores[:added]))
        if scores[nearest] >= threshold:
            hits[place], wrong[place] = True, not stream.is_right(request, nearest)
            kept[request.text] = False
    return Outcome(hits, wrong)


def _pieces(text: str) -> Counter[str]:
    words = [f" {word} " for word in re.findall(r"\S+", text.lower())]
    return Counter(
        word[first : first + size] for word in words for size in SIZES for first in range(max(1, len(word) - size + 1))
    )


def _unit(counts: Counter[str], weights: dict[str, float]) -> dict[str, float]:
    found = {piece: count * weights[piece] for piece, count in counts.items()}
    length = math.sqrt(sum(value * value for value in found.values())) or 1.0
    return {piece: value / length for piece, value in found.items()}


def _add(index: dict[str, tuple[array[int], array[float]]], number: int, vector: dict[str, float]) -> None:
    for piece, value in vector.items():
        numbers, values = index.setdefault(piece, (array("i"), array("d")))
        numbers.append(number)
        values.append(value)
