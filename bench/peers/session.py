"""HTTP to a server that is measured by what it answers, and not by how soon."""

from __future__ import annotations

import aiohttp

# Of an answer, with all that it may have to wait for.
MOST_SECONDS = 600


def session_of(url: str, *, api_key: str | None = None) -> aiohttp.ClientSession:
    """For any number of requests at once, each of which may wait for long."""
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    timeout = aiohttp.ClientTimeout(total=MOST_SECONDS)
    return aiohttp.ClientSession(url, headers=headers, timeout=timeout, connector=aiohttp.TCPConnector(limit=0))
