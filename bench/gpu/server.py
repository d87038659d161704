"""Whether the measured server runs on this machine, and as which process."""

from __future__ import annotations

import contextlib
import socket
from urllib.parse import urlsplit

import psutil


def server_pid(url: str) -> int | None:
    """The process that listens where ``url`` points to; None where that is another machine or another user's process."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if not _is_this_machine(parts.hostname or ""):
        return None
    with contextlib.suppress(psutil.AccessDenied):
        for one in psutil.net_connections("tcp"):
            # laddr is (host, port).
            if one.status == psutil.CONN_LISTEN and one.laddr[1:] == (port,) and one.pid is not None:
                return int(one.pid)
    return None


def visible_cards(pid: int) -> str | None:
    """CUDA_VISIBLE_DEVICES as the process was started with it; None where it was not set or can't be read."""
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).environ().get("CUDA_VISIBLE_DEVICES")
    return None


def _is_this_machine(host: str) -> bool:
    own = {address.address for addresses in psutil.net_if_addrs().values() for address in addresses}
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return bool(found & own) or any(address.startswith("127.") or address == "::1" for address in found)
