"""The sequences that beam searches run on: those of one report, wait for each other, and fork."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import msgspec

from pennyweight.server.engines.local.messages import Progress, Submit
from pennyweight.server.types import BeamSearch, FinishReason

from .batch import PositionLogprobs
from .beam_search import Beam, Beams
from .scheduler import Scheduler
from .sequence import Sequence


class BeamGroup:
    """One sequence for each live beam, in the order of ``Beams.live``; the first is the prompt's.

    ``sequences`` is the engine's own list of the request's sequences, which grows here and shrinks when ``retire`` is called for one.
    A sequence that has reported is held until all have; while it is, it may be preempted, for all that is needed of it is known.
    """

    def __init__(
        self, submission: Submit, wanted: BeamSearch, sequences: list[Sequence], retire: Callable[[Sequence], None]
    ) -> None:
        (first,) = sequences
        choice = submission.choice
        self._request_id = submission.request_id
        self._num_answers = len(submission.seeds)
        self._beams = Beams(
            wanted,
            end_token_ids=choice.stop_token_ids,
            max_tokens=submission.max_tokens,
            num_top=choice.logprobs,
        )
        # The sampler tells as many as either wants.
        num_top = max(self._beams.num_candidates, choice.logprobs or 0)
        first.choice = msgspec.structs.replace(choice, logprobs=num_top)
        first.num_slots = wanted.width
        self._first = first
        self._sequences = sequences
        self._retire = retire
        self._live = [first]
        self._found: dict[Sequence, PositionLogprobs] = {}

    @property
    def is_complete(self) -> bool:
        """Whether every live beam has reported."""
        return len(self._found) == len(self._live)

    def report(self, sequence: Sequence, found: PositionLogprobs) -> None:
        """Take in what may follow a sequence, which is held from now on."""
        self._found[sequence] = found
        sequence.is_held = True

    def advance(self, scheduler: Scheduler) -> tuple[list[Progress], list[tuple[int, int]]]:
        """Take the group a token further once it is complete.

        Returns its progress and the blocks that must be copied (from, to) before the next step. The answers come all at once when the
        search is over; before that, it is told that it has begun, so that nobody takes it for one that waits.
        """
        beams = self._beams.advance([self._found[one] for one in self._live], [one.logits_hash for one in self._live])
        self._found.clear()
        if not beams:
            answers = [
                self._answer(index, beam) for index, beam in enumerate(self._beams.finished[: self._num_answers])
            ]
            for sequence in list(self._sequences):
                self._retire(sequence)
            return answers, []
        origins = {beam.origin for beam in beams}
        for place, sequence in enumerate(self._live):
            if place not in origins:
                self._retire(sequence)  # before others fork: they may need its blocks and its row
        copies: list[tuple[int, int]] = []
        following: list[Sequence] = []
        for beam in beams:
            parent = self._live[beam.origin]
            # The first that goes on from a sequence is that sequence.
            following.append(self._forked(parent, scheduler, copies) if parent in following else parent)
        for sequence, beam in zip(following, beams, strict=True):
            sequence.append(beam.token_id)
            sequence.is_held = False
        self._live = following
        return [self._begun()] if beams[0].length == 1 else [], copies

    def _forked(self, parent: Sequence, scheduler: Scheduler, copies: list[tuple[int, int]]) -> Sequence:
        taken = {sequence.index for sequence in self._sequences}
        child = dataclasses.replace(
            parent,
            index=next(index for index in range(len(taken) + 1) if index not in taken),
            tokens=parent.tokens.copy(),
            block_table=[],
            block_hashes=parent.block_hashes.copy(),
            row=-1,
        )
        child.num_tokens = parent.num_tokens
        self._sequences.append(child)
        if (copy := scheduler.fork(parent, child)) is not None:
            copies.append(copy)
        return child

    def _begun(self) -> Progress:
        first = self._first
        return Progress(
            self._request_id, 0, [], cached_tokens=first.num_cached, queue_seconds=first.queue_seconds or 0.0
        )

    def _answer(self, index: int, beam: Beam) -> Progress:
        path = beam.path()
        ended = self._beams.is_end(beam.token_id)
        return Progress(
            self._request_id,
            index,
            [one.token_id for one in path],
            [one.logprobs for one in path if one.logprobs is not None],
            FinishReason.STOP if ended else FinishReason.LENGTH,
            beam.token_id if ended else None,
            self._first.num_cached,
            self._first.queue_seconds or 0.0,
            beam_score=self._beams.score(beam),
            logits_hashes=b"".join(one.logits_hash.to_bytes(8, "big") for one in path if self._first.hash_logits),
        )


class BeamGroups:
    """The searches under way, by request. ``copy_blocks`` copies blocks (from, to) between steps; ``retire`` ends a sequence."""

    def __init__(
        self,
        scheduler: Scheduler,
        copy_blocks: Callable[[list[tuple[int, int]]], None],
        retire: Callable[[Sequence], None],
    ) -> None:
        self._scheduler = scheduler
        self._copy_blocks = copy_blocks
        self._retire = retire
        self._groups: dict[str, BeamGroup] = {}

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._groups

    def add(self, submission: Submit, wanted: BeamSearch, sequences: list[Sequence]) -> None:
        """Begin a search with the prompt's sequence; see ``BeamGroup``."""
        self._groups[submission.request_id] = BeamGroup(submission, wanted, sequences, self._retire)

    def drop(self, request_id: str) -> None:
        """Forget a search whose sequences have ended, if it is one."""
        self._groups.pop(request_id, None)

    def report(self, sequence: Sequence, found: PositionLogprobs) -> None:
        """Take in what may follow a sequence."""
        self._groups[sequence.request_id].report(sequence, found)

    def advance(self) -> list[Progress]:
        """Take every search further that has heard of all its sequences; returns what that brought."""
        told: list[Progress] = []
        copies: list[tuple[int, int]] = []
        for group in [one for one in self._groups.values() if one.is_complete]:
            progress, blocks = group.advance(self._scheduler)
            told += progress
            copies += blocks
        if copies:
            self._copy_blocks(copies)
        return told
