"""Which mode a request gets of an engine, and that it is never a weaker one than it asked for."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.scripted_engine import ScriptedEngine

from pennyweight.server.engines.adapted import with_adapter
from pennyweight.server.engines.base import Capabilities
from pennyweight.server.engines.determinism import honoured
from pennyweight.server.engines.features import GENERATION_FEATURES, Feature
from pennyweight.server.engines.in_mode import FIXED_SEED, InMode
from pennyweight.server.engines.manifest import manifest_of
from pennyweight.server.errors import UnsupportedParameter
from pennyweight.server.types import Adapter, Determinism, Request, SamplingParams, TextPrompt

OFF, SEEDED, BITWISE = Determinism
WHY = "the moon is full"
ADAPTER = Adapter(name="one", path="/one", digest="ab" * 16)


def capabilities(**changes: Any) -> Capabilities:
    return ScriptedEngine(more={"variance": WHY, **changes}).capabilities()


def request(asked: Determinism | None = None, adapter: Adapter | None = None, **sampling: Any) -> Request:
    return Request(
        id="r1",
        model="m",
        prompt=TextPrompt(text="Hi"),
        sampling=SamplingParams(**sampling),
        determinism=asked,
        adapter=adapter,
    )


@pytest.mark.parametrize("has", Determinism)
@pytest.mark.parametrize("asked", [None, *Determinism])
def test_the_strongest_is_honoured_and_a_stronger_one_refused_with_its_reason(
    has: Determinism, asked: Determinism | None
) -> None:
    known = capabilities(determinism=has)
    if has.covers(asked or OFF):
        assert honoured(request(asked), known) is has
        return
    with pytest.raises(UnsupportedParameter, match=f"can't answer as '{asked}'.*at most as '{has}': {WHY}") as refused:
        honoured(request(asked), known)
    assert refused.value.param == "deterministic"


def test_random_choices_want_an_engine_that_takes_a_seed() -> None:
    known = capabilities(determinism=SEEDED, features=GENERATION_FEATURES - {Feature.SEED})
    assert honoured(request(), known) is OFF
    assert honoured(request(SEEDED, temperature=0.0), known) is SEEDED
    with pytest.raises(UnsupportedParameter, match="takes no seed"):
        honoured(request(SEEDED), known)


def test_an_adapter_may_cost_the_last_bits() -> None:
    known = capabilities(determinism=BITWISE, variance="", adapter_variance=WHY)
    assert honoured(request(BITWISE), known) is BITWISE
    with pytest.raises(UnsupportedParameter, match=WHY):
        honoured(request(BITWISE, ADAPTER), known)
    assert with_adapter(known, ADAPTER.digest).determinism is SEEDED
    assert with_adapter(capabilities(determinism=BITWISE), ADAPTER.digest).determinism is BITWISE


def test_a_fingerprint_is_of_the_parts_alone_and_adapters_have_their_own() -> None:
    one = manifest_of("one", {"weights": "1", "kernels": "cpu"})
    assert one.fingerprint == manifest_of("two", {"kernels": "cpu", "weights": "1"}).fingerprint
    assert one.fingerprint != manifest_of("one", {"weights": "2", "kernels": "cpu"}).fingerprint
    adapted = with_adapter(capabilities(manifest=one, fingerprint=one.fingerprint), ADAPTER.digest)
    assert adapted.manifest is not None
    assert adapted.manifest.parts == {**one.parts, "adapter": ADAPTER.digest}
    assert adapted.fingerprint == adapted.manifest.fingerprint != one.fingerprint


@pytest.mark.parametrize(
    ("default", "asked", "mode", "seed"),
    [
        (OFF, None, None, None),
        (OFF, BITWISE, BITWISE, FIXED_SEED),
        (SEEDED, None, SEEDED, FIXED_SEED),
        (BITWISE, OFF, OFF, None),
    ],
)
async def test_who_wants_the_same_answer_again_and_gives_no_seed_gets_the_same_one(
    default: Determinism, asked: Determinism | None, mode: Determinism | None, seed: int | None
) -> None:
    engine = ScriptedEngine(more={"determinism": BITWISE, "default_determinism": default})
    for sampling in ({}, {"seed": 7}, {"temperature": 0.0}):
        async for _ in InMode(engine).generate(request(asked, **sampling)):
            pass
    one, seeded, greedy = (left.request for left in engine.left)
    assert [found.determinism for found in (one, seeded, greedy)] == [mode] * 3
    assert [found.sampling.seed for found in (one, seeded, greedy)] == [seed, 7, None]
