"""Beam search over token paths: which of them go on, which have ended, and when it is over. Knows nothing of engines."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from pennyweight.server.engines.local.messages import Logprobs
from pennyweight.server.types import BeamScore, BeamSearch

from .batch import PositionLogprobs


@dataclass(frozen=True, slots=True, eq=False)
class Beam:
    """A path from the prompt on, as a chain: its newest token, and the beam that this follows, None for the prompt itself.

    ``cumulative_logprob`` is the sum over its ``length`` tokens; ``origin`` is the place of the beam before it among those that lived.
    ``logprobs`` are those of its newest token, where they are wanted, and ``logits_hash`` is of the logits that it was chosen from.
    """

    cumulative_logprob: np.float32
    length: int = 0
    token_id: int = -1
    before: Beam | None = None
    origin: int = 0
    logprobs: Logprobs | None = None
    logits_hash: int = 0

    def path(self) -> list[Beam]:
        """The beams that it has grown through, from its first token to its newest."""
        beams = []
        beam: Beam | None = self
        while beam is not None and beam.before is not None:
            beams.append(beam)
            beam = beam.before
        return beams[::-1]


class Beams:
    """One search: ``live`` are the beams that go on, the best first, none when it is over; ``finished`` are the best that have ended.

    The rules are those of transformers' ``generate`` with ``num_beams`` and without sampling (5.24; Hugging Face, Apache-2.0), so that
    the same logprobs give the same answers: sums in float32; of all the continuations of all beams the best
    ``num_candidates`` are looked at; of these an end counts as an answer only among the first ``width``, and the first ``width`` that
    are no ends go on. One beam alone is greedy. Equal sums are ordered by the place of the beam, then by token id.

    ``end_token_ids`` end a beam, as does its ``max_tokens``-th token. ``num_top`` alternatives are kept with each token's logprob, None
    keeps none at all. A model has at least ``width`` tokens.
    """

    def __init__(
        self, wanted: BeamSearch, *, end_token_ids: Collection[int], max_tokens: int, num_top: int | None = None
    ) -> None:
        self._wanted = wanted
        self._ends = end_token_ids
        self._max_tokens = max_tokens
        self._num_top = num_top
        # So many that `width` of them are no ends, whatever the model thinks of ends.
        self.num_candidates = max(2, 1 + len(end_token_ids)) * wanted.width
        self.live = [Beam(np.float32(0.0))]
        self.finished: list[Beam] = []

    def advance(self, found: Sequence[PositionLogprobs], logits_hashes: Sequence[int]) -> list[Beam]:
        """Grow every live beam by a token, given the most probable ``num_candidates`` after each and the hash of the logits that they
        were found in; returns the new ``live``."""
        tops = [(one.top_ids[: self.num_candidates], one.top_logprobs[: self.num_candidates]) for one in found]
        ids = np.concatenate([top_ids for top_ids, _ in tops])
        pairs = zip(self.live, tops, strict=True)
        sums = np.concatenate([beam.cumulative_logprob + logprobs for beam, (_, logprobs) in pairs])
        origins = np.repeat(np.arange(len(tops)), [len(top_ids) for top_ids, _ in tops])
        going_on: list[Beam] = []
        for rank, at in enumerate(np.lexsort((ids, origins, -sums))[: self.num_candidates].tolist()):
            origin, token_id = int(origins[at]), int(ids[at])
            is_last = self.is_end(token_id) or self.live[origin].length + 1 == self._max_tokens
            is_wanted = rank < self._wanted.width if is_last else len(going_on) < self._wanted.width
            if is_wanted:
                logprobs = self._logprobs(token_id, found[origin])
                before = self.live[origin]
                beam = Beam(sums[at], before.length + 1, token_id, before, origin, logprobs, logits_hashes[origin])
                (self.finished if is_last else going_on).append(beam)
        # Stable: of equal ones the earlier stays before the later.
        self.finished.sort(key=lambda beam: -self._score(beam, beam.length))
        del self.finished[self._wanted.width :]
        self.live = [] if self._is_over(going_on) else going_on
        return self.live

    def is_end(self, token_id: int) -> bool:
        """Whether a token ends an answer."""
        return token_id in self._ends

    def score(self, beam: Beam) -> BeamScore:
        """What a finished beam is ranked by."""
        score = float(self._score(beam, beam.length))
        return BeamScore(cumulative_logprob=float(beam.cumulative_logprob), score=score)

    def _score(self, beam: Beam, length: int) -> np.float32:
        return np.float32(beam.cumulative_logprob / np.float32(length**self._wanted.length_penalty))

    def _is_over(self, going_on: list[Beam]) -> bool:
        wanted = self._wanted
        if not going_on:
            return True
        if len(self.finished) < wanted.width:
            return False
        if wanted.early_stopping is True or wanted.width == 1:
            return True
        best, worst = going_on[0], self.finished[-1]
        is_open = wanted.early_stopping == "never" and wanted.length_penalty > 0.0
        reached = self._max_tokens if is_open else best.length
        return not self._score(best, reached) > self._score(worst, worst.length)

    def _logprobs(self, token_id: int, found: PositionLogprobs) -> Logprobs | None:
        if self._num_top is None:
            return None
        own = found.top_logprobs[np.flatnonzero(found.top_ids == token_id)[0]]
        top_ids, top_logprobs = found.top_ids[: self._num_top], found.top_logprobs[: self._num_top]
        return Logprobs(token_id, float(own), top_ids.tolist(), top_logprobs.tolist())
