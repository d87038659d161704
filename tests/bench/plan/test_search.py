from __future__ import annotations

import dataclasses
from datetime import date
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.bench.load.lengths import Lengths
from pennyweight.bench.plan.candidate import Candidate, make_service
from pennyweight.bench.plan.demand import Demand, Shares, stream_of_replica
from pennyweight.bench.plan.device import Device, read_devices
from pennyweight.bench.plan.economics import break_even, work_out
from pennyweight.bench.plan.model_shape import ModelShape
from pennyweight.bench.plan.offer import Offer, find_offers
from pennyweight.bench.plan.quantisation import QUANTISATIONS
from pennyweight.bench.plan.search import Space, search
from pennyweight.bench.plan.slo import parse_slo
from pennyweight.bench.plan.step_model import DEFAULTS
from pennyweight.bench.plan.workload import Workload, make_workload
from pennyweight.server.errors import ConfigError
from pennyweight.server.ledger.price_book import ModelPrice, load_prices

BFLOAT16, FP8 = QUANTISATIONS[0], QUANTISATIONS[1]
HOSTED = ModelPrice(
    id="hosted",
    provider="ACME",
    as_of=date(2026, 11, 1),
    source="a test",
    model="m",
    input=Decimal(1),
    output=Decimal(4),
)


@pytest.fixture
def demand() -> Demand:
    lengths = Lengths("lognormal", 800, 500), Lengths("lognormal", 200, 120)
    workload = make_workload(12.0, 1.0, *lengths, requests=600, longest=8192, seed=3)
    return Demand(workload, parse_slo("ttft:p99:1s,tpot:p50:40ms"), HOSTED)


def space(*offers: Offer) -> Space:
    return Space(offers, (1, 2), (BFLOAT16, FP8), (64, 256), None, (Shares(),), most_devices=16)


def test_the_fewest_replicas_that_keep_the_slo_are_found(
    llama: ModelShape, devices: dict[str, Device], demand: Demand
) -> None:
    offers = Offer("cheap", devices["l40s"], Decimal("0.8")), Offer("dear", devices["h100"], Decimal("2.5"))
    found = search(space(*offers), demand, llama, lambda _: DEFAULTS["gpu"], keep=4)
    assert 0 < len(found.configurations) <= 4
    costs = [one.economics.per_accepted or 0 for one in found.configurations]
    assert costs == sorted(costs)
    for one in found.configurations:
        service = make_service(one.candidate, demand, llama, DEFAULTS["gpu"])
        assert service.is_good(one.replicas)
        assert one.replicas == 1 or not service.is_good(one.replicas - 1)
        headroom = service.headroom(one.replicas)
        assert headroom >= 1
        assert not service.is_good(one.replicas, headroom * 1.1)
        assert one.economics.rent_per_hour == pytest.approx(
            float(one.candidate.offer.dollars_per_hour) * one.replicas * one.candidate.tp
        )


def test_what_no_number_of_replicas_helps_is_said(
    llama: ModelShape, devices: dict[str, Device], demand: Demand
) -> None:
    strict = dataclasses.replace(demand, slo=parse_slo("tpot:p50:10ms"))
    found = search(space(Offer("l4", devices["l4"], Decimal(1))), strict, llama, lambda _: DEFAULTS["gpu"])
    reasons = {(one.candidate.quantisation.name, one.candidate.tp): one.reason for one in found.rejected}
    assert reasons["bfloat16", 1] == "breaks tpot:p50:10ms even for requests alone on it"
    assert found.configurations == ()


@given(devices=st.integers(1, 500), more=st.integers(1, 100), least=st.integers(1, 8))
def test_more_devices_never_cost_less(devices: int, more: int, least: int) -> None:
    offer = Offer("one", read_devices(None)["h100"], Decimal("1.99"), least)
    assert offer.dollars(devices + more) >= offer.dollars(devices) >= devices * offer.dollars_per_hour
    assert offer.dollars(devices) < (devices + least) * offer.dollars_per_hour


def test_offers_come_from_the_price_book_by_device_or_by_id(devices: dict[str, Device]) -> None:
    prices = load_prices()
    (cheapest,) = find_offers(["h100"], devices, prices, None)
    on_demand = [one for one in prices.gpus.values() if one.card == "H100 SXM" and one.terms == "on-demand"]
    assert cheapest.dollars_per_hour == min(one.dollars_per_hour for one in on_demand)
    (aws,) = find_offers(["aws-a100-80gb"], devices, prices, None)
    assert (aws.device.name, aws.least, aws.dollars(1)) == (
        "a100-80gb",
        8,
        8 * prices.gpus["aws-a100-80gb"].dollars_per_hour,
    )
    assert len(find_offers([], devices, prices, None)) >= 8
    (own,) = find_offers(["epyc-2-cores"], devices, prices, Decimal("0.1"))
    assert own.dollars(3) == Decimal("0.3")
    with pytest.raises(ConfigError, match="no price on demand of epyc-2-cores"):
        find_offers(["epyc-2-cores"], devices, prices, None)


def test_money_by_hand(devices: dict[str, Device]) -> None:
    """2 requests/s of 1000 + 250 tokens: 7,200 requests and 9 million tokens an hour, for 2 x $3."""
    count = 101
    workload = Workload(
        np.arange(count) / 2, np.full(count, 1000), np.full(count, 250), np.zeros(count, dtype=np.int64)
    )
    good = dataclasses.replace(BFLOAT16, quality=0.9)
    offer = Offer("one", devices["h100"], Decimal(3))
    demand = Demand(workload, parse_slo("ttft:p99:1s"), HOSTED, rates=(1.0, 0.5))
    plain = work_out(Candidate(offer, 2, good, 64, 2048, Shares()), 1, demand, kept_slo=0.98)
    assert plain.dollars_per_hour == 6
    assert plain.per_million == pytest.approx(6 / 9)
    assert plain.per_million_output == pytest.approx(6 / 1.8)
    assert plain.per_million_over_the_day == pytest.approx(6 / 9 / 0.75)
    assert plain.per_request == pytest.approx(6 / 7200)
    assert plain.per_accepted == pytest.approx(6 / (7200 * 0.98 * 0.9))
    # A fifth from the response cache; of the rest half to a hosted model, at $0.002 a request.
    shared = work_out(Candidate(offer, 2, good, 64, 2048, Shares(None, 0.2, 0.5)), 1, demand, kept_slo=1.0)
    assert shared.dollars_per_hour == pytest.approx(6 + 7200 * 0.8 * 0.5 * 0.002)
    assert shared.accepted_share == pytest.approx((0.4 + 0.2) * 0.9 + 0.4)
    (even,) = break_even(plain, 2.0, demand, [HOSTED])
    assert even.requests_per_hour == pytest.approx(3000)
    assert even.share_of_capacity == pytest.approx(3000 / 14400)
    assert even.hosted_per_hour == pytest.approx(14.4)


def test_a_replicas_prefix_cache_knows_what_it_was_sent_and_still_holds() -> None:
    blocks = [[1, 2], [3], [1, 2, 4], [3], [1, 5]]
    lengths = np.array([len(one) * 512 for one in blocks])
    workload = Workload(np.arange(5.0), lengths, np.ones(5, dtype=np.int64), np.zeros(5, dtype=np.int64), blocks, 512)
    cached = stream_of_replica(workload, 0, 1, kv_tokens=100 * 512).cached_tokens
    assert cached.tolist() == [0, 0, 1024, 511, 512]
    # Every other request goes elsewhere; three blocks hold [1, 2, 4] and no more.
    assert stream_of_replica(workload, 0, 2, kv_tokens=3 * 512).cached_tokens.tolist() == [0, 1024, 512]
    # Too small: the ends of prefixes go first.
    assert stream_of_replica(workload, 0, 1, kv_tokens=2 * 512).cached_tokens.tolist() == [0, 0, 512, 0, 512]


def test_shares_take_requests_and_tokens_off_the_engines(demand: Demand) -> None:
    left = demand.for_engines(Shares(prefix=0.5, response_cache=0.2, route=0.25), 16)
    assert len(left) == pytest.approx(0.6 * len(demand.workload), rel=0.1)
    share = left.cached_tokens.sum() / left.input_tokens.sum()
    assert share == pytest.approx(0.5, abs=0.02)
    assert (left.cached_tokens % 16 == 0).all()
    assert (left.cached_tokens < left.input_tokens).all()
