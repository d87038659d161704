"""Hits of the response cache that are answered as soon as their request is read, without a task of their own.

Most of what a hit costs in the ASGI application is on its way there and back: the task, the messages, the middleware. Nothing on that
way waits for anything where an answer's bytes are known already (see ``shortcuts``), so the connection asks here first. A request
that anything else might be said about is left to the application, refusals among them.
"""

from __future__ import annotations

from collections.abc import Collection

from starlette.types import Scope

from .admission import Admission, check_media_type
from .auth import RequireApiKey
from .connection import WholeAnswer
from .errors import PennyweightError
from .middleware import AccountRequests
from .record.recorder import Recorder
from .shortcuts import Shortcuts
from .telemetry.metrics import Metrics

# With one of these, or one of our own, the application has to look at the request.
_DECIDING_HEADERS = frozenset({b"cache-control", b"expect", b"origin"})
_OWN_HEADERS = b"x-pennyweight-"


class ImmediateHits:
    """Answers what ``shortcuts`` know, as the application would: to the same tenants, with the same headers, log line and counts.

    ``paths`` are those that are answered by engines.
    """

    def __init__(
        self,
        shortcuts: Shortcuts,
        *,
        paths: Collection[str],
        accounts: AccountRequests,
        keys: RequireApiKey,
        admission: Admission,
        metrics: Metrics,
        recorder: Recorder | None = None,
    ) -> None:
        self._shortcuts = shortcuts
        self._paths = frozenset(paths)
        self._accounts = accounts
        self._keys = keys
        self._admission = admission
        self._metrics = metrics
        self._recorder = recorder

    def answer(self, scope: Scope, asked: bytes) -> WholeAnswer | None:
        """The answer to a request whose body is whole, None for one that the application is to answer. Raises nothing."""
        path = scope["path"]
        if path not in self._paths or scope["method"] != "POST" or self._admission.is_draining:
            return None
        for name, _ in scope["headers"]:
            if name in _DECIDING_HEADERS or name.startswith(_OWN_HEADERS):
                return None
        try:
            tenant = self._keys.tenant(scope)
            check_media_type(scope)
            if self._recorder is not None and self._recorder.concerns(tenant):
                return None
            found = self._shortcuts.find((path, tenant, asked))
        except PennyweightError:
            return None
        if found is None:
            return None
        shortcut, age = found
        record = self._accounts.begin(scope)
        record.status = 200
        body = shortcut.give(age, record, self._metrics)
        headers = [*shortcut.rendering.headers, *self._accounts.headers(record)]
        self._accounts.end(record)
        return WholeAnswer(headers, body, is_stream=shortcut.rendering.is_stream)
