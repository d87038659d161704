from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from fakes import completion_server
from fakes.tiny_words import save_word_tokenizer

from pennyweight.bench.compare.measure import Plan, measure
from pennyweight.bench.memory import process_tree
from pennyweight.bench.peers.base import PeerFailed
from pennyweight.bench.peers.process import running


@dataclass(frozen=True)
class ScriptedPeer:
    """The scripted server as a process, or another script in its place."""

    script: str | None = None
    short_by: int = 0
    name: str = "scripted"
    variant: str = "plain"
    ready_path: str = "/health"

    @property
    def environment(self) -> Mapping[str, str]:
        return {"PENNYWEIGHT_BENCH_TEST": "1"}

    def command(self, port: int) -> Sequence[str]:
        if self.script is not None:
            return [sys.executable, "-c", self.script]
        return [sys.executable, completion_server.__file__, str(port), str(self.short_by)]

    def version(self) -> str:
        return "1"


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    save_word_tokenizer(tmp_path / "tokenizer.json")
    return Plan(tmp_path / "tokenizer.json", prompt_tokens=5, output_tokens=4, concurrency=(1, 3), waves=2)


def test_no_prompt_is_used_twice_and_levels_have_whole_waves(plan: Plan) -> None:
    loads = plan.loads()
    assert [(level, len(warm), len(measured)) for level, warm, measured in loads] == [(1, 2, 8), (3, 3, 8)]
    prompts = [tuple(prompt) for _, warm, measured in loads for prompt in warm + measured]
    assert len(set(prompts)) == len(prompts)


async def test_a_peer_is_started_loaded_at_each_level_and_measured(plan: Plan) -> None:
    stages: list[str] = []
    found = await measure(ScriptedPeer(), plan, 2, stages.append)
    assert found.failure is None
    assert [(load.concurrency, load.requests, load.output_tokens) for load in found.loads] == [(1, 8, 32), (3, 8, 32)]
    assert found.loads[1].output_tokens_per_second > found.loads[0].output_tokens_per_second
    assert found.seconds_to_ready is not None
    assert found.seconds_to_first_answer is not None
    assert 0 < found.seconds_to_ready < found.seconds_to_first_answer
    assert found.resident_bytes is not None
    assert found.resident_bytes > 5_000_000
    assert stages[-3:] == ["starting", "8 requests, 1 at once", "8 requests, 3 at once"]


async def test_a_server_is_ended_with_all_that_it_started() -> None:
    async with running(ScriptedPeer()) as server:
        tree = process_tree(server.pid)
        assert len(tree) == 2
    assert psutil.wait_procs(tree, timeout=5)[1] == []


async def test_a_server_that_answers_badly_is_told_with_its_last_words(plan: Plan) -> None:
    found = await measure(ScriptedPeer(short_by=1), plan, 0, lambda stage: None)
    assert found.failure is not None
    assert "0 pieces of text, usage 0" in found.failure
    assert "the server's last words: short by 1" in found.failure


async def test_a_server_that_ends_before_it_is_ready_is_told_with_its_last_words(plan: Plan) -> None:
    peer = ScriptedPeer(script="raise SystemExit('no such model')")
    with pytest.raises(PeerFailed, match="ended with 1 before it was ready: no such model"):
        async with running(peer):
            pass
    found = await measure(peer, plan, 0, lambda stage: None)
    assert found.failure is not None
    assert "no such model" in found.failure
    assert found.loads == ()
