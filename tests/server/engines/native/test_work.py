"""What steps cost, and how the engine's time is divided."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest
from fakes.tiny_models import make_core, random_prompt, run, save_tiny_model, submit
from fakes.toy_runner import make_sequence

from pennyweight.server.engines.native.batch import Batch, ScheduledSequence
from pennyweight.server.engines.native.cost import ModelCost, model_cost
from pennyweight.server.engines.native.model_config import load_model_config
from pennyweight.server.engines.native.sequence import Sequence
from pennyweight.server.engines.native.work import WorkMeter

COST = ModelCost(
    token_flops=1000, logits_flops=100, attention_flops=10, weight_bytes=5000, token_bytes=4, kv_bytes=8
)  # fmt: skip


def one(sequence: Sequence, num_new: int) -> Batch:
    return Batch((ScheduledSequence(sequence, num_new),))


def decoding(name: str, prompt: int, output: int) -> Sequence:
    """A sequence of which all but the newest token is computed."""
    sequence = make_sequence(name, list(range(prompt)), 50)
    for token in range(output):
        sequence.append(token)
    sequence.num_computed = sequence.num_ever_computed = sequence.num_tokens - 1
    return sequence


def test_a_prompt_attends_to_all_before_it_and_has_one_row_of_logits() -> None:
    meter = WorkMeter(COST, started=0.0)
    meter.begin(one(make_sequence("a", [1, 2, 3, 4], 8), 4), 1.0)
    meter.end(1.5, goes_on=False)
    work = meter.total(2.0)
    assert work.flops == 4 * 1000 + (1 + 2 + 3 + 4) * 10 + 100
    assert work.read_bytes == 5000 + 4 * 4 + 4 * 8
    assert work.write_bytes == 4 * 8
    assert (work.prefill_tokens, work.decode_tokens, work.prefill_steps) == (4, 0, 1)
    assert (work.prefill_seconds, work.decode_seconds, work.idle_seconds) == (0.5, 0.0, 1.5)


def test_a_chunk_of_a_prompt_has_no_logits_and_what_is_cached_is_not_computed() -> None:
    meter = WorkMeter(COST, started=0.0)
    sequence = make_sequence("a", list(range(10)), 8)
    sequence.num_computed = 4
    meter.begin(one(sequence, 3), 0.0)
    meter.end(1.0, goes_on=True)
    assert meter.total(1.0).flops == 3 * 1000 + (5 + 6 + 7) * 10


def test_weights_are_read_once_for_all_who_decode() -> None:
    meter = WorkMeter(COST, started=0.0)
    sequences = [decoding("a", 4, 2), decoding("b", 9, 1)]
    meter.begin(Batch(tuple(ScheduledSequence(sequence, 1) for sequence in sequences)), 0.0)
    meter.end(1.0, goes_on=False)
    work = meter.total(1.0)
    assert work.flops == 2 * (1000 + 100) + (6 + 10) * 10
    assert work.read_bytes == 5000 + 2 * 4 + (6 + 10) * 8
    assert (work.decode_tokens, work.decode_steps, work.decode_seconds) == (2, 1, 1.0)


def test_a_mixed_step_is_divided_by_flops() -> None:
    meter = WorkMeter(COST, started=0.0)
    prompt, answer = make_sequence("a", [1, 2, 3], 8), decoding("b", 4, 2)
    meter.begin(Batch((ScheduledSequence(answer, 1), ScheduledSequence(prompt, 3))), 0.0)
    meter.end(1.0, goes_on=False)
    work = meter.total(1.0)
    prefill, decode = 3000 + 60 + 100, 1000 + 60 + 100
    assert work.prefill_seconds == pytest.approx(prefill / (prefill + decode))
    assert work.decode_seconds == pytest.approx(decode / (prefill + decode))
    assert (work.prefill_steps, work.decode_steps, work.mixed_steps) == (0, 0, 1)


def test_what_a_preempted_sequence_had_is_recomputed_and_counts_for_no_mfu() -> None:
    meter = WorkMeter(COST, started=0.0)
    sequence = decoding("a", 4, 3)  # 6 of 7 computed
    sequence.num_computed = 0
    meter.begin(one(sequence, 7), 0.0)
    meter.end(1.0, goes_on=False)
    work = meter.total(1.0)
    assert (work.recomputed_tokens, work.prefill_tokens, work.decode_tokens) == (6, 0, 1)
    assert work.flops == 1000 + 7 * 10 + 100
    assert work.recompute_seconds == pytest.approx(6210 / (6210 + 1170))
    assert work.write_bytes == 7 * 8, "bytes move whatever they are for"


def test_time_between_steps_is_work_while_there_is_more_to_do() -> None:
    meter = WorkMeter(COST, started=0.0)
    sequence = decoding("a", 4, 1)
    meter.begin(one(sequence, 1), 1.0)
    meter.end(2.0, goes_on=True)
    meter.begin(one(sequence, 1), 2.25)
    meter.end(3.0, goes_on=True)
    assert (meter.total(3.1).decode_seconds, meter.total(3.1).idle_seconds) == (2.0, 1.0)
    meter.rest()
    assert meter.total(4.0).idle_seconds == 2.0


def test_no_counter_ever_falls_not_even_by_a_rounding() -> None:
    source, now, before = random.Random(0), 1e5 / 3, None
    meter = WorkMeter(COST, started=now)
    sequence = decoding("a", 4, 1)
    for _ in range(2000):
        now += source.random() / 7
        meter.begin(one(sequence, 1), now)
        now += source.random() / 7
        meter.end(now, goes_on=source.random() < 0.9)
        if source.random() < 0.05:
            meter.rest()
        after = msgspec.structs.astuple(meter.total(now))
        assert before is None or all(new >= old for new, old in zip(after, before, strict=True))
        before = after


@pytest.mark.parametrize("kind", ["llama", "qwen3-tied"])
def test_a_models_cost_follows_from_its_weights(tmp_path: Path, kind: str) -> None:
    model = save_tiny_model(tmp_path, kind)
    linear = sum(weight.numel() for name, weight in model.named_parameters() if "_proj.weight" in name)
    head = model.lm_head.weight.numel()
    config = load_model_config(tmp_path)
    cost = model_cost(config, weight_bytes=2 * (linear + head), bytes_per_embedding=2, kv_bytes=8)
    assert (cost.token_flops, cost.logits_flops) == (2 * linear, 2 * head)
    assert cost.weight_bytes == 2 * (linear + head)
    assert cost.attention_flops == 4 * config.num_layers * config.num_heads * config.head_dim
    assert cost.kv_bytes == 8


def test_an_engine_counts_each_token_once_whatever_its_batches(tmp_path: Path) -> None:
    save_tiny_model(tmp_path, "llama")
    core = make_core(tmp_path, enable_prefix_caching=False)
    for number in range(5):
        submit(core, f"r{number}", random_prompt(20 + number, number), 6)
    run(core)
    work = core.stats().work
    assert work is not None
    prompts = sum(20 + number for number in range(5))
    # An answer's last token is never computed: nothing follows it.
    assert (work.prefill_tokens, work.decode_tokens, work.recomputed_tokens) == (prompts, 5 * 5, 0)
    cost = model_cost(load_model_config(tmp_path), weight_bytes=1, bytes_per_embedding=4, kv_bytes=1)
    attended = sum((20 + number + 5) * (20 + number + 6) // 2 for number in range(5))
    assert work.flops == (prompts + 25) * cost.token_flops + attended * cost.attention_flops + 30 * cost.logits_flops


def test_an_engine_that_preempts_counts_what_it_recomputes(tmp_path: Path) -> None:
    save_tiny_model(tmp_path, "llama")
    # Blocks for about three sequences of 80 tokens: float32, 2 layers, 2 heads of 16.
    core = make_core(tmp_path, enable_prefix_caching=False, max_model_len=128, kv_cache_memory=14 * 16 * 512)
    for number in range(4):
        submit(core, f"r{number}", random_prompt(30, number), 50)
    run(core)
    work, stats = core.stats().work, core.stats()
    assert work is not None
    assert stats.preemptions > 0
    assert work.recomputed_tokens >= 30 * stats.preemptions
    assert work.recompute_seconds > 0
    assert (work.prefill_tokens, work.decode_tokens) == (4 * 30, 4 * 49)
