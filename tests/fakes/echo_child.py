"""A child process for the supervisor's tests: says ``ready``, echoes frames, and misbehaves on command."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import time


def main() -> None:
    sock = socket.socket(fileno=int(sys.argv[1]))
    options = json.loads(sys.argv[2])
    if options.get("dies_at_start"):
        os._exit(3)
    if options.get("never_ready"):
        time.sleep(60)
    stream = sock.makefile("rb")

    def say(body: bytes) -> None:
        sock.sendall(struct.pack("<I", len(body)) + body)

    say(options.get("says", "ready").encode())
    while header := stream.read(4):
        (length,) = struct.unpack("<I", header)
        body = stream.read(length)
        if body == b"die":
            os.kill(os.getpid(), 9)
        elif body == b"hang":
            time.sleep(60)
        elif body == b"torn":
            sock.sendall(struct.pack("<I", 100) + b"half")
            os._exit(0)
        else:
            say(body)


if __name__ == "__main__":
    main()
