from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pennyweight.quantize.quality.divergence import Divergence
from pennyweight.quantize.quality.gate import BY_BITS, Thresholds, judge, weight_bits
from pennyweight.quantize.quality.held_text import TextScores, summarise


def scores(*, kl: float, agreeing: int, ratio: float) -> TextScores:
    """Of a hundred tokens."""
    agrees = np.arange(100) < agreeing
    nll = np.ones(100)
    return summarise([Divergence(np.full(100, kl), agrees, nll, nll + np.log(ratio))])


def test_weights_that_reach_everything_pass() -> None:
    verdict = judge(scores(kl=0.009, agreeing=97, ratio=1.5), BY_BITS[8])
    assert verdict.is_passed
    assert verdict.reasons == ()


def test_each_threshold_is_a_reason_of_its_own() -> None:
    asked = Thresholds(min_top1=0.97, max_kl=0.01, max_perplexity_ratio=1.08)
    verdict = judge(scores(kl=0.02, agreeing=96, ratio=1.1), asked)
    assert not verdict.is_passed
    assert [reason.split(" is ")[0] for reason in verdict.reasons] == [
        "top-1 agreement",
        "mean KL divergence",
        "perplexity",
    ]
    assert verdict.reasons[0] == "top-1 agreement is 96.00%, at least 97.00% was asked for"


def test_four_bits_are_asked_for_perplexity_alone() -> None:
    assert judge(scores(kl=0.2, agreeing=80, ratio=1.079), BY_BITS[4]).is_passed
    assert not judge(scores(kl=0.0, agreeing=100, ratio=1.081), BY_BITS[4]).is_passed


def test_a_score_that_is_no_number_fails() -> None:
    assert not judge(scores(kl=float("nan"), agreeing=100, ratio=1.0), BY_BITS[8]).is_passed


def test_what_is_given_takes_the_place_of_the_default() -> None:
    assert BY_BITS[8].with_given(max_kl=0.5, min_top1=None) == Thresholds(min_top1=0.97, max_kl=0.5)


@pytest.mark.parametrize(
    ("quantization", "bits"),
    [
        (None, 8),
        ({"quant_method": "gptq", "bits": 4}, 4),
        ({"quant_method": "gptq", "bits": 8}, 8),
        ({"quant_method": "awq", "w_bit": 4}, 4),
        ({"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"num_bits": 8}}}}, 8),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"a": {"weights": {"num_bits": 8}}, "b": {"weights": {"num_bits": 4}}},
            },
            4,
        ),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, 4),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, 8),
        ({"quant_method": "fp8"}, 8),
    ],
)
def test_a_checkpoint_s_bits_are_told_by_its_configuration(quantization: dict[str, Any] | None, bits: int) -> None:
    assert weight_bits(quantization) == bits
