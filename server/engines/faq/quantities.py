"""Amounts and dates in a text, to be compared with those of another.

A number that can be read in two ways (1.500, 03/04/2026) is read in both. Months are known by their English names; a date with another
language's month counts as the numbers in it. Words such as today, next week or five are not interpreted: they are words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_MONTH = (
    r"(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DATE = re.compile(
    r"(?<!\d)(?:"
    r"(?P<iso>\d{4}-\d{1,2}-\d{1,2})"
    r"|(?P<dotted>\d{1,2}\. ?\d{1,2}\.(?: ?\d{4})?)"
    r"|(?P<slashed>\d{1,2}/\d{1,2}/\d{4})"
    rf"|(?P<day>\d{{1,2}})(?:st|nd|rd|th|\.)?(?: of)? {_MONTH}(?:,? (?P<year>\d{{4}}))?"
    rf"|\b{_MONTH} (?P<day2>\d{{1,2}})(?:st|nd|rd|th)?(?:,? (?P<year2>\d{{4}}))?"
    r")(?![\d/-])",
    re.IGNORECASE,
)
_CURRENCIES = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥", "euro": "€", "euros": "€", "dollar": "$", "dollars": "$"}
_UNIT = r"[$€£¥₹%]|percent\b|usd\b|eur\b|gbp\b|jpy\b|euros?\b|dollars?\b"
# Groups of three after a no-break or thin space, an apostrophe, a point or a comma.
_NUMBER = re.compile(
    rf"(?P<before>[$€£¥₹]\s?|\b(?:usd|eur|gbp|jpy)\s)?(?<![\w.,])(?P<number>\d+(?:[.,'’\u00a0\u202f\u2009]\d+)*)"
    rf"(?:\s?(?P<after>{_UNIT}))?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Quantity:
    """An amount with its unit ($ or another currency's sign, %, or nothing) in all its readings, or a date with or without its year."""

    readings: frozenset[Decimal | tuple[int | None, int, int]]
    unit: str = ""

    def agrees(self, other: Quantity) -> bool:
        """Whether both may be the same. A unit or a year that one of them leaves out is no difference."""
        if self.unit and other.unit and self.unit != other.unit:
            return False
        return any(_is_same(one, another) for one in self.readings for another in other.readings)


def quantities(text: str) -> tuple[Quantity, ...]:
    """Those of a text in their order. A date's numbers are none besides; its year is."""
    found: list[Quantity] = []
    rest, at = [], 0
    for match in _DATE.finditer(text):
        dates = _dates(match)
        if not dates:
            continue
        found.append(Quantity(frozenset(dates)))
        # All readings have the same one.
        year = next(iter(dates))[0]
        found += [] if year is None else [Quantity(frozenset({Decimal(year)}))]
        rest.append(text[at : match.start()])
        at = match.end()
    rest.append(text[at:])
    for match in _NUMBER.finditer(" | ".join(rest)):
        unit = (match["before"] or match["after"] or "").strip().casefold()
        unit = "%" if unit == "percent" else _CURRENCIES.get(unit, unit)
        if numbers := _numbers(match["number"]):
            found.append(Quantity(frozenset(numbers), unit))
    return tuple(found)


def _is_same(one: Decimal | tuple[int | None, int, int], other: Decimal | tuple[int | None, int, int]) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple):
        return one[1:] == other[1:] and (one[0] == other[0] or None in (one[0], other[0]))
    return one == other


def _numbers(written: str) -> set[Decimal]:
    """The readings of digits with separators between them; none for what is no number, such as a version or an address."""
    digits = re.split(r"\D", written)
    separators = re.findall(r"\D", written)
    found: set[Decimal] = set()
    if not separators or (
        len(set(separators)) == 1 and 0 < len(digits[0]) <= 3 and all(len(one) == 3 for one in digits[1:])
    ):
        found.add(Decimal("".join(digits)))
    if separators and separators[-1] in ".,":
        *groups, fraction = digits
        before = separators[:-1]
        is_grouped = len(groups) == 1 or (len(groups[0]) <= 3 and all(len(one) == 3 for one in groups[1:]))
        if is_grouped and len(set(before)) <= 1 and separators[-1] not in before:
            found.add(Decimal(f"{''.join(groups)}.{fraction}"))
    return found


def _dates(match: re.Match[str]) -> set[tuple[int | None, int, int]]:
    """The readings of a date, without those that the calendar has not."""
    found: list[tuple[int | None, int, int]] = []
    if match["iso"]:
        year, month, day = map(int, match["iso"].split("-"))
        found.append((year, month, day))
    elif match["dotted"]:
        day, month, *years = map(int, re.findall(r"\d+", match["dotted"]))
        found.append((years[0] if years else None, month, day))
    elif match["slashed"]:
        first, second, year = map(int, match["slashed"].split("/"))
        found += [(year, first, second), (year, second, first)]
    else:
        name = next(one for one in (match[5], match[7]) if one)
        written = match["year"] or match["year2"]
        month = _MONTHS.index(name[:3].lower()) + 1
        found.append((int(written) if written else None, month, int(match["day"] or match["day2"])))
    return {one for one in found if _is_date(*one)}


def _is_date(year: int | None, month: int, day: int) -> bool:
    try:
        date(2000 if year is None else year, month, day)
    except ValueError:
        return False
    return True
