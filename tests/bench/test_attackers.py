"""The hostile clients' process: made beforehand, sent when told to, judged, and gone at the end."""

from __future__ import annotations

from fakes.live_server import LiveEngine, live_server

from pennyweight.bench.hostile.attackers import Attackers

KINDS = ["bad_json", "unknown_path", "not_finite"]


async def test_what_was_prepared_is_sent_and_judged_when_it_starts() -> None:
    async with live_server() as server:
        with Attackers(server.url) as attackers:
            for seed in (1, 2):
                await attackers.prepare("scripted", KINDS, 12, seed)
                assert len(server.log()) == 12 * (seed - 1)
                attackers.start(rate=200.0)
                assert await attackers.finish() == ([], 12)
                assert len(await server.logged(count=12 * seed)) == 12 * seed


async def test_a_wrong_answer_is_complained_about() -> None:
    async with live_server(LiveEngine()) as server:
        with Attackers(server.url) as attackers:
            # The model's name is wrong, so what should be a 400 is a 404.
            await attackers.prepare("another", ["contradictory"], 3, seed=1)
            attackers.start(rate=200.0)
            complaints, sent = await attackers.finish()
    assert sent == 3
    assert len(complaints) == 3
    assert all("404" in one for one in complaints)
