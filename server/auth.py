"""Who may use the server: API keys as Bearer tokens."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from .errors import AuthenticationFailed
from .request_headers import header_of

# What probes and Prometheus read, which seldom have keys; vLLM leaves these open too. They tell nothing of any request.
PUBLIC_PATHS = frozenset({"/health", "/ready", "/version", "/metrics", "/openapi.json"})
# Where in the connection's state the tenant of a request stands, once its key is known.
TENANT = "tenant"


def tenant_of(scope: Scope) -> str:
    """Whose request it is; the empty string for all of a server that asks for no keys."""
    found: str = scope.get("state", {}).get(TENANT, "")
    return found


class RequireApiKey:
    """Middleware that raises AuthenticationFailed for a request without one of the keys, if there are any, and notes whose key it is.

    Keys are kept and compared as SHA-256 digests, each time all of them, so that the time taken tells nothing of a key.
    """

    def __init__(self, app: ASGIApp, api_keys: Iterable[str]) -> None:
        self._app = app
        self._digests = [_digest(key.encode()) for key in api_keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._digests and scope["type"] == "http" and scope["path"] not in PUBLIC_PATHS:
            scope.setdefault("state", {})[TENANT] = self._check(header_of(scope, b"authorization"))
        await self._app(scope, receive, send)

    def _check(self, authorization: str) -> str:
        """The tenant that a key belongs to: so far each key is one of its own, known by the digest of its digest."""
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise AuthenticationFailed(
                "You didn't provide an API key: send it in the Authorization header, as 'Bearer YOUR_KEY'."
            )
        # Header bytes come as Latin-1; a key is the same bytes.
        digest = _digest(key.strip().encode("latin-1"))
        if not any([hmac.compare_digest(digest, known) for known in self._digests]):  # noqa: C419 (all, not until one is found)
            raise AuthenticationFailed("Incorrect API key provided.")
        return hashlib.sha256(digest).hexdigest()[:32]


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
