"""Asks both engines, one after the other, and compares what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from pennyweight.bench.replay.engine import Engine
from pennyweight.bench.replay.manifests import differences
from pennyweight.bench.replay.recording import Recorded
from pennyweight.bench.stage_progress import Tell
from pennyweight.server.engines.manifest import Manifest

from .ask import ask
from .heard import Heard, spooling
from .summary import Drift, Pairs, Side


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """So many requests at once, of each place the ``top`` most probable tokens, ``show`` of the answers that part with their texts; the
    ``seed`` is the bootstrap's.
    """

    concurrency: int
    top: int
    show: int
    seed: int


async def measure(
    engines: tuple[Engine, Engine],
    records: Iterable[Recorded],
    total: int,
    api_key: str | None,
    plan: Plan,
    tell: Tell,
) -> Drift:
    """The drift from the first engine to the other, on ``total`` records, which are read twice.

    Raises PeerFailed and NoServer, and ConfigError for a recording that can't be read.
    """
    pairs = Pairs(plan.show)
    one, other = (_Asked(engine, api_key, plan) for engine in engines)
    with spooling() as spool:
        await one.ask(records, spool.write, lambda done: tell("A", done, total))
        await other.ask(
            records, lambda heard: pairs.add(spool.read(heard.id), heard), lambda done: tell("B", done, total)
        )
    parts = differences(one.manifest, other.manifest, (one.side.fingerprint, other.side.fingerprint))
    return pairs.drift(one.side, other.side, parts, plan.seed)


class _Asked:
    """An engine, and who it turned out to be."""

    def __init__(self, engine: Engine, api_key: str | None, plan: Plan) -> None:
        self.side = Side(name=engine.text)
        self.manifest: Manifest | None = None
        self._engine = engine
        self._api_key = api_key
        self._plan = plan

    async def ask(
        self, records: Iterable[Recorded], hear: Callable[[Heard], None], told: Callable[[int], None]
    ) -> None:
        done = 0

        def heard(one: Heard) -> None:
            nonlocal done
            done += 1
            if not one.error and not self.side.model:
                self.side = Side(name=self.side.name, model=one.model, fingerprint=one.fingerprint)
            hear(one)
            told(done)

        async with self._engine.reached(self._api_key) as client:
            await ask(client, records, self._plan.concurrency, self._plan.top, heard)
            self.manifest = await client.manifest(self.side.model, self.side.fingerprint)
