"""Constraints compiled to token masks by llguidance (https://github.com/guidance-ai/llguidance).

JSON is written compactly: no free whitespace, and numbers end after MAX_DIGITS digits (see number_bound.py).
"""

from __future__ import annotations

import random
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
from llguidance import LLExecutor, LLMatcher, LLParserLimits, LLTokenizer
from llguidance.numpy import fill_next_token_bitmask, fill_next_token_bitmask_par
from numpy.typing import NDArray

from pennyweight.server.errors import InvalidConstraint
from pennyweight.server.types import Constraint, ConstraintKind

from .grammar_text import grammar_text
from .number_bound import DigitTokens, NumberBound

# Work is bounded at each place where it could explode, so that a grammar ends with an error and not the step loop with it.
LIMITS = LLParserLimits(
    max_items_in_row=2000,
    # A choice of 5,000 texts takes some 150,000; repetitions of repetitions take all there is, and time by the square of it.
    initial_lexer_fuel=300_000,
    step_lexer_fuel=200_000,
    step_max_items=50_000,
    max_lexer_states=50_000,
    max_grammar_size=500_000,
    verbose_errors=False,
)
MAX_MESSAGE = 300
MAX_PROTOTYPES = 32
PROBE_WALKS = 3
PROBE_STEPS = 32


class _Vocabulary:
    """What all matchers of one model share."""

    def __init__(self, tokenizer_json: str, vocab_size: int | None, eos_token_ids: Sequence[int]) -> None:
        self.tokenizer = LLTokenizer(tokenizer_json, n_vocab=vocab_size, eos_token=list(eos_token_ids) or None)
        self.num_words = (self.tokenizer.vocab_size + 31) // 32
        self._executor: LLExecutor | None = None
        self._digit_tokens: DigitTokens | None = None

    def executor(self) -> LLExecutor:
        """Threads for several masks at once. Started when first needed: a process that forks must not have them."""
        if self._executor is None:
            self._executor = LLExecutor()
        return self._executor

    def digit_tokens(self) -> DigitTokens:
        if self._digit_tokens is None:
            texts = [self.tokenizer.decode_bytes([token_id]) for token_id in range(self.tokenizer.vocab_size)]
            self._digit_tokens = DigitTokens(texts, self.num_words)
        return self._digit_tokens


class Matcher:
    """Where one sequence stands in its grammar."""

    def __init__(self, vocabulary: _Vocabulary, inner: LLMatcher, number_bound: NumberBound | None) -> None:
        self.vocabulary = vocabulary
        self.inner = inner
        self._number_bound = number_bound

    def accept(self, token_id: int) -> None:
        """Go on by a token. One that the mask forbids, or one that leads beyond a limit, sets ``error``."""
        self.inner.consume_token(token_id)
        if self._number_bound is not None:
            self._number_bound.accept(token_id)

    def is_finished(self) -> bool:
        """Whether nothing but the end of the sequence can follow; also true after an error."""
        return self.inner.is_stopped()

    def error(self) -> str | None:
        """What went wrong, or None. There is no way back from an error."""
        return _shortened(self.inner.get_error()) or None

    def narrow(self, row: NDArray[np.int32]) -> None:
        """Apply what the grammar itself can't say to the mask row [words] that it filled."""
        if self._number_bound is not None:
            self._number_bound.narrow(row)


def fill_masks(matchers: list[Matcher], rows: list[int], out: NDArray[np.int32]) -> None:
    """Write each matcher's mask of allowed tokens into its row of ``out``, int32 [R, ceil(vocab_size / 32)].

    Bit ``i % 32`` of word ``i // 32`` is token ``i``. The rows must be different. A row is never all zero: every end of
    sequence is allowed where the text may end, and after an error too (see ``Matcher.error``).
    """
    if not matchers:
        return
    if len(matchers) == 1:
        fill_next_token_bitmask(matchers[0].inner, out, rows[0])
    else:
        inners = [(matcher.inner, row) for matcher, row in zip(matchers, rows, strict=True)]
        fill_next_token_bitmask_par(matchers[0].vocabulary.executor(), inners, out)
    for matcher, row in zip(matchers, rows, strict=True):
        matcher.narrow(out[row])


class GrammarCompiler:
    """Compiles constraints for one model. Safe to use from several threads; matchers are not.

    ``to_json`` gives the tokenizer as the text of a tokenizer.json; it is called once, at the first compile.
    ``vocab_size`` is the width of the model's logits: ids that the tokenizer doesn't know are never allowed. None takes
    the tokenizer's. ``eos_token_ids`` end a sequence; empty takes the one that the tokenizer names.
    """

    def __init__(self, to_json: Callable[[], str], vocab_size: int | None, eos_token_ids: tuple[int, ...]) -> None:
        self._to_json = to_json
        self._vocab_size = vocab_size
        self._eos_token_ids = eos_token_ids
        self._vocabulary: _Vocabulary | None = None
        # Compiled and never advanced; copies of them start without compiling again.
        self._prototypes: OrderedDict[tuple[ConstraintKind, str], LLMatcher] = OrderedDict()
        self._lock = threading.Lock()

    def preload(self) -> None:
        """Build what all grammars need of the tokenizer (a second for 150,000 tokens)."""
        with self._lock:
            self._load().digit_tokens()

    def compile(self, constraint: Constraint) -> Matcher:
        """A matcher at the start of the grammar. Raises InvalidConstraint with llguidance's reason."""
        with self._lock:
            vocabulary = self._load()
            prototype = self._prototype(vocabulary, constraint)
            is_json = constraint.kind in (ConstraintKind.JSON_OBJECT, ConstraintKind.JSON_SCHEMA)
            bound = NumberBound(vocabulary.digit_tokens()) if is_json else None
            return Matcher(vocabulary, prototype.deep_copy(), bound)

    def probe(self, constraint: Constraint) -> None:
        """Compile and walk a little: a lexer is built as it is needed, so a bomb may only go off under the masks.

        Raises InvalidConstraint also for a grammar that runs into a limit on these walks. The walks are the same each time.
        """
        generator = random.Random(0)
        row = np.zeros((1, self._row_words()), dtype=np.int32)
        for _ in range(PROBE_WALKS):
            matcher = self.compile(constraint)
            for _ in range(PROBE_STEPS):
                fill_masks([matcher], [0], row)
                allowed = np.flatnonzero(np.unpackbits(row[0].view(np.uint8), bitorder="little"))
                if matcher.error() is None and not matcher.is_finished():
                    matcher.accept(int(allowed[generator.randrange(len(allowed))]))
                if (error := matcher.error()) is not None:
                    raise InvalidConstraint(f"Invalid '{constraint.param}': {error}", param=constraint.param)
                if matcher.is_finished():
                    break

    def _row_words(self) -> int:
        with self._lock:
            return self._load().num_words

    def _load(self) -> _Vocabulary:
        if self._vocabulary is None:
            self._vocabulary = _Vocabulary(self._to_json(), self._vocab_size, self._eos_token_ids)
        return self._vocabulary

    def _prototype(self, vocabulary: _Vocabulary, constraint: Constraint) -> LLMatcher:
        key = constraint.kind, constraint.value
        prototype = self._prototypes.get(key)
        if prototype is None:
            try:
                grammar = grammar_text(constraint)
            except (ValueError, RecursionError) as error:
                reason = _shortened(str(error))
                raise InvalidConstraint(f"Invalid '{constraint.param}': {reason}", param=constraint.param) from error
            prototype = LLMatcher(vocabulary.tokenizer, grammar, log_level=0, limits=LIMITS)
            if prototype.is_error():
                reason = _shortened(prototype.get_error())
                raise InvalidConstraint(f"Invalid '{constraint.param}': {reason}", param=constraint.param)
            self._prototypes[key] = prototype
            if len(self._prototypes) > MAX_PROTOTYPES:
                self._prototypes.popitem(last=False)
        self._prototypes.move_to_end(key)
        return prototype


def _shortened(message: str) -> str:
    text = " ".join(message.split())
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"
