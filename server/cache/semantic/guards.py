"""What two texts must have in common to the letter before one's answer may be the other's, however near they are in meaning.

An embedding hardly moves when a number, a name or a "not" changes; the answer does. So these are read off both texts and compared.
"""

from __future__ import annotations

import re
import unicodedata

import msgspec

from .word_set import word_set

URL = re.compile(
    r"\b(?:https?://|www\.)[^\s<>\"']+|\b[\w.+-]+@[\w-]+\.[\w.]+|(?<!\w)(?:~|\.{1,2})?/[\w.-]+(?:/[\w.-]+)+"
)
FENCED = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]+`", re.DOTALL)
# What prose has no use for: calls, operators, braces, names with underscores or inner dots, escapes, options, assignments.
CODE_LIKE = re.compile(
    r"\w+(?:\.\w+)*\([^)\n]*\)|[{}\[\]<>|\\^~@#*+=;]+|\w*_\w+|\b[a-z]\w*(?:\.[a-z]\w*)+\b|\b[A-Za-z]+(?:\+\+|#)|(?<!\w)--?[A-Za-z][\w-]*|[&|!=<>]=|\$\w+"
)
QUOTED = re.compile(r"\"([^\"\n]+)\"|“([^”\n]+)”|«([^»\n]+)»|(?<!\w)'([^'\n]+)'(?!\w)|‘([^’\n]+)’(?!\w)")
# Signs of no word and no sentence: an embedder may know none of them, and take all for one.
SYMBOL = re.compile(r"[^\w\s.,;:!?'\"()\-–—/&%…“”‘’«»]")
NUMBER = re.compile(r"[-−+]?(?:\d+(?:[.,:/]\d+)*)(?:st|nd|rd|th\b)?|[½¼¾⅓⅔]")
SHARE = "%"
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d+(?:[^\W_]+)?|[^\W_]+")
SENTENCE_END = re.compile(r"[.!?:;…\n]\s*$")
CAPITALISED = re.compile(r"[^\W\d_]*[A-ZÀ-ÖØ-ÞΑ-ΩА-Я][\w'’]*")

NUMBER_WORDS = word_set(
    "zero two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen "
    "twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion trillion dozen half quarter third double "
    "triple once twice first second fourth fifth sixth seventh eighth ninth tenth"
)
UNITS = word_set(
    "s sec secs second seconds min mins minute minutes h hr hrs hour hours day days week weeks month months year years am pm kg g mg lb lbs "
    "oz ounce ounces pound pounds ton tons m km cm mm mile miles foot feet ft inch inches yard yards l ml liter liters litre litres gallon "
    "gallons kb mb gb tb hz khz mhz ghz w kw v volt volts amp amps watt watts c f celsius fahrenheit kelvin k crore crores lakh lakhs "
    "usd eur gbp inr rs rupee rupees dollar dollars euro euros percent degree degrees"
)
CALENDAR = word_set(
    "monday tuesday wednesday thursday friday saturday sunday january february march april june july august september october november "
    "december today tomorrow yesterday tonight morning evening midnight noon spring summer autumn winter"
)
NEGATIONS = word_set(
    "no not never none nobody nothing nowhere neither nor without cannot cant wont dont doesnt didnt isnt arent wasnt werent hasnt havent "
    "hadnt shouldnt wouldnt couldnt mustnt hardly barely except unless avoid prevent stop nicht kein keine nie ohne pas jamais sans nunca "
    "sin"
)
NEGATING_PREFIXES = ("un", "in", "im", "il", "ir", "dis", "non", "anti", "mis", "de")
# In capitals wherever it stands, and nobody's name.
NO_NAMES = word_set("i i'm i'd i've i'll ok the a an of and or")
# Words of every sentence: one in capitals is a name (US, IT, WHO), and then the other text must have it in capitals too.
HOMOGRAPHS = word_set("us it who may will can all in is am as at be so to go do me we he")


class Guards(msgspec.Struct, frozen=True, array_like=True):
    """What of a text is compared, each in the text's order: ``exact`` for code, URLs, quotations and symbols as they are written, ``numbers``
    with the units beside them, ``names`` in lower case, ``negations`` in alphabetical order, and every word in lower case."""

    exact: tuple[str, ...]
    numbers: tuple[str, ...]
    names: tuple[str, ...]
    negations: tuple[str, ...]
    words: frozenset[str]


def guards_of(text: str) -> Guards:
    """What of a text may not differ."""
    text = unicodedata.normalize("NFKC", text)
    exact: list[str] = []
    for pattern in (FENCED, URL, QUOTED, CODE_LIKE, SYMBOL):
        text = _taken(text, pattern, exact)
    tokens = [(found.group(), found.start()) for found in WORD.finditer(text)]
    words = [_plain(token) for token, _ in tokens]
    return Guards(
        exact=tuple(exact),
        numbers=tuple(_numbers(text)),
        names=tuple(
            word for (token, start), word in zip(tokens, words, strict=True) if _is_name(text, token, start, word)
        ),
        negations=tuple(sorted(word for word in words if word.replace("'", "") in NEGATIONS or word.endswith("n't"))),
        words=frozenset(words),
    )


def agree(one: Guards, other: Guards) -> bool:
    """Whether nothing that may not differ does. Symmetric.

    A name counts in any case, and must be a word of the other text: who writes without capitals is understood, and a first word may be
    a name too. Names that both texts have as such come in the same order.
    """
    if one.exact != other.exact or one.numbers != other.numbers or one.negations != other.negations:
        return False
    mine, yours = frozenset(one.names), frozenset(other.names)
    if not (mine <= other.words and yours <= one.words) or (mine ^ yours) & HOMOGRAPHS:
        return False
    both = mine & yours
    if [name for name in dict.fromkeys(one.names) if name in both] != [
        name for name in dict.fromkeys(other.names) if name in both
    ]:
        return False
    return not _is_denied(one.words, other.words) and not _is_denied(other.words, one.words)


def _taken(text: str, pattern: re.Pattern[str], found: list[str]) -> str:
    """The text without what matches, which is noted."""
    found.extend(match.group() for match in pattern.finditer(text))
    return pattern.sub(" ", text)


def _numbers(text: str) -> list[str]:
    """Numbers as they are written, number words, days and months; each number with a unit after it."""
    found: list[str] = []
    after_number = False
    for match in re.finditer(rf"{NUMBER.pattern}|{SHARE}|{WORD.pattern}", text):
        token = _plain(match.group())
        is_number = NUMBER.match(token) is not None or token in NUMBER_WORDS
        is_word_with_digits = not is_number and any(character.isdigit() for character in token)
        is_unit = token == SHARE or (after_number and token in UNITS)
        if is_number or is_word_with_digits or is_unit or token in CALENDAR:
            found.append(token)
        after_number = is_number
    return found


def _is_name(text: str, token: str, start: int, word: str) -> bool:
    if not CAPITALISED.fullmatch(token) or word in NO_NAMES:
        return False
    # Capitals behind a small letter, or throughout, are meant wherever they stand: iPhone, NASA.
    if any(character.isupper() for character in token[1:]):
        return True
    before = text[:start].rstrip(" \t\"'“‘(*_-")
    return bool(before) and SENTENCE_END.search(before) is None


def _is_denied(words: frozenset[str], others: frozenset[str]) -> bool:
    """Whether one text has a word that the other has with a prefix that turns it about: legal and illegal."""
    return any(
        word.startswith(prefix) and word[len(prefix) :] in words and word not in words
        for word in others
        for prefix in NEGATING_PREFIXES
        if len(word) - len(prefix) > 3
    )


def _plain(token: str) -> str:
    return token.casefold().replace("’", "'").removesuffix("'s")
