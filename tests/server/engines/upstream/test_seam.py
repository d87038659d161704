"""Every error of aiohttp is translated where it is called."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp import http_exceptions

from pennyweight.server.engines.upstream.failure import Failure
from pennyweight.server.engines.upstream.session import translated
from pennyweight.server.errors import UpstreamFailed, UpstreamTimeout

FOREIGN = [
    kind
    for module in (aiohttp, http_exceptions)
    for kind in vars(module).values()
    if isinstance(kind, type)
    and issubclass(kind, Exception)
    and kind.__module__.startswith("aiohttp.")
    # What only a server, an upload or a web socket meets, and a programmer's mistakes.
    and issubclass(kind, aiohttp.ClientError | http_exceptions.HttpProcessingError)
]


@pytest.mark.parametrize("kind", FOREIGN, ids=lambda kind: kind.__name__)
def test_an_error_is_translated(kind: type[Exception]) -> None:
    with pytest.raises(Failure) as caught, translated():
        raise kind.__new__(kind)
    is_timeout = issubclass(kind, aiohttp.ConnectionTimeoutError)
    assert isinstance(caught.value.error, UpstreamTimeout if is_timeout else UpstreamFailed)
    assert caught.value.is_fault
    assert caught.value.is_retryable is not issubclass(kind, aiohttp.ClientSSLError)
    assert caught.value.__suppress_context__
