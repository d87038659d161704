"""The simulation against closed forms, and step for step against the native engine's own scheduler."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.bench.load.lengths import Lengths
from pennyweight.bench.plan.simulation import EngineLimits, simulate
from pennyweight.bench.plan.step_model import StepModel
from pennyweight.bench.plan.workload import Workload, make_workload
from pennyweight.server.engines.local.token_choice import TokenChoice
from pennyweight.server.engines.native.block_manager import BlockManager
from pennyweight.server.engines.native.scheduler import Scheduler
from pennyweight.server.engines.native.sequence import Sequence

# 1 ms a token, 2 ms to read the weights, and some of everything else.
MODEL = StepModel(
    token=1e-3,
    row=1e-4,
    weights=2e-3,
    head=5e-4,
    pair=1e-7,
    cached=1e-6,
    exchange=0.0,
    fixed=5e-4,
    sequence=1e-4,
    request=3e-3,
)
WIDE = EngineLimits(max_num_seqs=64, max_num_batched_tokens=128, kv_tokens=1_000_000)


def workload(at: list[float], inputs: list[int], outputs: list[int]) -> Workload:
    return Workload(np.array(at), np.array(inputs), np.array(outputs), np.zeros(len(at), dtype=np.int64))


def test_a_single_request_waits_for_its_chunks_alone() -> None:
    outcome = simulate(workload([5.0], [300], [3]), MODEL, WIDE)
    chunks = [(128, 0), (128, 128), (44, 256)]
    expected = MODEL.request
    for new, before in chunks:
        last = before + new == 300
        expected += MODEL.seconds(new, int(last), 1, new * before + new * (new + 1) // 2, before + new)
    assert outcome.ttft[0] == pytest.approx(expected)
    decodes = [MODEL.seconds(1, 1, 1, context, context) for context in (301, 302)]
    assert outcome.e2e[0] == pytest.approx(expected + sum(decodes))
    assert outcome.step_decodes.tolist() == [0, 0, 0, 1, 1]


def test_cached_tokens_are_not_computed() -> None:
    cached = Workload(np.zeros(1), np.array([300]), np.array([1]), np.array([288]))
    outcome = simulate(cached, MODEL, WIDE)
    assert outcome.ttft[0] == pytest.approx(MODEL.request + MODEL.seconds(12, 1, 1, 12 * 288 + 78, 300))


@pytest.mark.parametrize("load", [0.3, 0.6, 0.9])
def test_one_at_a_time_is_a_queue_of_constant_service(load: float) -> None:
    """M/D/1: a request waits rho / (2 (1 - rho)) services on average (Pollaczek and Khinchine)."""
    service = MODEL.seconds(100, 1, 1, 100 * 101 // 2, 100)
    count = 40_000
    made = make_workload(
        load / service, 1.0, Lengths("fixed", 100), Lengths("fixed", 1), requests=count, longest=1000, seed=1
    )
    outcome = simulate(made, MODEL, EngineLimits(max_num_seqs=1, max_num_batched_tokens=128, kv_tokens=16_000))
    waited = float((outcome.ttft - MODEL.request - service).mean())
    assert waited == pytest.approx(service * load / (2 * (1 - load)), rel=0.1)


def test_a_full_engine_gives_what_its_steps_give() -> None:
    """Saturated: every step has 32 decodes, so the throughput is 32 tokens a step."""
    made = workload([0.0] * 320, [1] * 320, [1001] * 320)
    outcome = simulate(made, MODEL, EngineLimits(max_num_seqs=32, max_num_batched_tokens=128, kv_tokens=1_000_000))
    context = 32 * 501
    step = MODEL.seconds(32, 32, 32, context, context)
    assert outcome.output_throughput == pytest.approx(32 / step, rel=0.01)
    assert outcome.percentile("tpot", 50) == pytest.approx(step, rel=0.01)
    assert outcome.percentile("itl", 50) == pytest.approx(step, rel=0.01)
    assert outcome.peak_running == 32


def test_clients_send_their_next_request_when_their_last_has_ended() -> None:
    made = workload([0.0] * 12, [10] * 12, [5] * 12)
    outcome = simulate(made, MODEL, WIDE, clients=3)
    assert outcome.sent[:3].tolist() == [0.0, 0.0, 0.0]
    assert sorted(outcome.sent[3:]) == pytest.approx(sorted(outcome.ended)[:9])
    assert outcome.busy < 1  # each waits for the request's way in between


def test_an_engine_is_busy_for_as_long_as_its_steps_take() -> None:
    outcome = simulate(workload([0.0, 10.0], [100, 100], [1, 1]), MODEL, WIDE)
    step = MODEL.seconds(100, 1, 1, 5050, 100)
    assert outcome.busy == pytest.approx(2 * step / (10 + MODEL.request + step))
    assert outcome.after(0.5).busy == outcome.busy


def test_a_request_that_never_fits_is_refused() -> None:
    with pytest.raises(ValueError, match="a request of 110 tokens never fits into 100"):
        simulate(workload([0.0], [100], [10]), MODEL, EngineLimits(8, 128, kv_tokens=100))


def by_the_engines_scheduler(made: Workload, limits: EngineLimits) -> tuple[list[float], list[float], int, int]:
    """First and last times of each request, steps and preemptions, with the native engine's scheduler and the same clock."""
    blocks = BlockManager(limits.kv_tokens // limits.block_size, limits.block_size, enable_prefix_caching=False)
    scheduler = Scheduler(
        blocks,
        max_num_seqs=limits.max_num_seqs,
        max_num_batched_tokens=limits.max_num_batched_tokens,
        max_prompt_logprob_rows=64,
    )
    first, ended = [math.nan] * len(made), [math.nan] * len(made)
    pending, now, steps = list(range(len(made))), 0.0, 0
    while pending or list(scheduler.sequences()):
        while pending and made.at[pending[0]] + MODEL.request <= now:
            request = pending.pop(0)
            length = int(made.input_tokens[request] + made.output_tokens[request])
            scheduler.add(
                Sequence(
                    request_id=f"{request:06d}",
                    index=0,
                    tokens=np.zeros(length, dtype=np.int32),
                    num_prompt=int(made.input_tokens[request]),
                    max_tokens=int(made.output_tokens[request]),
                    choice=TokenChoice(),
                    arrival=float(made.at[request]),
                )
            )
        batch = scheduler.schedule()
        if not batch.items:
            now = made.at[pending[0]] + MODEL.request
            continue
        work = SimpleNamespace(pairs=0, cached=0)
        for item in batch.items:
            before = item.sequence.num_computed
            work.pairs += item.num_new * before + item.num_new * (item.num_new + 1) // 2
            work.cached += before + item.num_new
        rows = sum(item.samples for item in batch.items)
        now += MODEL.seconds(batch.num_tokens, rows, len(batch.items), work.pairs, work.cached)
        steps += 1
        sampled = [item.sequence for item in batch.items if item.samples]
        scheduler.advance(batch)
        for sequence in sampled:
            request = int(sequence.request_id)
            if math.isnan(first[request]):
                first[request] = now
            sequence.append(0)
            if sequence.num_output == sequence.max_tokens:
                ended[request] = now
                scheduler.finish(sequence)
    return first, ended, steps, scheduler.num_preemptions


@pytest.mark.parametrize(
    ("limits", "rate"),
    [
        (WIDE, 2.0),
        (WIDE, 6.0),
        (EngineLimits(4, 64, 100_000), 6.0),
        (EngineLimits(32, 64, 1200), 6.0),
        (EngineLimits(64, 128, 640), 50.0),
    ],
    ids=["light", "heavy", "few sequences", "tight cache", "tighter cache"],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_every_step_is_the_native_schedulers(limits: EngineLimits, rate: float, seed: int) -> None:
    lengths = Lengths("lognormal", 120, 80), Lengths("lognormal", 40, 30)
    made = make_workload(rate, 1.0, *lengths, requests=120, longest=600, seed=seed)
    outcome = simulate(made, MODEL, limits)
    first, ended, steps, preemptions = by_the_engines_scheduler(made, limits)
    assert (len(outcome.step_seconds), outcome.preemptions) == (steps, preemptions)
    if limits.kv_tokens <= 1200:
        assert preemptions > 0
    np.testing.assert_allclose(outcome.first, first, rtol=1e-9)
    np.testing.assert_allclose(outcome.ended, ended, rtol=1e-9)


@settings(deadline=None, max_examples=25)
@given(
    rate=st.floats(0.5, 20),
    factor=st.floats(1.2, 4),
    cv=st.floats(0, 2),
    batch=st.integers(1, 64),
    seed=st.integers(0, 1000),
)
def test_more_traffic_never_makes_first_tokens_come_sooner(
    rate: float, factor: float, cv: float, batch: int, seed: int
) -> None:
    lengths = Lengths("uniform", 20, 400), Lengths("uniform", 1, 40)
    made = make_workload(rate, cv, *lengths, requests=150, longest=1000, seed=seed)
    limits = EngineLimits(batch, 128, kv_tokens=20_000)
    slow, fast = (simulate(made.at_rate(made.rate * by), MODEL, limits) for by in (1.0, factor))
    # A little sooner may happen: requests that meet in other steps.
    assert fast.percentile("ttft", 99) >= 0.9 * slow.percentile("ttft", 99)
    for outcome in (slow, fast):
        assert (outcome.first > outcome.sent).all()
        assert (outcome.ended >= outcome.first).all()
        assert outcome.step_tokens >= int((made.input_tokens + made.output_tokens - 1).sum())
