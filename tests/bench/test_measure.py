from __future__ import annotations

import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from fakes import completion_server
from fakes.tiny_words import save_word_tokenizer
from rich.console import Console

from pennyweight.bench.compare.measure import Measurement, measure
from pennyweight.bench.compare.plan import Plan
from pennyweight.bench.load.endpoint import Endpoint
from pennyweight.bench.load.view import View
from pennyweight.bench.load.vocabulary import read_vocabulary
from pennyweight.bench.memory import process_tree
from pennyweight.bench.peers.base import PeerFailed
from pennyweight.bench.peers.process import running
from pennyweight.bench.peers.target import Target


@dataclass(frozen=True)
class ScriptedPeer:
    """The scripted server as a process, or another script in its place."""

    script: str | None = None
    arguments: tuple[str, ...] = ("0",)
    name: str = "scripted"
    variant: str = "plain"
    ready_path: str = "/health"

    @property
    def environment(self) -> Mapping[str, str]:
        return {"PENNYWEIGHT_BENCH_TEST": "1"}

    def command(self, port: int) -> Sequence[str]:
        if self.script is not None:
            return [sys.executable, "-c", self.script]
        return [sys.executable, completion_server.__file__, str(port), *self.arguments]

    def version(self) -> str:
        return "1"


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    save_word_tokenizer(tmp_path / "tokenizer.json")
    words = read_vocabulary(tmp_path)
    return Plan(vocabulary=words, prompt_tokens=5, output_tokens=4, concurrency=(1, 3), waves=2)


async def measured(peer: ScriptedPeer, plan: Plan, said: io.StringIO | None = None) -> Measurement:
    with View(Console(file=said or io.StringIO(), width=200)) as view:
        return await measure(Target(name="it", peer=peer), plan, 2, 5, view)


def test_each_round_and_level_has_prompts_of_its_own_and_whole_waves(plan: Plan) -> None:
    endpoint = Endpoint("http://127.0.0.1:9", "m")
    loads = [plan.load(endpoint, number, level) for number in (0, 1) for level in plan.concurrency]
    loads += [plan.warm_up(endpoint, number, level) for number in (0, 1) for level in plan.concurrency]
    loads += [plan.first(endpoint, 0)]
    assert [len(load) for load in loads] == [8, 8, 8, 8, 2, 3, 2, 3, 1]
    prompts = [tuple(request.body["prompt"]) for load in loads for request in load]
    assert len(set(prompts)) == len(prompts)
    assert plan.load(endpoint, 1, 3) == loads[3]


async def test_a_peer_is_started_loaded_at_each_level_and_measured(plan: Plan) -> None:
    said = io.StringIO()
    found = await measured(ScriptedPeer(), plan, said)
    assert found.failure is None
    assert [(load.concurrency, load.requests, load.output_tokens) for load in found.loads] == [(1, 8, 32), (3, 8, 32)]
    assert found.loads[1].output_tokens_per_second > found.loads[0].output_tokens_per_second
    assert found.seconds_to_ready is not None
    assert found.seconds_to_first_answer is not None
    assert 0 < found.seconds_to_ready < found.seconds_to_first_answer
    assert found.resident_bytes is not None
    assert found.resident_bytes > 5_000_000
    for load in found.loads:
        assert load.ttft_p50 <= load.ttft_p99 <= load.seconds
        assert load.tpot_p50 is not None
        assert load.ttft_p50 < load.e2e_p50
        assert load.cpu_seconds_per_request is not None
        # The tree's CPU over a fraction of a second: no more than all cores gave.
        assert load.cpu_seconds_per_request * load.requests < load.seconds * (psutil.cpu_count() or 1) + 0.1
    stages = [line.removeprefix("round 3 of 5: it: ") for line in said.getvalue().splitlines()]
    assert [one for one in stages if "busy" not in one] == [
        "starting",
        "8 requests, 1 at once",
        "8 requests, 3 at once",
    ]
    assert "samples" not in found.describe()


async def test_a_server_is_ended_with_all_that_it_started() -> None:
    async with running(ScriptedPeer()) as server:
        tree = process_tree(server.pid)
        assert len(tree) == 2
    assert psutil.wait_procs(tree, timeout=5)[1] == []


async def test_a_server_that_answers_badly_is_told_with_its_last_words(plan: Plan) -> None:
    found = await measured(ScriptedPeer(arguments=("1",)), plan)
    assert found.failure is not None
    assert "0 pieces of text, usage 0" in found.failure
    assert "the server's last words: short by 1" in found.failure


async def test_a_server_that_ends_in_a_load_has_no_figures(plan: Plan) -> None:
    found = await measured(ScriptedPeer(arguments=("0", "0.002", "0", "15")), plan)
    assert found.failure is not None
    assert "a request failed" in found.failure
    assert (found.loads, found.samples) == ([], [])


async def test_a_server_that_ends_before_it_is_ready_is_told_with_its_last_words(plan: Plan) -> None:
    peer = ScriptedPeer(script="raise SystemExit('no such model')")
    with pytest.raises(PeerFailed, match="ended with 1 before it was ready: no such model"):
        async with running(peer):
            pass
    found = await measured(peer, plan)
    assert found.failure is not None
    assert "no such model" in found.failure
    assert found.loads == []
