"""From token ids to text as they come, with an eye on stop strings."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence

from .tokenizer import Tokenizer


class Detokenizer:
    """The text of one choice. What it has given once is never taken back.

    Held back are bytes that do not yet make a character, and text that may become a stop string. The stop string that is
    complete first ends the text (of two that end together the longer one), so the way in which the text was cut into
    tokens makes no difference. One that is complete within the first ``min_tokens`` tokens does not count.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        stop: Sequence[str] = (),
        include_stop_str_in_output: bool = False,
        skip_special_tokens: bool = True,
        min_tokens: int = 0,
    ) -> None:
        self._tokenizer = tokenizer
        self._stop = stop
        self._longest_stop = max(map(len, stop), default=0)
        self._include_stop = include_stop_str_in_output
        self._hidden = tokenizer.special_ids if skip_special_tokens else frozenset()
        self._tokens_before_stop = min_tokens
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def push(self, token_ids: Iterable[int]) -> tuple[str, str | None]:
        """The text that is certain now, and the stop string that has ended it, if any: nothing may be pushed after it."""
        if not self._stop:
            return self._decoder.decode(b"".join(map(self._bytes, token_ids))), None
        given = ""
        for token_id in token_ids:
            num_held = len(self._held)
            self._held += self._decoder.decode(self._bytes(token_id))
            if self._tokens_before_stop > 0:
                self._tokens_before_stop -= 1
            elif ending := self._first_stop(num_held):
                start, stop = ending
                given += self._held[: start + len(stop)] if self._include_stop else self._held[:start]
                self._held = ""
                return given, stop
            keep = self._num_to_hold()
            given += self._held[: len(self._held) - keep]
            self._held = self._held[len(self._held) - keep :]
        return given, None

    def flush(self) -> str:
        """What was held back, at the end of a choice that no stop string ended."""
        rest = self._held + self._decoder.decode(b"", final=True)
        self._held = ""
        return rest

    def _bytes(self, token_id: int) -> bytes:
        return b"" if token_id in self._hidden else self._tokenizer.token_bytes(token_id)

    def _first_stop(self, num_old: int) -> tuple[int, str] | None:
        """Where the stop string begins that is complete first, beyond the first ``num_old`` characters held."""
        best: tuple[int, int, str] | None = None
        for stop in self._stop:
            start = self._held.find(stop, max(0, num_old - len(stop) + 1))
            if start >= 0 and (best is None or (start + len(stop), start) < best[:2]):
                best = start + len(stop), start, stop
        return best and (best[1], best[2])

    def _num_to_hold(self) -> int:
        """The length of the longest end of the text that is a beginning of a stop string."""
        for length in range(min(self._longest_stop - 1, len(self._held)), 0, -1):
            end = self._held[-length:]
            if any(stop.startswith(end) for stop in self._stop if len(stop) > length):
                return length
        return 0
