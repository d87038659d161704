"""An OpenAI-compatible endpoint: where it is, which model it is asked for, and the bodies that it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import aiohttp
import msgspec

from .sample import BadAnswer

Api = Literal["completions", "chat"]
PATHS: Mapping[Api, str] = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}
LIST_SECONDS = 30


class Endpoint(msgspec.Struct, frozen=True):
    """Where a model's answers are asked for. ``url`` is the server's, without /v1.

    ``extra_body`` goes over what a request's body has. With ``keep_alive`` a connection is used for several requests.
    """

    url: str
    model: str
    api: Api = "completions"
    stream: bool = True
    api_key: str | None = None
    extra_body: dict[str, Any] = msgspec.field(default_factory=dict)
    keep_alive: bool = True

    @property
    def path(self) -> str:
        return PATHS[self.api]

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.api_key}"} if self.api_key else {}

    def body(
        self, prompt: list[int] | str | list[dict[str, Any]], output_tokens: int | None, *, exact: bool = True
    ) -> dict[str, Any]:
        """A greedy request for this prompt: token ids or text (completions), messages or text (chat).

        ``exact`` asks for just so many tokens (``ignore_eos``, which vLLM, SGLang and Pennyweight know); otherwise
        they are a limit.
        """
        body: dict[str, Any] = {"model": self.model, "temperature": 0}
        if self.api == "completions":
            body["prompt"] = prompt
        else:
            body["messages"] = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        if output_tokens is not None:
            body["max_tokens"] = output_tokens
            if exact:
                body["ignore_eos"] = True
        if self.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body | self.extra_body


def base_url(url: str) -> str:
    """A server's address without a trailing /v1 or slash, as users give it both ways."""
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


def parse_api(text: str) -> Api:
    """The API of ``chat`` or ``completions``, or of their paths as `vllm bench serve` has them. Raises ValueError."""
    for name, path in PATHS.items():
        if text in (name, path):
            return name
    raise ValueError(f"--endpoint is completions or chat, not {text}")


def parse_object(text: str | None) -> dict[str, Any]:
    """A JSON object; the empty one of None. Raises ValueError."""
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise ValueError(f"--extra-body must be a JSON object: {error}") from None


async def find_endpoint(
    url: str,
    *,
    model: str | None = None,
    api: Api = "completions",
    stream: bool = True,
    api_key: str | None = None,
    extra_body: Mapping[str, Any] | None = None,
    keep_alive: bool = True,
) -> Endpoint:
    """The endpoint of ``model``, or of the first model that the server at ``url`` lists. Raises BadAnswer."""
    url = base_url(url)
    endpoint = Endpoint(url, model or "", api, stream, api_key, dict(extra_body or {}), keep_alive)
    if model:
        return endpoint
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LIST_SECONDS)) as session,
            session.get(f"{url}/v1/models", headers=endpoint.headers) as response,
        ):
            return msgspec.structs.replace(endpoint, model=(await response.json())["data"][0]["id"])
    except (aiohttp.ClientError, LookupError, TypeError, ValueError, TimeoutError) as error:
        raise BadAnswer(f"{url}/v1/models lists no model: {error!r}") from error
