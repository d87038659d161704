"""Asks one engine for greedy answers to recorded requests, and what its logits say of the recorded answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from pennyweight.bench.replay.client import ServerClient
from pennyweight.bench.replay.pace import Pace, paced
from pennyweight.bench.replay.recording import Recorded
from pennyweight.bench.replay.score import Unscored
from pennyweight.bench.replay.sending import NotSendable, Sending, generation
from pennyweight.server.record.record import Record

from .heard import Heard

# What makes of the model's probabilities other ones, or of an answer several.
_NOT_GREEDY = (
    *(
        "seed",
        "n",
        "top_p",
        "top_k",
        "min_p",
        "presence_penalty",
        "frequency_penalty",
        "repetition_penalty",
        "logit_bias",
    ),
    *("min_tokens", "max_completion_tokens", "logprobs", "top_logprobs", "prompt_logprobs", "echo", "logits_hashes"),
    *("service_tier", "max_cost", "priority", "deterministic"),
)


async def ask(
    client: ServerClient, records: Iterable[Recorded], concurrency: int, top: int, hear: Callable[[Heard], None]
) -> None:
    """Ask for all that have an answer to compare with, so many at once; ``hear`` is given each as it is there. Of each place the ``top``
    most probable tokens are asked for."""

    async def work(one: Recorded) -> None:
        hear(await _heard(client, one.record, top))

    await paced((one for one in records if is_usable(one.record)), Pace(concurrency), work)


def greedy(record: Record, model: str) -> Sending:
    """The request for the most probable tokens, as many as were recorded, to one model. Raises NotSendable."""
    sending = generation(record)
    body = {name: value for name, value in sending.body.items() if name not in _NOT_GREEDY}
    body |= {"model": model, "temperature": 0, "max_tokens": len(record.choices[0].token_ids)}
    return Sending(path=sending.path, body=body, headers={"cache-control": "no-store"})


def is_usable(record: Record) -> bool:
    """Whether there are tokens of an answer to compare with."""
    return record.error is None and bool(record.choices) and bool(record.choices[0].token_ids)


async def _heard(client: ServerClient, record: Record, top: int) -> Heard:
    model = client.named(record.model or record.request.model)
    given = record.choices[0].token_ids
    heard = Heard(id=record.id, answer=given)
    try:
        answer = await client.ask(greedy(record, model))
    except NotSendable as error:
        return msgspec.structs.replace(heard, error=str(error))
    if answer.error is not None or not answer.choices:
        return msgspec.structs.replace(heard, error=f"{answer.error or 'no choices'}: {answer.message}")
    choice = answer.choices[0]
    heard = msgspec.structs.replace(
        heard,
        model=model,
        fingerprint=answer.fingerprint,
        prompt_token_ids=answer.prompt_token_ids,
        token_ids=choice.token_ids,
        text=choice.text or "",
    )
    if not record.prompt_token_ids:
        return msgspec.structs.replace(heard, unscored="the record hasn't got its prompt's tokens")
    try:
        return msgspec.structs.replace(heard, score=await client.score(model, record.prompt_token_ids, given, top))
    except Unscored as error:
        return msgspec.structs.replace(heard, unscored=str(error))
