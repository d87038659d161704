"""Asks a server over HTTP: for answers, for what its logits say of given tokens, and for what its numerics depend on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from pennyweight.bench.peers.session import MOST_SECONDS, session_of
from pennyweight.server.engines.manifest import Manifest

from .answer import Answer, read_answer
from .score import Score, Unscored, read_score
from .sending import DETERMINISM_HEADER, Sending

# What a server may refuse without being less of a server: told in the answer, or held to a mode.
_DISPENSABLE = ("logits_hashes", "return_token_ids", "deterministic")
_MANIFESTS = 64


class ServerClient:
    """One server. ``models`` are the names that it lists; ``waived`` has what it refused to tell or to honour, with its words."""

    def __init__(self, session: aiohttp.ClientSession, models: Sequence[str]) -> None:
        self.models = tuple(models)
        self.waived: dict[str, str] = {}
        self._session = session
        self._manifests: dict[tuple[str, str], Manifest | None] = {}

    def named(self, model: str) -> str:
        """How this server calls a recorded model: by the same name, or as the first that it has."""
        return model if model in self.models or not self.models else self.models[0]

    async def ask(self, sending: Sending) -> Answer:
        """The answer, or what went wrong. What a model refuses to tell or to honour, and can be done without, is asked for no more."""
        while True:
            answer = await self._ask(sending)
            if (refused := _refused(answer, sending)) is None:
                return answer
            self.waived[refused] = answer.message
            sending = _without(sending, refused)

    async def score(self, model: str, prompt: Sequence[int], answer: Sequence[int], top: int = 1) -> Score:
        """What the model's logits, which the prompt and so much of the answer give, say of each next token of the answer, with the
        ``top`` most probable beside it. Raises Unscored.
        """
        body = {
            "model": model,
            "prompt": [*prompt, *answer],
            "max_tokens": 0,
            "temperature": 0,
            "prompt_logprobs": top,
        }
        found = await self._ask(Sending(path="/v1/completions", body=body, headers={"cache-control": "no-store"}))
        if found.error is not None:
            raise Unscored(f"{found.error}: {found.message}")
        if found.prompt_logprobs is None:
            raise Unscored("the server tells no prompt_logprobs")
        return read_score(found.prompt_logprobs[len(prompt) :], answer)

    async def text(self, model: str, tokens: Sequence[int]) -> str:
        """The tokens' text, empty where the server doesn't tell it."""
        status, _, data = await self._post(Sending(path="/detokenize", body={"model": model, "tokens": list(tokens)}))
        if status != 200:
            return ""
        try:
            return str(msgspec.json.decode(data)["prompt"])
        except (msgspec.DecodeError, LookupError, TypeError):
            return ""

    async def manifest(self, model: str, fingerprint: str) -> Manifest | None:
        """What the numerics of a model depend on, None where the server doesn't tell or has another fingerprint by now."""
        place = (model, fingerprint)
        if place not in self._manifests:
            if len(self._manifests) >= _MANIFESTS:
                self._manifests.clear()
            self._manifests[place] = await self._manifest(model, fingerprint)
        return self._manifests[place]

    async def _manifest(self, model: str, fingerprint: str) -> Manifest | None:
        try:
            async with self._session.get(f"/v1/models/{model}") as response:
                found = msgspec.json.decode(await response.read(), type=_Described).numerics
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError):
            return None
        return found if found is not None and found.fingerprint == fingerprint else None

    async def _ask(self, sending: Sending) -> Answer:
        return read_answer(*await self._post(sending))

    async def _post(self, sending: Sending) -> tuple[int, dict[str, str], bytes]:
        headers = {**sending.headers, "content-type": "application/json"}
        try:
            async with self._session.post(
                sending.path, data=msgspec.json.encode(sending.body), headers=headers
            ) as response:
                told = {name.lower(): value for name, value in response.headers.items()}
                return response.status, told, await response.read()
        except TimeoutError:
            return 0, {}, _failure("timeout", f"no whole answer within {MOST_SECONDS} s")
        except aiohttp.ClientError as error:
            return 0, {}, _failure("connection", str(error) or type(error).__name__)


@asynccontextmanager
async def connected(url: str, api_key: str | None = None, model: str | None = None) -> AsyncIterator[ServerClient]:
    """A client of the server at ``url`` (without /v1), which is asked for its models unless there is one ``model`` to be taken for all.

    Raises NoServer.
    """
    async with session_of(url, api_key=api_key) as session:
        yield ServerClient(session, [model] if model else await _models(session, url))


class NoServer(Exception):
    """Nothing that answers like a server is there."""


class _Described(msgspec.Struct, frozen=True):
    numerics: Manifest | None = None


class _Listed(msgspec.Struct, frozen=True):
    id: str


class _List(msgspec.Struct, frozen=True):
    data: list[_Listed]


async def _models(session: aiohttp.ClientSession, url: str) -> list[str]:
    try:
        async with session.get("/v1/models") as response:
            if response.status != 200:
                raise NoServer(f"{url}/v1/models answers {response.status}: {(await response.text())[:200]}")
            return [one.id for one in msgspec.json.decode(await response.read(), type=_List).data]
    except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
        raise NoServer(f"{url}/v1/models lists no models: {error!r}") from None


def _refused(answer: Answer, sending: Sending) -> str | None:
    """What of the request was refused and can be done without."""
    if answer.status != 400 or answer.param is None:
        return None
    if answer.param in _DISPENSABLE and answer.param in sending.body:
        return answer.param
    is_mode = answer.param in (DETERMINISM_HEADER, "deterministic") and DETERMINISM_HEADER in sending.headers
    return DETERMINISM_HEADER if is_mode else None


def _without(sending: Sending, name: str) -> Sending:
    body: dict[str, Any] = {key: value for key, value in sending.body.items() if key != name}
    headers = {key: value for key, value in sending.headers.items() if key != name}
    return msgspec.structs.replace(sending, body=body, headers=headers)


def _failure(code: str, message: str) -> bytes:
    return msgspec.json.encode({"error": {"code": code, "message": message}})
