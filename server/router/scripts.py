"""Which scripts a text is written in: a rough rule for its language that takes microseconds.

A script is not a language (Latin is English, Turkish and Vietnamese), and letters are told by Unicode's blocks, not by each
character's own property. Japanese is mostly ``kana`` and ``han`` together.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

# First and last code points (Unicode 16, Blocks.txt) of the letters, as far as they are in the basic plane.
_BLOCKS: Mapping[str, tuple[tuple[int, int], ...]] = {
    "latin": ((0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x2AF), (0x1E00, 0x1EFF), (0x2C60, 0x2C7F), (0xA720, 0xA7FF)),
    "greek": ((0x370, 0x3FF), (0x1F00, 0x1FFF)),
    "cyrillic": ((0x400, 0x52F), (0x1C80, 0x1C8F), (0x2DE0, 0x2DFF), (0xA640, 0xA69F)),
    "armenian": ((0x530, 0x58F),),
    "hebrew": ((0x590, 0x5FF),),
    "arabic": ((0x600, 0x6FF), (0x750, 0x77F), (0x8A0, 0x8FF), (0xFB50, 0xFDFF), (0xFE70, 0xFEFF)),
    "devanagari": ((0x900, 0x97F), (0xA8E0, 0xA8FF)),
    "bengali": ((0x980, 0x9FF),),
    "gurmukhi": ((0xA00, 0xA7F),),
    "gujarati": ((0xA80, 0xAFF),),
    "tamil": ((0xB80, 0xBFF),),
    "telugu": ((0xC00, 0xC7F),),
    "kannada": ((0xC80, 0xCFF),),
    "malayalam": ((0xD00, 0xD7F),),
    "sinhala": ((0xD80, 0xDFF),),
    "thai": ((0xE00, 0xE7F),),
    "lao": ((0xE80, 0xEFF),),
    "tibetan": ((0xF00, 0xFFF),),
    "myanmar": ((0x1000, 0x109F),),
    "georgian": ((0x10A0, 0x10FF), (0x1C90, 0x1CBF)),
    "hangul": ((0x1100, 0x11FF), (0x3130, 0x318F), (0xA960, 0xA97F), (0xAC00, 0xD7FF)),
    "ethiopic": ((0x1200, 0x139F),),
    "khmer": ((0x1780, 0x17FF),),
    "kana": ((0x3040, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F)),
    "han": ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF)),
}
# Signs among the letters of the first blocks.
_NO_LETTERS = (0xD7, 0xF7)
_BASIC_PLANE = 0x10000
# Rarer Han characters fill these two planes.
_FIRST_HAN_PLANE, _LAST_HAN_PLANE = 0x20000, 0x3FFFF
SCRIPTS = tuple(_BLOCKS)
_HAN = SCRIPTS.index("han") + 1


def script_shares(text: str) -> Mapping[str, float]:
    """The share of the text's letters in each script that there is, most first and else by name; empty for a text without letters."""
    if text.isascii():
        return {"latin": 1.0} if text.lower() != text.upper() else {}
    # Surrogates may stand alone in JSON's strings.
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    num_rare_han = 0
    if points.max() >= _BASIC_PLANE:
        num_rare_han = int(np.count_nonzero((points >= _FIRST_HAN_PLANE) & (points <= _LAST_HAN_PLANE)))
        points = points[points < _BASIC_PLANE]
    counts = np.bincount(_table()[points], minlength=len(SCRIPTS) + 1)
    counts[_HAN] += num_rare_han
    counts[0] = 0
    total = int(counts.sum())
    found = [(SCRIPTS[place - 1], int(counts[place]) / total) for place in counts.nonzero()[0].tolist()]
    return dict(sorted(found, key=lambda one: (-one[1], one[0])))


@functools.cache
def _table() -> npt.NDArray[np.uint8]:
    """For each code point of the basic plane its script's place counted from 1, 0 for what is no letter."""
    table = np.zeros(_BASIC_PLANE, dtype=np.uint8)
    for place, blocks in enumerate(_BLOCKS.values(), start=1):
        for first, last in blocks:
            table[first : last + 1] = place
    table[list(_NO_LETTERS)] = 0
    return table
