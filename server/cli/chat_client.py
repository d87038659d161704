"""A client of the chat endpoint for people: streams one answer at a time, and says what to do when that fails."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Any

CONNECT_SECONDS = 10.0
# Between two events; a long prompt on a slow machine takes its time before the first.
READ_SECONDS = 600.0
WAIT_SECONDS = 0.2


class ChatError(Exception):
    """What went wrong, in a sentence for the person at the terminal."""


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast an answer came: its tokens, seconds until the first text and in all."""

    tokens: int
    first: float
    total: float

    def __str__(self) -> str:
        # The first token waited for the prompt; what follows is how fast the model writes.
        seconds = self.total - self.first if self.tokens > 1 else self.total
        rate = (self.tokens - 1 if self.tokens > 1 else self.tokens) / max(seconds, 1e-9)
        return (
            f"{self.tokens} tokens in {self.total:.2f} s, the first after {self.first:.2f} s, then {rate:.0f} tokens/s"
        )


class ChatClient:
    """Talks to one server. ``speed`` is that of the last answer, None when it was not whole or the server doesn't count."""

    def __init__(self, url: str, api_key: str | None) -> None:
        self._url = url.rstrip("/").removesuffix("/v1")
        self._headers = {"Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self.speed: Speed | None = None

    def wait_until_ready(self, seconds: float) -> None:
        """Return when the server takes requests. Raises ChatError when it does not within that time."""
        end = time.monotonic() + seconds
        while True:
            try:
                with urllib.request.urlopen(f"{self._url}/ready", timeout=CONNECT_SECONDS):
                    return
            except (OSError, HTTPException) as error:
                if time.monotonic() > end:
                    raise ChatError(f"the server at {self._url} was not ready within {seconds:g} s ({error})") from None
            time.sleep(WAIT_SECONDS)

    def models(self) -> list[str]:
        """The names that the server has. Raises ChatError."""
        with self._open("/v1/models", None) as answer:
            return [one["id"] for one in json.load(answer)["data"]]

    def answer(self, messages: list[dict[str, str]], **parameters: Any) -> Generator[str, None, None]:
        """The text of the answer as it comes. Raises ChatError. Closing it ends the request."""
        body = {"messages": messages, "stream": True, "stream_options": {"include_usage": True}} | parameters
        self.speed = None
        started = time.monotonic()
        first: float | None = None
        with self._open("/v1/chat/completions", body) as response:
            for event in _events(response):
                if usage := event.get("usage"):
                    total = time.monotonic() - started
                    self.speed = Speed(usage["completion_tokens"], total if first is None else first, total)
                for choice in event["choices"]:
                    if text := choice["delta"].get("content"):
                        first = first or time.monotonic() - started
                        yield text

    def explain_route(self, body: dict[str, Any]) -> dict[str, Any]:
        """Where the server would send a conversation, and why. Raises ChatError."""
        with self._open("/v1/route/explain", body) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def _open(self, path: str, body: object) -> HTTPResponse:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, self._headers)
        try:
            response: HTTPResponse = urllib.request.urlopen(request, timeout=READ_SECONDS)
        except urllib.error.HTTPError as error:
            raise ChatError(_message(error)) from None
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise ChatError(f"no server answers at {self._url} ({reason}); start one with: pennyweight serve") from None
        return response


def _events(response: HTTPResponse) -> Iterator[dict[str, Any]]:
    """The data of each server-sent event until [DONE]. Raises ChatError for an error event or an end before [DONE]."""
    try:
        for line in response:
            if not line.startswith(b"data: "):
                continue
            data = line.removeprefix(b"data: ").strip()
            if data == b"[DONE]":
                return
            event = json.loads(data)
            if "error" in event:
                raise ChatError(event["error"]["message"])
            yield event
    except (OSError, HTTPException, ValueError) as error:
        raise ChatError(f"the connection broke ({error})") from None
    raise ChatError("the answer ended before it was whole")


def _message(error: urllib.error.HTTPError) -> str:
    try:
        message: str = json.load(error)["error"]["message"]
    except (ValueError, LookupError, TypeError):
        return f"the server answered {error.code} {error.reason}"
    hint = " (give it by --api-key or in $PENNYWEIGHT_API_KEY)" if error.code == 401 else ""
    return message + hint
