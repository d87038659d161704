"""What passes between the web application and an endpoint: a call goes in, an answer or a stream of bytes comes out.

An endpoint is a plain async function of a ``Call``. It raises PennyweightError for a call that it refuses (the caller
answers with ``error_answer``), and returns a ``StreamAnswer`` only when the first text is there, so that everything that
goes wrong before has an HTTP status of its own.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Protocol, cast

import msgspec

from pennyweight.server.config import Settings
from pennyweight.server.deadline import until
from pennyweight.server.engines.base import Choosing, Engine, Leased, data_leaves
from pennyweight.server.engines.leasing import leasing
from pennyweight.server.errors import (
    AuthenticationFailed,
    DeadlineExceeded,
    ModelLoading,
    ModelNotFound,
    PennyweightError,
    PermissionDenied,
)
from pennyweight.server.types import (
    NO_CACHE_CONTROL,
    CacheControl,
    Delta,
    Embeddings,
    EmbedRequest,
    Finished,
    Request,
    Started,
)

Headers = tuple[tuple[bytes, bytes], ...]

JSON: Headers = ((b"content-type", b"application/json"),)
WARNING_HEADER = b"x-pennyweight-warning"

_encode = msgspec.json.Encoder().encode


class Observer(Protocol):
    """Told of what engines do for a call; it must be quick and must not raise.

    A call may make several requests (one for each prompt), told apart by ``request.id``. Each that was ``submitted``
    ends with exactly one of ``finished`` (``embedded`` for an EmbedRequest), ``failed`` and ``abandoned``.
    """

    def submitted(self, request: Request | EmbedRequest) -> None:
        """The call was understood; the request goes to its engine now."""
        ...

    def started(self, request: Request, started: Started) -> None:
        """The engine took it up."""
        ...

    def delta(self, request: Request, delta: Delta) -> None:
        """The engine made tokens, now."""
        ...

    def finished(self, request: Request, finished: Finished) -> None:
        """The answer is whole."""
        ...

    def embedded(self, request: EmbedRequest, embeddings: Embeddings) -> None:
        """Every input has its vector."""
        ...

    def failed(self, request: Request | EmbedRequest, error: BaseException) -> None:
        """It was refused by its engine, or failed under way; also when a stream has begun and its status was 200."""
        ...

    def abandoned(self, request: Request | EmbedRequest) -> None:
        """It was cancelled, for its client went away or another request of its call failed."""
        ...


class NoObserver:
    """An Observer that takes no notice."""

    def submitted(self, request: Request | EmbedRequest) -> None: ...

    def started(self, request: Request, started: Started) -> None: ...

    def delta(self, request: Request, delta: Delta) -> None: ...

    def finished(self, request: Request, finished: Finished) -> None: ...

    def embedded(self, request: EmbedRequest, embeddings: Embeddings) -> None: ...

    def failed(self, request: Request | EmbedRequest, error: BaseException) -> None: ...

    def abandoned(self, request: Request | EmbedRequest) -> None: ...


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request to an endpoint, its body already within the limit of its size.

    ``request_id`` is ours and unique; ``arrival`` is in seconds of ``time.monotonic()``; ``engines`` are by each name
    that a client may give as ``model``; ``around`` are what a request passes on its way to one, the outermost last; where the call is recorded, ``recording`` is outside of them and of the router. ``routes`` are the
    names that leave the choice to the router. ``tenant`` is whose call it is; unless its data ``may_leave``, it names no model that sends
    requests to somebody else. ``headers`` are as they came, ``cache`` is what they ask of the response cache. ``deadline``, by the
    same clock as ``arrival``, is when the answer is wanted at the latest, as far as the headers say.
    """

    body: bytes
    request_id: str
    arrival: float
    settings: Settings
    engines: Mapping[str, Engine]
    around: Sequence[Callable[[Engine], Engine]] = ()
    recording: Callable[[Engine], Engine] | None = None
    routes: Mapping[str, Choosing] = msgspec.field(default_factory=dict)
    tenant: str = ""
    cache: CacheControl = NO_CACHE_CONTROL
    may_leave: bool = True
    headers: Sequence[tuple[bytes, bytes]] = ()
    deadline: float | None = None
    observer: Observer = msgspec.field(default_factory=NoObserver)

    def deadline_within(self, timeout: float | None) -> float | None:
        """The earlier of the headers' deadline and ``timeout`` seconds from the call's arrival; None where there is neither."""
        known = [one for one in (self.deadline, timeout and self.arrival + timeout) if one is not None]
        return min(known, default=None)

    async def engine(self, model: str, deadline: float | None = None) -> Engine:
        """The engine of that name. A model that was never loaded is loaded now; others when they are asked.

        Raises ModelNotFound, PermissionDenied, what ``Leased.lease`` raises, and DeadlineExceeded when that takes until ``deadline``.
        """
        engine = await self._engine(model, deadline)
        return engine if self.recording is None else self.recording(engine)

    async def _engine(self, model: str, deadline: float | None) -> Engine:
        if (route := self.routes.get(model)) is not None:
            return route
        engine = find_engine(self.engines, model)
        if not self.may_leave and data_leaves(engine):
            raise PermissionDenied(
                f"The model {model} is on somebody else's server, and your requests may not leave this one.",
                param="model",
            )
        inner = leasing(engine)
        if inner is not engine and not _is_known(engine):
            # What it can do is asked before anything is asked of it. Not held any longer: who asks for a second lease while the model
            # is to leave waits for the first one's end.
            async with until(deadline), cast("Leased", engine).lease():
                pass
        engine = inner
        for wrap in self.around:
            engine = wrap(engine)
        return engine


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer."""

    body: bytes
    status: int = 200
    headers: Headers = JSON


class StreamAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A stream of server-sent events with status 200, to be closed (``aclose``) by whoever stops reading it early.

    ``chunks`` tells of an error by an event of its own and then ends; only what is a bug in the server is raised after it.
    """

    chunks: AsyncGenerator[bytes]
    headers: Headers


def _is_known(engine: Engine) -> bool:
    try:
        engine.capabilities()
    except ModelLoading:
        return False
    return True


Endpoint = Callable[[Call], Awaitable[Answer | StreamAnswer]]


def find_engine(engines: Mapping[str, Engine], model: str) -> Engine:
    """The engine of that name. Raises ModelNotFound."""
    engine = engines.get(model)
    if engine is None:
        shown = model if len(model) <= 200 else model[:200] + "..."
        raise ModelNotFound(f"The model `{shown}` does not exist or you do not have access to it.", param="model")
    return engine


def json_answer(data: object, *, status: int = 200, headers: Headers = ()) -> Answer:
    """An answer of JSON."""
    return Answer(status=status, headers=JSON + headers, body=_encode(data))


def error_object(error: PennyweightError) -> dict[str, object]:
    """OpenAI's error object."""
    return {"error": {"message": error.message, "type": error.type, "param": error.param, "code": error.code}}


def error_answer(error: PennyweightError) -> Answer:
    """The answer to a call that ended in an error."""
    headers: Headers = ()
    if error.retry_after is not None:
        # Whole seconds (RFC 9110, 10.2.3), and no less than was asked for.
        headers += ((b"retry-after", b"%d" % max(1, -int(-error.retry_after // 1))),)
    if isinstance(error, AuthenticationFailed):
        headers += ((b"www-authenticate", b"Bearer"),)
    if isinstance(error, DeadlineExceeded):
        # The OpenAI clients would else try a 408 again, after the time that it was to take.
        headers += ((b"x-should-retry", b"false"),)
    return json_answer(error_object(error), status=error.status, headers=headers)
