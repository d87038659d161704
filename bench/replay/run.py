"""Sends recorded requests again, compares what comes with what was recorded, and asks further where they part."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from pennyweight.server.record.record import Record
from pennyweight.server.record.redaction import PROMPTS

from .answer import Answer
from .client import ServerClient
from .comparison import Comparison, compare, skipped
from .decisions import TOOK_PART, cache_differences
from .manifests import differences
from .pace import Pace, paced
from .recording import Recorded
from .score import Unscored
from .sending import NotSendable, Sending, generation, through_cache
from .totals import Shown, Totals, count
from .verdict import Verdict

# What the semantic cache says of an answer that it gives.
SEMANTIC = "semantic"
# Tokens before and from a divergence whose text is shown.
BEFORE, AFTER = 24, 8

Keep = Callable[[Comparison], None]


class Replay:
    """A replay on one server. ``totals`` are of what is done, and ``keep`` hears of each request; ``show`` divergences are told with their
    texts. With ``through_cache`` requests that the response cache took part in are sent once more, to it.
    """

    def __init__(self, client: ServerClient, keep: Keep, *, show: int = 10) -> None:
        self.totals = Totals()
        self.lag = 0.0
        self._client = client
        self._keep = keep
        self._show = show

    async def run(self, records: Iterable[Recorded], pace: Pace) -> None:
        """Replay them all."""
        self.lag = await paced(records, pace, self._one)

    async def _one(self, recorded: Recorded) -> None:
        record = recorded.record
        try:
            found = await self._compared(recorded)
        except NotSendable as error:
            found = skipped(record, str(error))
        self.totals.add(found, is_routed=record.route is not None)
        self._keep(found)

    async def _compared(self, recorded: Recorded) -> Comparison:
        record = recorded.record
        if record.cache == SEMANTIC:
            return skipped(record, "it was given the answer to another question by the semantic cache")
        if record.seed is None and _is_random(record) and record.error is None:
            return skipped(record, "its tokens were drawn, and by which seed isn't known")
        answer = await self._client.ask(self._to_here(generation(record)))
        found = compare(record, answer)
        if answer.error is None:
            await self._compare_manifests(recorded, answer)
            if found.verdict not in (Verdict.BITWISE, Verdict.SKIPPED, Verdict.REFUSED):
                await self._score(record)
            if found.parting is not None or found.prompt_position is not None:
                await self._show_parting(record, answer, found)
        if record.cache in TOOK_PART and record.error is None:
            await self._ask_cache(record)
        return found

    def _to_here(self, sending: Sending) -> Sending:
        return sending.replaced(model=self._client.named(sending.model))

    async def _compare_manifests(self, recorded: Recorded, answer: Answer) -> None:
        record = recorded.record
        prints = (record.manifest, answer.fingerprint)
        if prints[0] != prints[1]:
            model = self._client.named(record.model or record.request.model)
            now = await self._client.manifest(model, answer.fingerprint)
            self.totals.change_of(record.model, prints, differences(recorded.manifest, now, prints))

    async def _score(self, record: Record) -> None:
        """What this server's logits say of the recorded answer."""
        sampling = record.request.sampling
        is_plain = (
            sampling.presence_penalty == sampling.frequency_penalty == 0
            and sampling.repetition_penalty in (None, 1)
            and not sampling.logit_bias
            and not sampling.min_tokens
            and sampling.constraint is None
        )
        if not is_plain or not record.prompt_token_ids:
            return  # the tokens were chosen from other probabilities than the model's, or after an unknown prompt
        is_greedy = not _is_random(record)
        for choice in record.choices:
            if not choice.token_ids or not (is_greedy or choice.logprobs):
                continue
            try:
                model = self._client.named(record.model or record.request.model)
                score = await self._client.score(model, record.prompt_token_ids, choice.token_ids)
            except Unscored as error:
                count(self.totals.unscored, str(error))
                return
            agreeing = [score.agrees(place, token) for place, token in enumerate(choice.token_ids)] if is_greedy else []
            known = choice.logprobs if len(choice.logprobs) == len(choice.token_ids) else ()
            pairs = zip(known, score.logprobs, strict=False)
            self.totals.agreement.add(agreeing, [abs(one - other) for one, other in pairs])

    async def _show_parting(self, record: Record, answer: Answer, found: Comparison) -> None:
        if len(self.totals.shown) >= self._show:
            return
        if found.prompt_position is not None:
            position, one, other = found.prompt_position, record.prompt_token_ids, answer.prompt_token_ids
        elif found.parting is not None and found.parting.position is not None:
            position = found.parting.position
            one = next(one.token_ids for one in record.choices if one.index == found.parting.choice)
            other = next(one.token_ids for one in answer.choices if one.index == found.parting.choice)
        else:
            self.totals.shown.append(Shown(id=record.id, parting=found.parting))
            return
        shown = Shown(id=record.id, parting=found.parting, prompt_position=found.prompt_position)
        place = len(self.totals.shown)
        self.totals.shown.append(shown)
        model = self._client.named(record.model or record.request.model)
        self.totals.shown[place] = msgspec.structs.replace(
            shown,
            before=await self._client.text(model, one[max(position - BEFORE, 0) : position]),
            recorded_text=await self._client.text(model, one[position : position + AFTER]),
            replayed_text=await self._client.text(model, other[position : position + AFTER]),
        )

    async def _ask_cache(self, record: Record) -> None:
        """Send a request as it was received, to the response cache too."""
        if PROMPTS in record.redacted:
            return
        answer = await self._client.ask(self._to_here(through_cache(record)))
        cached = self.totals.cached
        cached.requests += 1
        if answer.error is not None:
            count(cached.results, f"{record.cache}, now {answer.error}")
            return
        count(cached.results, f"{record.cache}, now {answer.cache or 'no part'}")
        cached.same_key += not any(cache_differences(record, answer))
        verdict = compare(
            msgspec.structs.replace(record, route=None), msgspec.structs.replace(answer, route=None)
        ).verdict
        cached.same_answer += verdict in (Verdict.BITWISE, Verdict.TOKENS, Verdict.TEXT)


def _is_random(record: Record) -> bool:
    """Whether its tokens were drawn, as far as the request says; of those the recorder knows the seed, or has given one."""
    sampling = record.request.sampling
    return sampling.temperature != 0 and sampling.top_k != 1
