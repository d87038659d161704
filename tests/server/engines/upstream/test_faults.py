"""An upstream that fails in every way: each gets the right error or another try, and no connection is left behind."""

from __future__ import annotations

import asyncio
import random
import shutil
import socket
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
import pytest_asyncio
from fakes.fault_server import MODES, FaultServer, answer, fault_server
from fakes.upstream import answered, chat, joined, upstream_engine

from pennyweight.server.engines.base import HealthState
from pennyweight.server.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    Overloaded,
    PennyweightError,
    ShuttingDown,
    Unavailable,
    UpstreamFailed,
    UpstreamTimeout,
)
from pennyweight.server.types import Delta, Finished, Started, Usage


@pytest_asyncio.fixture
async def server() -> AsyncIterator[FaultServer]:
    async with fault_server() as running:
        yield running


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pennyweight.server.engines.upstream.retry_policy.FIRST_DELAY", 0.01)


@pytest.fixture
def dead_url() -> str:
    """Where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


GOOD_MODES = ["good", "good_at_once", "slow_first_token", "slow_bytes"]
UNCOUNTED = ["no_usage", "no_usage_no_done", "no_usage_but_waits", "broken_after_the_end"]
RETRIED = ["resets_once", "limited_once", "fails_once"]
# Each mode's error, and how often the upstream is asked before a client gets it.
ERRORS: dict[str, tuple[type[PennyweightError], int]] = {
    "stalls_before_headers": (UpstreamTimeout, 1),
    "stalls_after_role": (UpstreamTimeout, 1),
    "stalls_in_the_middle": (UpstreamTimeout, 1),
    "resets": (UpstreamFailed, 3),
    "resets_in_the_middle": (UpstreamFailed, 1),
    "half_an_event": (UpstreamFailed, 3),
    "half_an_event_later": (UpstreamFailed, 1),
    "ends_without_finish": (UpstreamFailed, 1),
    "wrong_content_length": (UpstreamFailed, 3),
    "wrong_chunk_size": (UpstreamFailed, 3),
    "no_http": (UpstreamFailed, 3),
    "oversized_event": (UpstreamFailed, 3),
    "not_json": (UpstreamFailed, 3),
    "not_a_stream": (UpstreamFailed, 3),
    "deep_json": (UpstreamFailed, 3),
    "other_choice": (UpstreamFailed, 3),
    "limited": (Overloaded, 3),
    "limited_for_long": (Overloaded, 1),
    "no_quota": (UpstreamFailed, 1),
    "fails": (UpstreamFailed, 3),
    "redirects": (UpstreamFailed, 1),
    "error_in_stream": (UpstreamFailed, 1),
    "error_first_in_stream": (ContextLengthExceeded, 1),
    "refuses_key": (UpstreamFailed, 1),
    "no_such_model": (UpstreamFailed, 1),
    "invalid": (InvalidRequest, 1),
    "too_long": (ContextLengthExceeded, 1),
}


def test_every_mode_is_tried() -> None:
    assert set(MODES) == {*GOOD_MODES, *RETRIED, *ERRORS, *UNCOUNTED, "never_ends"}


@pytest.mark.parametrize("mode", GOOD_MODES)
async def test_a_stream_becomes_events(server: FaultServer, mode: str) -> None:
    async with upstream_engine(server.base_url) as engine:
        events = await answered(engine, chat(mode))
    assert isinstance(events[0], Started)
    assert events[0].fingerprint == "fp_up"
    assert joined(events) == "Hello world"
    assert [event.finish_reason for event in events[1:-1] if isinstance(event, Delta)] == [None, None, "stop"]
    assert events[-1] == Finished(usage=Usage(prompt_tokens=7, completion_tokens=2, cached_tokens=3))
    assert server.last is not None
    assert server.last.path == "/v1/chat/completions"
    assert server.last.body["stream"] is True
    assert server.last.body["stream_options"] == {"include_usage": True}
    await server.until_closed()


@pytest.mark.parametrize("mode", RETRIED)
async def test_what_may_pass_is_tried_again(server: FaultServer, mode: str) -> None:
    async with upstream_engine(server.base_url) as engine:
        assert joined(await answered(engine, chat(mode))) == "Hello world"
        stats = engine.stats()
    assert server.calls[mode] == 2
    assert stats.retries == 1
    assert stats.retry_seconds > 0


@pytest.mark.parametrize("mode", ERRORS)
async def test_what_fails_has_its_error(server: FaultServer, mode: str) -> None:
    kind, calls = ERRORS[mode]
    async with upstream_engine(server.base_url) as engine:
        with pytest.raises(PennyweightError) as caught:
            await answered(engine, chat(mode))
        assert type(caught.value) is kind, caught.value
        assert server.calls[mode] == calls
        assert engine.stats().running == engine.stats().waiting == 0
        await server.until_idle()
    await server.until_closed()


@pytest.mark.parametrize("mode", UNCOUNTED)
async def test_usage_that_does_not_come_is_estimated(
    server: FaultServer, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pennyweight.server.engines.upstream.exchange.USAGE_SECONDS", 0.1)
    async with upstream_engine(server.base_url) as engine:
        events = await answered(engine, chat(mode, "x" * 41))
    assert events[-1] == Finished(usage=Usage(prompt_tokens=11, completion_tokens=3, is_estimated=True))


async def test_an_upstream_told_to_wait_is_waited_for(server: FaultServer) -> None:
    server.models = answer("200 OK", {"data": []})
    async with upstream_engine(server.base_url, max_retry_after=0.0) as engine:
        with pytest.raises(Overloaded) as caught:
            await answered(engine, chat("limited_for_long"))
    assert caught.value.retry_after == 60


async def test_an_error_message_of_the_upstream_reaches_the_client(server: FaultServer) -> None:
    async with upstream_engine(server.base_url) as engine:
        with pytest.raises(InvalidRequest, match="bad top_p") as caught:
            await answered(engine, chat("invalid"))
        assert caught.value.param == "top_p"
        with pytest.raises(UpstreamFailed, match="oops"):
            await answered(engine, chat("fails"))


async def test_what_was_yielded_is_followed_by_the_error(server: FaultServer) -> None:
    async with upstream_engine(server.base_url) as engine:
        events = engine.generate(chat("error_in_stream"))
        assert isinstance(await anext(events), Started)
        assert isinstance(await anext(events), Delta)
        with pytest.raises(UpstreamFailed, match="engine died"):
            await anext(events)


@pytest.mark.parametrize("kind", ["api_key_env", "api_key_file"])
async def test_the_key_is_sent_and_never_told(
    server: FaultServer,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    key = "sk-very-secret"
    place = tmp_path_factory.mktemp("key") / "key"
    place.write_text(key + "\n")
    monkeypatch.setenv("UPSTREAM_KEY", key)
    settings = {kind: "UPSTREAM_KEY" if kind == "api_key_env" else str(place)}
    async with upstream_engine(server.base_url, **settings) as engine:
        for mode in ("refuses_key", "invalid"):
            with pytest.raises(PennyweightError) as caught:
                await answered(engine, chat(mode))
            assert key not in caught.value.message
            assert key not in repr(caught.value)
        assert key not in f"{engine!r}{engine.__dict__}{engine.capabilities()}{engine.health()}"
    assert server.last is not None
    assert server.last.headers["authorization"] == f"Bearer {key}"


async def test_a_client_that_leaves_ends_the_upstreams_work(server: FaultServer) -> None:
    async with upstream_engine(server.base_url) as engine:
        async with aclosing(engine.generate(chat("never_ends"))) as events:
            async for event in events:
                if isinstance(event, Delta):
                    break
        await server.until_idle()
        assert engine.stats().running == 0


async def test_cancelling_before_the_first_token_ends_the_upstreams_work(server: FaultServer) -> None:
    async with upstream_engine(server.base_url, first_token_timeout=60) as engine:
        task = asyncio.create_task(answered(engine, chat("stalls_before_headers")))
        while not server.calls["stalls_before_headers"]:  # noqa: ASYNC110 (a count has no event)
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait((task,))
        await server.until_idle()
        assert engine.stats().running == 0


async def test_closing_the_engine_ends_what_is_under_way(server: FaultServer) -> None:
    async with upstream_engine(server.base_url, first_token_timeout=60, max_connections=2) as engine:
        modes = ("stalls_before_headers", "never_ends", "good")
        tasks = [asyncio.create_task(answered(engine, chat(mode))) for mode in modes]
        while server.busy < 2:  # noqa: ASYNC110 (a count has no event)
            await asyncio.sleep(0.001)
        assert engine.stats().waiting == 1
        await engine.aclose()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(end) for end in ends] == [ShuttingDown] * 3
        assert engine.health().state is HealthState.DRAINING
        with pytest.raises(ShuttingDown):
            await answered(engine, chat())
    await server.until_closed()


async def test_a_slow_reader_is_no_slow_upstream(server: FaultServer) -> None:
    async with upstream_engine(server.base_url, token_timeout=0.3) as engine:
        events = []
        async for event in engine.generate(chat("good")):
            events.append(event)
            await asyncio.sleep(0.31)
    assert isinstance(events[-1], Finished)


async def test_at_most_so_many_connections(server: FaultServer) -> None:
    async with upstream_engine(server.base_url, max_connections=3) as engine:
        await asyncio.gather(*(answered(engine, chat("good")) for _ in range(40)))
        assert len(server.open) <= 4  # one was the check's


@pytest.mark.parametrize("failures_to_open", [5, 1_000_000])
async def test_a_down_upstream_is_asked_little_more_than_once_for_each_request(
    server: FaultServer, failures_to_open: int
) -> None:
    kinds: Counter[str] = Counter()
    async with upstream_engine(server.base_url, failures_to_open=failures_to_open) as engine:
        for _ in range(10):
            requests = (answered(engine, chat("fails")) for _ in range(50))
            ends = await asyncio.gather(*requests, return_exceptions=True)
            kinds.update(type(end).__name__ for end in ends)
    assert server.calls["fails"] <= 1.2 * 500
    if failures_to_open == 5:
        assert kinds.keys() == {"UpstreamFailed", "Unavailable"}
        assert server.calls["fails"] < 70
    else:
        assert kinds.keys() == {"UpstreamFailed"}


async def test_an_upstream_that_is_not_there_does_not_end_the_start(dead_url: str) -> None:
    async with upstream_engine(dead_url, failures_to_open=3, check_interval=0.05) as engine:
        assert engine.health().state is HealthState.STALLED
        assert "reached" in engine.health().detail
        with pytest.raises((UpstreamFailed, Unavailable)):
            await answered(engine, chat())
        with pytest.raises(Unavailable) as caught:
            await answered(engine, chat())
        assert caught.value.retry_after is not None


async def test_the_circuit_is_closed_by_the_check(server: FaultServer) -> None:
    server.models = answer("503 Service Unavailable")
    async with upstream_engine(server.base_url, failures_to_open=3, check_interval=0.05) as engine:
        with pytest.raises(UpstreamFailed):
            await answered(engine, chat("fails"))
        assert engine.health().state is HealthState.STALLED
        calls = server.calls["fails"]
        with pytest.raises(Unavailable, match="status 500") as caught:
            await answered(engine, chat("fails"))
        assert "oops" not in caught.value.message + engine.health().detail
        assert server.calls["fails"] == calls
        server.models = answer("200 OK", {"data": []})
        async with asyncio.timeout(5):
            while engine.health().state is not HealthState.READY:  # noqa: ASYNC110 (no event)
                await asyncio.sleep(0.01)
        assert joined(await answered(engine, chat("good"))) == "Hello world"


async def test_health_tells_of_a_refused_key(server: FaultServer) -> None:
    server.models = answer("401 Unauthorized")
    async with upstream_engine(server.base_url) as engine:
        assert engine.health().state is HealthState.STALLED
        assert "api_key_file" in engine.health().detail
        await answered(engine, chat("good"))
        assert engine.health().state is HealthState.READY


@pytest.mark.parametrize(
    ("models", "settings", "told"),
    [
        ([{"id": "served", "max_model_len": 99}, {"id": "other", "max_model_len": 1}], {}, 99),
        ([{"id": "a", "max_model_len": 7}], {}, 7),
        ([{"id": "a", "max_model_len": 7}], {"max_model_len": 5}, 5),
        ([{"id": "served"}], {}, None),
        ([{"id": "a", "max_model_len": 1}, {"id": "b", "max_model_len": 2}], {"model": "b"}, 2),
        ("nonsense", {}, None),
    ],
)
async def test_the_context_length_is_the_upstreams(
    server: FaultServer, models: object, settings: dict[str, object], told: int | None
) -> None:
    server.models = answer("200 OK", {"data": models})
    async with upstream_engine(server.base_url, **settings) as engine:
        assert engine.capabilities().max_model_len == told


async def test_no_connect_no_wait() -> None:
    # A listener whose backlog is full lets nobody in.
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        host, port = full.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex((host, port))
        try:
            async with upstream_engine(f"http://{host}:{port}/v1", connect_timeout=0.1, max_retries=0) as engine:
                started = time.monotonic()
                with pytest.raises(UpstreamTimeout, match="connected to"):
                    await answered(engine, chat())
                assert time.monotonic() - started < 5
        finally:
            for filler in fillers:
                filler.close()


MIXED = [
    mode
    for mode in MODES
    if not mode.startswith("stalls") and mode not in ("oversized_event", "deep_json", "no_usage_but_waits")
]
WHOLE = "whole"


@pytest.mark.parametrize("count", [1000, pytest.param(5000, marks=pytest.mark.slow)])
async def test_many_mixed_requests_leave_no_connection(server: FaultServer, count: int) -> None:
    choose = random.Random(7)
    modes = [choose.choice([*MIXED, *["good"] * 20]) for _ in range(count)]
    if count > 1000:
        modes += ["stalls_in_the_middle", "stalls_before_headers", "oversized_event"] * 10
    choose.shuffle(modes)
    ends: dict[str, set[str]] = {mode: set() for mode in modes}
    wanted = asyncio.Semaphore(64)

    async def one(mode: str) -> None:
        async with wanted:
            try:
                async with aclosing(engine.generate(chat(mode))) as events:
                    async for event in events:
                        if mode == "never_ends" and isinstance(event, Delta):
                            break
                ends[mode].add(WHOLE)
            except PennyweightError as error:
                ends[mode].add(type(error).__name__)

    # Long enough for a busy machine.
    limits = {"first_token_timeout": 5, "token_timeout": 5, "connect_timeout": 5}
    async with upstream_engine(server.base_url, retry_budget=1.0, max_connections=32, **limits) as engine:
        await asyncio.gather(*map(one, modes))
        assert engine.stats().running == engine.stats().waiting == 0
        await server.until_idle()
        await server.until_closed(at_most=33)
    await server.until_closed()
    for mode, kinds in ends.items():
        if mode in ERRORS:
            assert kinds == {ERRORS[mode][0].__name__}, mode
        elif mode in RETRIED:  # which the budget may not have allowed
            assert kinds <= {WHOLE, "UpstreamFailed", "Overloaded"}, mode
        else:
            assert kinds == {WHOLE}, mode


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1"]
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    made = await asyncio.create_subprocess_exec(
        *command, "-keyout", key, "-out", certificate, stderr=asyncio.subprocess.DEVNULL
    )
    assert await made.wait() == 0
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    try:
        async with upstream_engine(f"https://localhost:{port}/v1") as engine:
            with pytest.raises(UpstreamFailed, match="TLS"):
                await answered(engine, chat())
    finally:
        server.close()


async def test_the_environments_proxies_are_none_of_ours(
    server: FaultServer, dead_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, dead_url)
    monkeypatch.delenv("no_proxy", raising=False)
    async with upstream_engine(server.base_url) as engine:
        await answered(engine, chat("good"))


async def test_headers_are_added(server: FaultServer) -> None:
    async with upstream_engine(server.base_url, headers={"api-key": "k", "user-agent": "me"}) as engine:
        await answered(engine, chat("good"))
    assert server.last is not None
    assert (server.last.headers["api-key"], server.last.headers["user-agent"]) == ("k", "me")
    assert "cookie" not in server.last.headers


async def test_large_requests_go_out(server: FaultServer) -> None:
    async with upstream_engine(server.base_url, first_token_timeout=30) as engine:
        await answered(engine, chat("good", "x" * 3_000_000))


async def test_a_reader_that_stopped_reading_holds_up_no_end(server: FaultServer) -> None:
    async with upstream_engine(server.base_url) as engine:
        events = engine.generate(chat("never_ends"))
        await anext(events)
        await engine.aclose()
        await server.until_closed()
        with pytest.raises(ShuttingDown):
            _ = [event async for event in events]


@pytest.mark.parametrize("path", ["/v1", "/v1/"])
async def test_a_slash_at_the_end_makes_no_difference(server: FaultServer, path: str) -> None:
    async with upstream_engine(f"http://127.0.0.1:{server.port}{path}") as engine:
        await answered(engine, chat("good"))
    assert server.last is not None
    assert server.last.path == "/v1/chat/completions"
