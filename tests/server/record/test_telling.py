"""What an engine is asked to tell for a record, as far as it can; and nothing of what is not recorded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pytest
from fakes.recordings import request
from fakes.scripted_engine import ScriptedEngine

from pennyweight.server.cache.key import request_key
from pennyweight.server.engines.base import Capabilities
from pennyweight.server.engines.features import GENERATION_FEATURES, Feature
from pennyweight.server.errors import ModelLoading
from pennyweight.server.record.telling import TellingEngine
from pennyweight.server.types import BeamSearch, Request, Started


@dataclass
class ToldEngine(ScriptedEngine):
    """With features that a test chooses; None while it is loading, which ends when it is asked."""

    features: frozenset[Feature] | None = GENERATION_FEATURES

    def capabilities(self) -> Capabilities:
        if self.features is None:
            self.features = GENERATION_FEATURES
            raise ModelLoading("not yet")
        return replace(super().capabilities(), features=self.features)


async def asked(engine: ToldEngine, given: Request, *, hash_logits: bool = True) -> tuple[Request, Started]:
    events = [event async for event in TellingEngine(engine, hash_logits=hash_logits).generate(given)]
    assert isinstance(events[0], Started)
    return engine.left[-1].request, events[0]


def recorded(**sampling: Any) -> Request:
    return msgspec.structs.replace(request("r", **sampling), is_recorded=True)


async def test_a_seed_is_drawn_and_told_where_choices_would_be_random() -> None:
    seen = set()
    for _ in range(3):
        given, started = await asked(ToldEngine(), recorded(temperature=0.7))
        assert given.sampling.seed == started.seed
        assert given.hash_logits
        seen.add(started.seed)
    assert len(seen) == 3
    assert None not in seen


@pytest.mark.parametrize("sampling", [{"temperature": 0.0}, {"top_k": 1}, {"seed": 3}])
async def test_no_seed_is_drawn_where_none_is_wanted(sampling: dict[str, Any]) -> None:
    given, started = await asked(ToldEngine(), recorded(**sampling))
    assert (given.sampling, started.seed) == (request("r", **sampling).sampling, None)


async def test_nothing_is_asked_of_what_is_not_recorded_or_cannot_tell() -> None:
    assert (await asked(ToldEngine(), request("r")))[0] == request("r")
    searched = recorded(beam_search=BeamSearch(width=2))
    assert (await asked(ToldEngine(), searched))[0] == searched
    for features in (GENERATION_FEATURES - {Feature.SEED, Feature.LOGITS_HASHES}, None):
        assert (await asked(ToldEngine(features=features), recorded()))[0] == recorded()
    given, _ = await asked(ToldEngine(), recorded(), hash_logits=False)
    assert not given.hash_logits


def test_whether_it_is_recorded_changes_nothing_of_what_caches_know_a_request_by() -> None:
    capabilities = ToldEngine().capabilities()
    assert request_key(recorded(seed=1), capabilities) == request_key(request("other", seed=1), capabilities)
