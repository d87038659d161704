"""The semantic cache around a scripted engine: what it gives to whom, and what becomes of it when parts of it fail."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from typing import Any

import pytest
from fakes.scripted_engine import ScriptedEngine, says
from fakes.word_embedder import WordEmbedder
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.server.cache.semantic.cache import SemanticCache
from pennyweight.server.cache.semantic.versions import BATCH
from pennyweight.server.cache.semantic.wiring import make_semantic_cache
from pennyweight.server.config import SemanticCacheSettings
from pennyweight.server.engines.base import Engine
from pennyweight.server.errors import EngineDead
from pennyweight.server.types import (
    CacheControl,
    ChatPrompt,
    Delta,
    Finished,
    FinishReason,
    Message,
    Request,
    SamplingParams,
    Started,
    Tool,
)

SUBJECTS = ["apples", "bridges", "clouds", "drums", "engines", "ferries", "gardens", "houses", "islands", "jungles"]
VERBS = ["grow", "build", "paint", "sell", "move", "store", "clean", "count"]
numbers = itertools.count()


class Bench:
    """A cache with its engine and its embedders; all answers end with whose they are, and depend on the subject and the verb alone."""

    def __init__(self, more: Mapping[str, Engine] | None = None, **changes: Any) -> None:
        self.engine = ScriptedEngine(script=self._answer)
        self.embedder = WordEmbedder()
        self.engines: dict[str, Engine] = {"scripted": self.engine, "embed": self.embedder, **(more or {})}
        given: dict[str, Any] = {
            "tenants": ("*",),
            "embedder": "embed",
            "bound": 0.3,
            "bound_over": "hits",
            "audit_share": 0.01,
        }
        self.now = 0.0
        self.cache: SemanticCache = make_semantic_cache(
            SemanticCacheSettings(**(given | changes)), self.engines, clock=lambda: self.now
        )

    async def ask(self, text: str, tenant: str = "ann", **changes: Any) -> tuple[str | None, str]:
        """What the cache did, and the answer; when all is kept and judged."""
        messages = changes.pop("messages", (Message(role="user", content=text),))
        sampling = SamplingParams(**({"temperature": 0.0} | changes.pop("sampling", {})))
        prompt = ChatPrompt(messages=messages, tools=changes.pop("tools", ()))
        request = Request(
            id=str(next(numbers)), model="scripted", prompt=prompt, sampling=sampling, tenant=tenant, **changes
        )
        events = [event async for event in self.cache.around(self.engine).generate(request)]
        await self.cache.settled()
        started, *between, finished = events
        assert isinstance(started, Started)
        assert isinstance(finished, Finished)
        assert started.request_id == request.id
        return started.cache, "".join(one.text for one in between if isinstance(one, Delta))

    async def warm(self, tenant: str = "ann") -> None:
        """Ask enough for it to have learned that the order of words says nothing and the subject all."""
        for verb, subject in itertools.product(VERBS, SUBJECTS):
            await self.ask(f"how do you {verb} {subject} quickly", tenant)
            await self.ask(f"how quickly do you {verb} {subject}", tenant)
            await self.ask(f"quickly how do you {verb} {subject}", tenant)

    @staticmethod
    def _answer(request: Request) -> list[Delta]:
        assert isinstance(request.prompt, ChatPrompt)
        asked = set((request.prompt.messages[-1].content or "").split())
        about = sorted(asked & {*SUBJECTS, *VERBS})
        return says(" ".join(about), f" for {request.tenant}")


async def serves(bench: Bench, version: str) -> None:
    while bench.cache.index.serving != version:  # noqa: ASYNC110 (a flip has no event)
        await asyncio.sleep(0.001)


async def test_what_was_asked_in_other_words_is_answered_once_it_was_learned() -> None:
    bench = Bench()
    await bench.warm()
    assert await bench.ask("how do you paint and grow ferries") == (None, "ferries grow paint for ann")
    assert (await bench.ask("how do you grow and paint ferries"))[0] == "semantic"
    asked = len(bench.engine.left)
    assert await bench.ask("do you grow and paint ferries how") == ("semantic", "ferries grow paint for ann")
    assert len(bench.engine.left) == asked
    assert bench.cache.results["hit"] > 5
    assert bench.cache.judged["right"] > 5
    assert bench.cache.judged["unknown"] == 0


async def test_who_would_get_nothing_gets_what_is_as_likely_right_as_hits_are_and_nothing_is_counted_of_it() -> None:
    bench = Bench(audit_share=0.9)
    await bench.warm()
    await bench.ask("how do you paint and grow ferries")
    (policy,) = bench.cache.policies
    before = policy.requests
    last = CacheControl(only_if_cached=True, max_stale=60)
    # Mostly it would be audited, and generated for that.
    for text in (
        "how do you grow and paint ferries",
        "do you grow and paint ferries how",
        "you do grow and paint ferries how",
    ):
        asked = len(bench.engine.left)
        assert await bench.ask(text, cache=last) == ("semantic", "ferries grow paint for ann")
        assert len(bench.engine.left) == asked
    # What is not likely right goes on to the engine, before which the server has what refuses it.
    assert (await bench.ask("which islands do you move", cache=last))[0] is None
    assert (await bench.ask("how do you grow and paint ferries", "bob", cache=last))[1].endswith("for bob")
    assert policy.requests == before


async def test_the_same_to_the_letter_is_given_without_a_look() -> None:
    bench = Bench()
    assert [await bench.ask("how do you grow apples") for _ in range(2)] == [
        (None, "apples grow for ann"),
        ("semantic", "apples grow for ann"),
    ]
    assert bench.embedder.embedded == ["how do you grow apples"]


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(VERBS[:3]), st.sampled_from(SUBJECTS[:3]), st.booleans(), st.sampled_from("ab")),
        max_size=60,
    )
)
def test_no_answer_crosses_tenants(asked: list[tuple[str, str, bool, str]]) -> None:
    async def run() -> None:
        bench = Bench(bound=0.9)
        for verb, subject, quickly, tenant in asked:
            text = f"how do you {verb} {subject} quickly" if quickly else f"how quickly do you {verb} {subject}"
            _, answer = await bench.ask(text, tenant)
            assert answer.endswith(f"for {tenant}")

    asyncio.run(run())


async def test_what_one_tenant_asks_tells_nothing_on_another() -> None:
    alone, beside = Bench(), Bench()
    await beside.warm("bob")
    asked = [f"how do you {verb} {subject}{more}" for verb in VERBS for subject in SUBJECTS for more in ("", " now")]
    assert [await alone.ask(text) for text in asked] == [await beside.ask(text) for text in asked]


async def test_only_who_opted_in_takes_part() -> None:
    bench = Bench(tenants=("ann",))
    assert [(await bench.ask("how do you grow apples", tenant))[0] for tenant in ("bob", "bob", "ann", "ann")] == [
        None,
        None,
        None,
        "semantic",
    ]
    assert len(bench.cache.entries) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"sampling": {"max_tokens": 7}},
        {"sampling": {"seed": 1}},
        {"sampling": {"stop": ("x",)}},
        {
            "messages": (
                Message(role="system", content="Be brief."),
                Message(role="user", content="how do you grow apples"),
            )
        },
        {
            "messages": (
                Message(role="user", content="hello"),
                Message(role="assistant", content="hi"),
                Message(role="user", content="how do you grow apples"),
            )
        },
    ],
)
async def test_all_but_the_wording_must_be_equal(changes: dict[str, Any]) -> None:
    bench = Bench(bound=0.9)
    await bench.warm()
    # All that was asked before differs in something else: nothing is near.
    nothing = bench.cache.results["nothing"]
    assert (await bench.ask("how do you grow apples quickly", **changes))[0] is None
    assert bench.cache.results["nothing"] == nothing + 1


@pytest.mark.parametrize(
    "changes",
    [
        {"sampling": {"temperature": 0.7}},
        {"sampling": {"n": 2}},
        {"sampling": {"logprobs": 1}},
        {"cache": CacheControl(wanted=False, no_store=True)},
        {"tools": (Tool(name="f"),)},
        {"messages": (Message(role="user", content="hello"), Message(role="assistant", content="well,"))},
        {"messages": (Message(role="user", content=" "),)},
    ],
)
async def test_what_takes_no_part(changes: dict[str, Any]) -> None:
    bench = Bench()
    assert [(await bench.ask("how do you grow apples", **changes))[0] for _ in range(2)] == [None, None]
    assert len(bench.cache.entries) == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("how do you grow 2 apples", "how do you grow 3 apples"),
        ("how do you grow apples", "how do you not grow apples"),
        ("how do you grow apples in Rome", "how do you grow apples in Bonn"),
        ("how do you `grow` apples", "how do you `Grow` apples"),
    ],
)
async def test_what_must_not_differ_is_not_even_judged(one: str, other: str) -> None:
    bench = Bench(bound=0.9, least_cosine=0.0)
    assert [(await bench.ask(text))[0] for text in (one, other)] == [None, None]
    assert bench.cache.results == {"nothing": 2}
    assert not bench.cache.judged


async def test_a_text_beyond_the_window_never_meets_another() -> None:
    bench = Bench(bound=0.9)
    long = "how do you grow apples " * 40
    assert [(await bench.ask(long + end))[0] for end in ("now", "then", "now")] == [None, None, None]
    assert bench.cache.results == {"unembedded": 3}
    assert len(bench.cache.entries) == 0


@pytest.mark.parametrize("reason", [FinishReason.LENGTH, FinishReason.CONTENT_FILTER], ids=["cut off", "filtered"])
async def test_what_is_not_whole_is_not_kept(reason: FinishReason) -> None:
    bench = Bench()
    bench.engine.script = lambda request: says("Hello", reason=reason)
    assert [(await bench.ask("how do you grow apples"))[0] for _ in range(2)] == [None, None]


@pytest.mark.parametrize("is_slow", [False, True])
async def test_without_an_embedder_everything_is_generated(is_slow: bool) -> None:
    bench = Bench(embed_timeout=0.02)
    await bench.ask("how do you grow apples")
    if is_slow:
        bench.embedder.delay = 10.0
    else:
        bench.embedder.error = EngineDead("It is dead.")
    assert await bench.ask("how do you now grow apples") == (None, "apples grow for ann")
    assert bench.cache.results["unembedded"] == 1
    assert bench.cache.index.embedder.failures == 1
    # What is the same to the letter needs none.
    assert (await bench.ask("how do you grow apples"))[0] == "semantic"


async def test_entries_are_bounded_and_go_with_their_vectors() -> None:
    bench = Bench(max_entries=10)
    await bench.warm()
    serving = bench.cache.index._serving
    assert serving is not None
    assert len(bench.cache.entries) == len(serving.index) == 10  # type: ignore[arg-type]
    assert bench.cache.entries.evictions == bench.cache.results.total() - bench.cache.results["hit"] - 10
    assert bench.cache.entries.nbytes < 10 * 16_384
    bench.now = 4000.0
    await bench.ask("how do you grow clouds at last")
    assert len(bench.cache.entries) == len(serving.index) == 1  # type: ignore[arg-type]


async def test_bytes_are_bounded() -> None:
    bench = Bench(max_bytes=50_000)
    await bench.warm()
    assert 1 <= len(bench.cache.entries) < 6
    assert bench.cache.entries.nbytes <= 50_000


async def test_what_is_purged_is_not_found_again() -> None:
    bench = Bench()
    await bench.ask("how do you grow apples", "ann")
    await bench.ask("how do you grow apples", "bob")
    assert await bench.cache.purge(lambda entry: entry.tenant == "ann") == 1
    assert [(await bench.ask("how do you grow apples", tenant))[0] for tenant in ("ann", "bob")] == [None, "semantic"]


async def test_another_version_of_the_embedder_is_filled_before_it_serves_and_the_way_back_is_short() -> None:
    bench = Bench()
    await bench.warm()
    old, new = bench.embedder, WordEmbedder(version="2", delay=0.001)
    bench.engines["embed"] = new
    kept, index = len(bench.cache.entries), bench.cache.index
    assert kept > BATCH
    assert (await bench.ask("how do you quickly grow apples"))[0] == "semantic"
    assert index.serving == "words@1"
    await serves(bench, "words@2")
    assert sorted(new.embedded) == sorted(entry.text for entry in bench.cache.entries)
    asked = len(old.embedded)
    assert (await bench.ask("how do you quickly grow bridges"))[0] == "semantic"
    await bench.ask("what else is there")
    assert len(old.embedded) == asked
    bench.engines["embed"] = old
    await bench.ask("how do you paint drums")
    await serves(bench, "words@1")
    # What came since is all that had to be embedded.
    assert len(old.embedded) <= asked + 3
    assert (await bench.ask("how do you quickly grow clouds"))[0] == "semantic"
    assert index.flips == 2


async def test_a_backfill_that_fails_leaves_the_old_version_serving() -> None:
    bench = Bench()
    await bench.warm()
    bench.engines["embed"] = WordEmbedder(version="2", error=EngineDead("It is dead."))
    for _ in range(3):
        assert (await bench.ask("how do you quickly grow apples"))[0] == "semantic"
    assert bench.cache.index.serving == "words@1"
    await bench.cache.aclose()


async def test_the_same_stream_gives_the_same_results() -> None:
    async def results() -> list[tuple[str | None, str]]:
        bench = Bench(audit_share=0.3)
        found = []
        for verb, subject in itertools.product(VERBS, SUBJECTS):
            found.append(await bench.ask(f"how do you {verb} {subject} quickly"))
            found.append(await bench.ask(f"how quickly do you {verb} {subject}"))
        return found

    assert await results() == await results()


async def test_a_model_may_judge_and_its_tokens_are_counted() -> None:
    judge = ScriptedEngine(script=lambda request: says("Yes", "."))
    bench = Bench({"judge": judge}, judge="model:judge")
    for text in ("how do you grow apples", "how do you now grow apples"):
        await bench.ask(text)
    assert bench.cache.judged == {"right": 1}
    assert bench.cache.judge.usage.prompt_tokens > 100
    assert bench.cache.judge.usage.completion_tokens == 2
    prompt = judge.left[0].request.prompt
    assert isinstance(prompt, ChatPrompt)
    assert "how do you now grow apples" in (prompt.messages[0].content or "")


def says_nothing(**case: str) -> None:
    """A judge that never knows."""


async def test_a_function_may_judge() -> None:
    bench = Bench(judge=f"function:{says_nothing.__module__}:{says_nothing.__name__}")
    for text in ("how do you grow apples", "how do you now grow apples"):
        await bench.ask(text)
    assert bench.cache.judged == {"unknown": 1}


async def test_of_a_recorded_request_it_tells_what_it_decided_from() -> None:
    bench = Bench()

    async def inputs(text: str, *, is_recorded: bool) -> Mapping[str, Any]:
        prompt = ChatPrompt(messages=(Message(role="user", content=text),))
        request = Request(
            id=str(next(numbers)),
            model="scripted",
            prompt=prompt,
            sampling=SamplingParams(temperature=0.0),
            is_recorded=is_recorded,
        )
        events = [event async for event in bench.cache.around(bench.engine).generate(request)]
        await bench.cache.settled()
        assert isinstance(events[0], Started)
        return events[0].inputs

    nothing = {"verdict": "nothing", "cosine": None, "log_odds": None, "threshold": None}
    assert await inputs("how do you grow apples", is_recorded=True) == {"semantic": nothing}
    found = (await inputs("how do you grow apples quickly", is_recorded=True))["semantic"]
    assert (found["verdict"], found["threshold"]) == ("explore", None)
    assert 0.7 < found["cosine"] < 1
    assert isinstance(found["log_odds"], float)
    given = await inputs("how do you grow apples", is_recorded=True)
    assert given == {"semantic": {"verdict": "hit", "cosine": 1.0}}
    assert await inputs("how do you grow apples", is_recorded=False) == {}
    assert await inputs("how do you grow bridges", is_recorded=False) == {}
