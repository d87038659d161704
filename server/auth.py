"""Who may use the server: API keys as Bearer tokens."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from .errors import AuthenticationFailed
from .request_headers import header_of
from .tenants import Tenants

# What probes and Prometheus read, which seldom have keys; vLLM leaves these open too. They tell nothing of any request.
PUBLIC_PATHS = frozenset({"/health", "/ready", "/version", "/metrics", "/openapi.json"})
# Where in the connection's state the tenant of a request stands, once its key is known.
TENANT = "tenant"


def tenant_of(scope: Scope) -> str:
    """Whose request it is; the empty string for all of a server that asks for no keys."""
    found: str = scope.get("state", {}).get(TENANT, "")
    return found


class RequireApiKey:
    """Middleware that raises AuthenticationFailed for a request without a key of one of the tenants, if any have keys, and notes whose it is."""

    def __init__(self, app: ASGIApp, tenants: Tenants) -> None:
        self._app = app
        self._tenants = tenants

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._tenants and scope["type"] == "http" and scope["path"] not in PUBLIC_PATHS:
            scope.setdefault("state", {})[TENANT] = self.tenant(scope)
        await self._app(scope, receive, send)

    def tenant(self, scope: Scope) -> str:
        """Whose key the request has; the empty string where none are asked for. Raises AuthenticationFailed."""
        if not self._tenants:
            return ""
        authorization = header_of(scope, b"authorization")
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise AuthenticationFailed(
                "You didn't provide an API key: send it in the Authorization header, as 'Bearer YOUR_KEY'."
            )
        # Header bytes come as Latin-1; a key is the same bytes.
        tenant = self._tenants.with_key(key.strip().encode("latin-1"))
        if tenant is None:
            raise AuthenticationFailed("Incorrect API key provided.")
        return tenant.id
