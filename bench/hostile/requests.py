"""Kinds of malformed and hostile requests, each made anew from a seeded generator, and what may be answered to them.

Nothing in them is a plain overload: what asks for tokens asks for a few. They ask a server to read, to parse, to compile, to
tokenise, to wait or to hold what it should not.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from . import bodies
from .bodies import CHAT, COMPLETIONS, Body, chat
from .generated import damaged_bytes, generated_object

REFUSED = frozenset({400})


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """What is sent over each of ``connections`` of its own, and how the client behaves.

    ``pieces`` are sent one after another with ``pause`` seconds after each. The status of the first answer must be one of
    ``statuses``; none means that no answer is due. ``in_api`` tells that an error must have OpenAI's shape, and ``params``
    which parameters it may blame, where that is known. A client that does not read hangs up after ``patience`` seconds,
    as does one whose time is over.
    """

    kind: str
    pieces: tuple[bytes, ...]
    statuses: frozenset[int] = REFUSED
    params: frozenset[str | None] | None = None
    in_api: bool = True
    pause: float = 0.0
    reads: bool = True
    patience: float = 60.0
    connections: int = 1


def http(
    method: str, path: str, body: bytes = b"", *, headers: Mapping[str, str] | None = None, declared: int | None = None
) -> bytes:
    """A request as bytes, after which the server closes; ``declared`` is what it says of its body's length."""
    lines = {
        "Host": "localhost",
        "Connection": "close",
        "Content-Type": "application/json",
        "Content-Length": str(len(body) if declared is None else declared),
    } | dict(headers or {})
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body


def stream(model: str, tokens: int, **changes: object) -> bytes:
    """A valid streamed chat."""
    wanted = chat(model, stream=True, max_tokens=tokens, ignore_eos=True, **changes)
    return http("POST", CHAT, json.dumps(wanted).encode())


def huge_body(generator: random.Random, model: str) -> Attack:
    # Not "close": a server that closes on a client which is still sending resets the connection, and its answer is lost.
    block, kept = b"x" * 65536, {"Connection": "keep-alive"}
    if generator.random() < 0.5:
        head = http("POST", CHAT, declared=160 * len(block), headers=kept)
        pieces = (head, *[block] * 160)
    else:
        head = http("POST", CHAT, headers=kept | {"Content-Length": "", "Transfer-Encoding": "chunked"})
        pieces = (head, *[b"%x\r\n%b\r\n" % (len(block), block)] * 160, b"0\r\n\r\n")
    return Attack(kind="huge_body", pieces=pieces, statuses=frozenset({413}), patience=3.0)


def cut_body(generator: random.Random, model: str) -> Attack:
    body = json.dumps(chat(model)).encode()
    request = http("POST", CHAT, body, declared=len(body) + generator.randrange(1, 1 << 20))
    return Attack(kind="cut_body", pieces=(request,), statuses=frozenset(), reads=False, patience=0.05)


def slow_body(generator: random.Random, model: str) -> Attack:
    body = json.dumps(chat(model)).encode()
    pieces = (http("POST", CHAT, declared=len(body)), *(body[place : place + 1] for place in range(40)))
    return Attack(kind="slow_body", pieces=pieces, statuses=frozenset(), pause=0.1, reads=False, patience=4.0)


def slow_header(generator: random.Random, model: str) -> Attack:
    request = http("POST", CHAT)
    pieces = tuple(request[place : place + 1] for place in range(40))
    return Attack(kind="slow_header", pieces=pieces, statuses=frozenset(), pause=0.1, reads=False, patience=4.0)


def wrong_content_type(generator: random.Random, model: str) -> Attack:
    kinds = ["text/plain", "", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json"]
    kinds += ["application/json; charset=utf-16", "application/jsonp"]
    headers = {"Content-Type": generator.choice(kinds)}
    request = http("POST", CHAT, json.dumps(chat(model)).encode(), headers=headers)
    return Attack(kind="wrong_content_type", pieces=(request,), statuses=frozenset({415}))


def compressed(generator: random.Random, model: str) -> Attack:
    headers = {"Content-Encoding": generator.choice(["gzip", "br", "deflate, gzip", "zstd"])}
    body = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" + generator.randbytes(200)
    return Attack(kind="compressed", pieces=(http("POST", CHAT, body, headers=headers),), statuses=frozenset({415}))


def wrong_method(generator: random.Random, model: str) -> Attack:
    method, path = generator.choice(
        [("GET", CHAT), ("PUT", CHAT), ("DELETE", "/v1/models/x"), ("PATCH", COMPLETIONS), ("TRACE", "/health")]
    )
    return Attack(kind="wrong_method", pieces=(http(method, path),), statuses=frozenset({405}))


def unknown_path(generator: random.Random, model: str) -> Attack:
    paths = ["/", "/v1", "/v1/chat", "/admin", "/v1/chat/completions/", "//v1/models", "/%00", "/" + "a" * 5000]
    paths += ["/v1/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/v1/chat/completions%0d%0aX:y", "/health/../x"]
    request = http(generator.choice(["GET", "POST"]), generator.choice(paths))
    return Attack(kind="unknown_path", pieces=(request,), statuses=frozenset({404}))


def http_garbage(generator: random.Random, model: str) -> Attack:
    garbage = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + generator.randbytes(32),  # a TLS client's hello
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /health HTTP/1.1\r\nno colon here\r\n\r\n",
        b"GET /health HTTP/1.1\r\nX: a\x00b\r\n\r\n",
        b"\x00" * 100,
        generator.randbytes(300) + b"\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    ]
    return Attack(kind="http_garbage", pieces=(generator.choice(garbage),), in_api=False)


def unread_stream(generator: random.Random, model: str) -> Attack:
    pieces = (stream(model, 24, logprobs=True, top_logprobs=20),)
    return Attack(kind="unread_stream", pieces=pieces, statuses=frozenset(), reads=False, patience=3.0)


def leave_in_request(generator: random.Random, model: str) -> Attack:
    request = http("POST", CHAT, json.dumps(chat(model, max_tokens=500, ignore_eos=True)).encode())
    patience = generator.uniform(0.0, 0.1)
    return Attack(kind="leave_in_request", pieces=(request,), statuses=frozenset(), reads=False, patience=patience)


def leave_in_stream(generator: random.Random, model: str) -> Attack:
    patience = generator.uniform(0.05, 0.2)
    return Attack(kind="leave_in_stream", pieces=(stream(model, 500),), statuses=frozenset(), patience=patience)


def pipelined_garbage(generator: random.Random, model: str) -> Attack:
    first = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    pieces = (first * generator.randrange(1, 20) + generator.randbytes(100) + b"\r\n\r\n",)
    return Attack(kind="pipelined_garbage", pieces=pieces, statuses=frozenset({200, 400}), in_api=False)


def enormous_header(generator: random.Random, model: str) -> Attack:
    headers = generator.choice(
        [{"X": "y" * 200_000}, {f"X-{number}": "y" * 100 for number in range(2000)}, {"y" * 100_000: "z"}]
    )
    pieces = (http("POST", CHAT, headers=headers),)
    return Attack(kind="enormous_header", pieces=pieces, statuses=frozenset({431}), in_api=False)


def many_connections(generator: random.Random, model: str) -> Attack:
    return Attack(kind="many_connections", pieces=(), statuses=frozenset(), reads=False, patience=0.5, connections=40)


def null_bytes(generator: random.Random, model: str) -> Attack:
    body = json.dumps(generator.choice([chat(model + "\0"), chat("\0" * 1000)])).encode()
    return Attack(
        kind="null_bytes",
        pieces=(http("POST", CHAT, body),),
        statuses=frozenset({404}),
        params=frozenset({"model"}),
    )


def path_traversal(generator: random.Random, model: str) -> Attack:
    name = generator.choice(
        ["../../../../etc/passwd", "/etc/passwd", "..\\..\\x", "file:///etc/passwd", "~/.ssh/id_rsa"]
    )
    if generator.random() < 0.5:
        request = http("POST", CHAT, json.dumps(chat(name)).encode())
    else:
        request = http("GET", "/v1/models/" + name.replace("/", "%2f").replace("\\", "%5c"))
    return Attack(kind="path_traversal", pieces=(request,), statuses=frozenset({404}), params=frozenset({"model"}))


def smuggling(generator: random.Random, model: str) -> Attack:
    body = json.dumps(chat(model)).encode()
    smuggled = b"0\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
    framing = generator.choice(
        [
            b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            b"Transfer-Encoding: xchunked\r\n",
            b"Transfer-Encoding : chunked\r\n",
            b"Content-Length: 5\r\nContent-Length: %d\r\n" % len(body),
            b"Content-Length: 0x%x\r\n" % len(body),
            b"Content-Length: +%d\r\n" % len(body),
        ]
    )
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + framing + b"\r\n"
    # Not all of it is wrong to every parser, and some of it waits for more: the client leaves soon.
    return Attack(kind="smuggling", pieces=(head + smuggled,), in_api=False, patience=1.0)


def head_options_flood(generator: random.Random, model: str) -> Attack:
    method = generator.choice(["HEAD", "OPTIONS"])
    path = generator.choice(["/health", "/metrics", CHAT, "/v1/models", "/openapi.json"])
    once = f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    pieces = (once * 49 + http(method, path),)
    return Attack(kind="head_options_flood", pieces=pieces, statuses=frozenset({200, 405}))


def _of_body(kind: str, make: Callable[[random.Random, str], Body]) -> Callable[[random.Random, str], Attack]:
    def attack(generator: random.Random, model: str) -> Attack:
        body = make(generator, model)
        return Attack(
            kind=kind,
            pieces=(http("POST", body.path, body.raw),),
            statuses=body.statuses,
            params=body.params,
        )

    return attack


_BY_CONNECTION: tuple[Callable[[random.Random, str], Attack], ...] = (
    huge_body, cut_body, slow_body, slow_header, wrong_content_type, compressed, wrong_method, unknown_path,
    http_garbage, unread_stream, leave_in_request, leave_in_stream, pipelined_garbage, enormous_header,
    many_connections, null_bytes, path_traversal, smuggling, head_options_flood,
)  # fmt: skip

KINDS: Mapping[str, Callable[[random.Random, str], Attack]] = {
    **{make.__name__: make for make in _BY_CONNECTION},
    **{make.__name__: _of_body(make.__name__, make) for make in (*bodies.MAKERS, generated_object, damaged_bytes)},
}


def attacks(model: str, *, each: int, seed: int, kinds: Iterable[str] = tuple(KINDS)) -> list[Attack]:
    """``each`` attacks of every kind, in a random order that the seed decides."""
    generator = random.Random(seed)
    found = [KINDS[kind](generator, model) for kind in kinds for _ in range(each)]
    generator.shuffle(found)
    return found
