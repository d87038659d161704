"""Whatever tenants ask, in whatever order, at once or after another, before or after a restart: each is given its own answers alone."""

from __future__ import annotations

import asyncio
import io
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from fakes.redis_server import needs_redis, redis_server
from fakes.scripted_engine import ScriptedEngine, says
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pennyweight.server.cache.open_cache import open_cache
from pennyweight.server.cache.response_cache import ResponseCache
from pennyweight.server.config import LogSettings, ResponseCacheSettings
from pennyweight.server.telemetry.logs import make_logger
from pennyweight.server.types import CacheControl, Delta, Request, SamplingParams, TextPrompt

# Names that would be told apart wrongly by whoever put them together without a length or a hash.
TENANTS = ("", "a", "a ", "ab", "b", "tenant", "{", "é", "e\u0301")
ASKED = st.tuples(
    st.sampled_from(TENANTS),
    st.sampled_from(("", "a", "b", "é", "e\u0301")),
    st.sampled_from(
        (CacheControl(), CacheControl(no_cache=True), CacheControl(max_age=60), CacheControl(no_store=True))
    ),
)


def own(tenant: str, text: str) -> str:
    return f"{tenant!a} asked {text!a}"


@asynccontextmanager
async def opened(store: str | None, key_file: Path | None) -> AsyncIterator[ResponseCache]:
    chosen = ResponseCacheSettings(
        max_bytes=1 << 20, store=store, store_timeout=5.0, key_file=None if key_file is None else str(key_file)
    )
    cache = open_cache(chosen, make_logger(LogSettings(), io.StringIO()))
    try:
        yield cache
    finally:
        await cache.aclose()


async def ask(cache: ResponseCache, tenant: str, text: str, control: CacheControl) -> str:
    engine = ScriptedEngine(script=lambda request: says(own(request.tenant, request.prompt.text)))  # type: ignore[union-attr]
    request = Request(
        id="r",
        model="m",
        prompt=TextPrompt(text=text),
        sampling=SamplingParams(max_tokens=4, temperature=0.0),
        tenant=tenant,
        cache=control,
    )
    return "".join([one.text async for one in cache.around(engine).generate(request) if isinstance(one, Delta)])


@pytest.fixture(scope="module", params=["memory", "sqlite", pytest.param("redis", marks=needs_redis)])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("is_encrypted", [False, True])
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rounds=st.lists(st.lists(ASKED, min_size=1, max_size=8), min_size=1, max_size=3))
async def test_no_answer_crosses_tenants(
    kind: str, is_encrypted: bool, rounds: list[list[tuple[str, str, CacheControl]]]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        key_file = Path(directory) / "key"
        key_file.write_text("5a" * 32)
        async with where(kind, Path(directory)) as store:
            for asked in rounds:  # each with an empty memory, as after a restart
                async with opened(store, key_file if is_encrypted and store else None) as cache:
                    at_once = await asyncio.gather(*[ask(cache, *one) for one in asked])
                    again = [await ask(cache, *one) for one in asked]
                # NFC is what makes two texts one request; who asked is never evened out.
                for given_texts in (at_once, again):
                    for (tenant, text, _), found in zip(asked, given_texts, strict=True):
                        assert found in {own(tenant, text), *(own(tenant, one) for one in same_text(text))}


def same_text(text: str) -> tuple[str, ...]:
    return ("é", "e\u0301") if text in ("é", "e\u0301") else (text,)


@asynccontextmanager
async def where(kind: str, directory: Path) -> AsyncIterator[str | None]:
    if kind == "redis":
        async with redis_server() as server:
            yield server.url
    else:
        yield f"sqlite:///{directory}/answers.db" if kind == "sqlite" else None
