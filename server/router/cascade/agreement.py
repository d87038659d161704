"""Whether a model says the same when it is asked again (self-consistency, arXiv:2203.11171, of whole answers)."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from typing import Any

import msgspec

from pennyweight.server.errors import DeadlineExceeded, PennyweightError, ShuttingDown
from pennyweight.server.types import Request

from .judge import Ask, Verdict
from .whole_answer import Called, WholeAnswer

_encode = msgspec.json.Encoder().encode
# Seeds are positive and of 31 bits: some upstreams take no larger ones.
_SEED_BITS = 31


class AgreementJudge:
    """Of ``samples`` further answers at a temperature, a share of ``least`` is to say the same as each choice of the answer.

    They are one request for so many choices, to the model that answered, whose seed follows from the request's hash.
    """

    name = "agreement"
    alternatives = 0

    def __init__(self, samples: int, temperature: float, least: float) -> None:
        self._samples = samples
        self._temperature = temperature
        self._least = least

    async def judge(self, request: Request, answer: WholeAnswer, ask: Ask) -> Verdict | None:
        try:
            samples = await ask(self._sampled(request))
        except (ShuttingDown, DeadlineExceeded):
            raise
        except PennyweightError as error:
            return Verdict(False, f"agreement not known ({error.code or error.type})")
        said = [normalised(*one) for one in zip(samples.texts(), samples.calls(), strict=True)]
        share = min(
            said.count(normalised(*one)) / len(said) for one in zip(answer.texts(), answer.calls(), strict=True)
        )
        is_sure = share >= self._least
        reason = f"agreement {share:.2f} {'>=' if is_sure else '<'} {self._least:g}"
        return Verdict(is_sure, reason, (samples.dropped(),))

    def _sampled(self, request: Request) -> Request:
        sampling = msgspec.structs.replace(
            request.sampling,
            n=self._samples,
            temperature=self._temperature,
            # A request for the most probable token alone may say so in this way too.
            top_k=None if request.sampling.top_k == 1 else request.sampling.top_k,
            seed=_seed(request),
            logprobs=None,
            prompt_logprobs=None,
        )
        return msgspec.structs.replace(
            request,
            id=f"{request.id}-samples",
            sampling=sampling,
            # What is told of tokens and logits is told of the answer.
            hash_logits=False,
            wants_token_ids=False,
            is_recorded=False,
        )


def normalised(text: str, calls: list[Called]) -> Any:
    """What answers that say the same have in common: JSON's value, or the words without case, spaces around them, and punctuation at
    either end; of calls names and arguments. Texts are compared in Unicode's form NFKC.
    """
    if calls:
        return [(call.name, _value(call.arguments)) for call in calls]
    value = _value(text)
    if not isinstance(value, str):
        return json.dumps(value, sort_keys=True)
    words = unicodedata.normalize("NFKC", value).casefold().split()
    return " ".join(words).strip(".,;:!?\"'`*()[] ")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _seed(request: Request) -> int:
    asked = _encode((request.prompt, request.sampling))
    return int.from_bytes(hashlib.sha256(asked).digest()[:8], "big") >> (64 - _SEED_BITS)
