"""Continuous batching over a toy model: whatever is batched, cached, preempted or dropped, the tokens stay the same."""

from __future__ import annotations

import random

import numpy as np
import pytest
from fakes.toy_runner import VOCAB_SIZE, ToyRunner, generate_alone

from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.local.messages import Progress, Submit
from pennyweight.server.engines.local.token_choice import TokenChoice
from pennyweight.server.engines.native.engine import NativeEngineCore
from pennyweight.server.errors import InvalidRequest
from pennyweight.server.types import Constraint, ConstraintKind, FinishReason


class NoGrammars:
    def compile(self, constraint: Constraint):
        raise InvalidRequest("no grammars here", param=constraint.param)


def make_core(runner: ToyRunner, **changes: object) -> NativeEngineCore:
    options = {"max_num_seqs": 8} | changes
    return NativeEngineCore(runner, NoGrammars(), EngineSettings(**options))


def submit(
    core: NativeEngineCore,
    name: str,
    prompt: list[int],
    max_tokens: int,
    *,
    n: int = 1,
    priority: int = 0,
    **choice: object,
) -> None:
    core.submit(
        Submit(
            request_id=name,
            prompt=np.array(prompt, dtype="<i4").tobytes(),
            choice=TokenChoice(**choice),
            seeds=tuple(range(n)),
            max_tokens=max_tokens,
            priority=priority,
            arrival=0.0,
        )
    )


def run(core: NativeEngineCore, max_steps: int = 10_000) -> dict[tuple[str, int], list[int]]:
    tokens: dict[tuple[str, int], list[int]] = {}
    for _ in range(max_steps):
        if not core.has_work:
            return tokens
        for progress in core.step():
            tokens.setdefault((progress.request_id, progress.index), []).extend(progress.token_ids)
        core.check_integrity()
    raise AssertionError(f"still working after {max_steps} steps")


def random_prompts(count: int, seed: int = 0) -> dict[str, tuple[list[int], int]]:
    source = random.Random(seed)
    shared = [source.randrange(VOCAB_SIZE) for _ in range(20)]
    return {
        f"r{number}": (
            shared[: source.randrange(20)] + [source.randrange(VOCAB_SIZE) for _ in range(source.randint(1, 40))],
            source.randint(1, 40),
        )
        for number in range(count)
    }


@pytest.mark.parametrize("num_blocks", [200, 40, 33])
@pytest.mark.parametrize("prefix_caching", [True, False])
def test_a_batch_gives_what_each_request_gives_alone(num_blocks: int, prefix_caching: bool) -> None:
    runner = ToyRunner(num_blocks)
    core = make_core(runner, enable_prefix_caching=prefix_caching)
    requests = random_prompts(40)
    for name, (prompt, max_tokens) in requests.items():
        submit(core, name, prompt, max_tokens)
    tokens = run(core)
    for name, (prompt, max_tokens) in requests.items():
        assert tokens[name, 0] == generate_alone(prompt, max_tokens)
    assert core.blocks.num_free == num_blocks
    assert not runner.rows
    assert (core.scheduler.num_preemptions > 0) == (num_blocks < 50)
    assert max(runner.steps) <= 16


def test_cancelling_at_random_frees_everything() -> None:
    runner = ToyRunner(40)
    core = make_core(runner)
    source = random.Random(1)
    requests = random_prompts(300, seed=1)
    waiting = list(requests)
    tokens: dict[str, list[int]] = {}
    cancelled: set[str] = set()
    while waiting or core.has_work:
        for name in waiting[:3]:
            submit(core, name, *requests[name], n=1)
        del waiting[:3]
        if alive := sorted({one.request_id for one in core.scheduler.sequences()}):
            victim = source.choice(alive)
            if source.random() < 0.5:
                held = core.blocks.num_free
                core.abort(victim)
                cancelled.add(victim)
                assert core.blocks.num_free >= held
        for progress in core.step():
            assert progress.request_id not in cancelled
            tokens.setdefault(progress.request_id, []).extend(progress.token_ids)
        core.check_integrity()
    assert core.blocks.num_free == 40
    assert not runner.rows
    finished = set(requests) - cancelled
    assert finished
    for name in finished:
        assert tokens[name] == generate_alone(*requests[name])


def test_choices_of_one_request_share_its_prompt() -> None:
    runner = ToyRunner(64)
    core = make_core(runner)
    prompt = list(range(30))
    submit(core, "many", prompt, 5, n=4)
    tokens = run(core)
    assert all(tokens["many", index] == generate_alone(prompt, 5) for index in range(4))
    assert sum(runner.steps) < 2 * (30 + 4 * 5)


def test_a_repeated_prompt_is_found_in_the_prefix_cache() -> None:
    core = make_core(ToyRunner(64))
    prompt = list(range(30))
    submit(core, "first", prompt, 3)
    run(core)
    submit(core, "again", prompt, 3)
    first = next(progress for _ in range(10) for progress in core.step())
    assert first.cached_tokens == 28
    assert core.scheduler.prefix_hits == 28


def test_better_priority_is_served_first_and_displaces_running_work() -> None:
    core = make_core(ToyRunner(64, max_step_tokens=8), max_num_seqs=2)
    for name in ("a", "b"):
        submit(core, name, [1, 2, 3], 30)
    for _ in range(5):
        core.step()
    submit(core, "urgent", [7], 3, priority=-1)
    order: list[str] = []
    while core.has_work:
        order += [one.request_id for one in core.step() if one.finish_reason]
        core.check_integrity()
    assert order[0] == "urgent"
    assert sorted(order) == ["a", "b", "urgent"]


def test_decoding_sequences_get_a_token_in_every_step_while_a_long_prompt_comes_in() -> None:
    core = make_core(ToyRunner(64, max_step_tokens=8))
    submit(core, "chat", [1], 20)
    core.step()
    submit(core, "long", list(range(60)), 2)
    for _ in range(8):
        assert "chat" in {one.request_id for one in core.step()}


def test_an_end_token_ends_a_sequence_and_is_told() -> None:
    core = make_core(ToyRunner())
    end = generate_alone([5], 3)[2]
    submit(core, "short", [5], 50, stop_token_ids=frozenset([end]))
    progress: list[Progress] = []
    while core.has_work:
        progress += core.step()
    assert [one.finish_reason for one in progress] == [None, None, FinishReason.STOP]
    assert progress[-1].stop_token_id == end


def test_the_context_ends_a_sequence() -> None:
    runner = ToyRunner(num_blocks=8, block_size=4, max_model_len=32)
    core = make_core(runner)
    submit(core, "long", list(range(30)), 1000)
    assert len(run(core)["long", 0]) == 2


def test_prompt_logprobs_come_once_and_for_every_token_but_the_first_even_after_preemption() -> None:
    runner = ToyRunner(num_blocks=20)
    core = make_core(runner)
    submit(core, "scored", list(range(20)), 30, prompt_logprobs=0)
    submit(core, "other", list(range(50, 90)), 30)
    found: list[Progress] = []
    while core.has_work:
        found += [one for one in core.step() if one.request_id == "scored"]
    assert core.scheduler.num_preemptions > 0
    assert [entry.token_id for entry in found[0].prompt_logprobs] == list(range(1, 20))
    assert not any(one.prompt_logprobs for one in found[1:])


def test_only_the_prompt_is_computed_when_no_tokens_are_asked_for() -> None:
    core = make_core(ToyRunner())
    submit(core, "score", [1, 2, 3], 0)
    (progress,) = [one for _ in range(3) for one in core.step()]
    assert progress.token_ids == []
    assert progress.finish_reason is FinishReason.LENGTH
    assert not core.has_work


def test_a_grammar_that_does_not_compile_refuses_its_request_only() -> None:
    core = make_core(ToyRunner())
    submit(core, "good", [1, 2], 5)
    core.submit(
        Submit(
            request_id="bad",
            prompt=np.array([1], dtype="<i4").tobytes(),
            choice=TokenChoice(),
            seeds=(1,),
            max_tokens=5,
            priority=0,
            arrival=0.0,
            constraint=Constraint(kind=ConstraintKind.REGEX, value="(", param="structured_outputs"),
        )
    )
    progress: list[Progress] = []
    while core.has_work:
        progress += core.step()
    (refused,) = [one for one in progress if one.request_id == "bad"]
    assert refused.error == "no grammars here"
    assert refused.param == "structured_outputs"
    assert [token for one in progress if one.request_id == "good" for token in one.token_ids] == generate_alone(
        [1, 2], 5
    )
    core.close()
