"""Which options go together, and what is said where they don't."""

from __future__ import annotations

from typing import Any

import pytest

from pennyweight.quantize.errors import QuantizeError
from pennyweight.quantize.group_size import choose_group_size
from pennyweight.quantize.recipe import CheckpointFormat, Library, Method, Scheme, make_recipe


@pytest.mark.parametrize(
    ("scheme", "method", "format", "library"),
    [
        (Scheme.W8A8, Method.RTN, CheckpointFormat.COMPRESSED_TENSORS, Library.LLM_COMPRESSOR),
        (Scheme.W4A16, Method.GPTQ, CheckpointFormat.COMPRESSED_TENSORS, Library.LLM_COMPRESSOR),
        (Scheme.FP8, Method.RTN, CheckpointFormat.COMPRESSED_TENSORS, Library.LLM_COMPRESSOR),
        (Scheme.NF4, Method.RTN, CheckpointFormat.BITSANDBYTES, Library.BITSANDBYTES),
        (Scheme.INT8, Method.RTN, CheckpointFormat.BITSANDBYTES, Library.BITSANDBYTES),
    ],
)
def test_each_scheme_has_its_own_method_and_format(
    scheme: Scheme, method: Method, format: CheckpointFormat, library: Library
) -> None:
    recipe = make_recipe(scheme)
    assert (recipe.method, recipe.format, recipe.library) == (method, format, library)


def test_only_what_looks_at_activations_needs_text() -> None:
    assert not make_recipe(Scheme.W8A8).needs_calibration
    assert make_recipe(Scheme.W8A8, smoothquant=0.8).needs_calibration
    assert make_recipe(Scheme.W4A16, method=Method.AWQ, group_size=64).needs_calibration
    assert not make_recipe(Scheme.NF4).needs_calibration


def test_a_recipe_reads_as_what_it_does() -> None:
    recipe = make_recipe(Scheme.W4A16, method=Method.AWQ, group_size=32, symmetric=False)
    assert str(recipe) == "w4a16 by awq in groups of 32 asymmetric"
    assert str(make_recipe(Scheme.W8A8, smoothquant=0.5)) == "w8a8 by rtn with SmoothQuant 0.5"
    assert str(make_recipe(Scheme.NF4)) == "nf4"
    mixed = make_recipe(Scheme.W4A16, group_size=64, eight_bits=("v_proj", "0.mlp.down_proj"))
    assert str(mixed) == "w4a16 by gptq in groups of 64 symmetric with v_proj, 0.mlp.down_proj in 8 bits"


@pytest.mark.parametrize(
    ("scheme", "options", "complaint"),
    [
        (Scheme.W8A8, {"method": Method.AWQ}, "use rtn or gptq"),
        (Scheme.NF4, {"method": Method.GPTQ}, "use rtn"),
        (Scheme.W8A8, {"format": CheckpointFormat.GPTQ}, "--format gptq does not hold w8a8"),
        (Scheme.W4A16, {"format": CheckpointFormat.BITSANDBYTES}, "does not hold w4a16"),
        (Scheme.W4A16, {"format": CheckpointFormat.GPTQ, "method": Method.AWQ}, "goes with --method gptq"),
        (Scheme.W4A16, {"smoothquant": 0.8}, "--smoothquant is for w8a8"),
        (Scheme.W8A8, {"smoothquant": 1.5}, "between 0 and 1"),
        (Scheme.W8A8, {"smoothquant": float("nan")}, "between 0 and 1"),
        (Scheme.FP8, {"group_size": 64}, "are for w4a16"),
        (Scheme.INT8, {"symmetric": False}, "are for w4a16"),
        (Scheme.W8A8, {"eight_bits": ("v_proj",)}, "--eight-bits is for w4a16"),
        (Scheme.W4A16, {"eight_bits": ("v_proj",), "format": CheckpointFormat.GPTQ}, "in compressed-tensors"),
    ],
)
def test_options_that_do_not_go_together_are_named(scheme: Scheme, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(QuantizeError, match=complaint):
        make_recipe(scheme, **options)


@pytest.mark.parametrize(
    ("columns", "chosen"), [([4096, 14336], 128), ([576, 1536], 64), ([96, 64], 32), ([4096, 11008], 128)]
)
def test_the_largest_group_that_divides_every_projection_is_chosen(columns: list[int], chosen: int) -> None:
    assert choose_group_size(columns) == chosen
    assert choose_group_size(columns, chosen) == chosen


@pytest.mark.parametrize(
    ("columns", "given", "complaint"),
    [
        ([576, 1536], 128, "576 columns, which 128 does not divide; use --group-size 64 or 32"),
        ([4096], 100, "use 128, 64, 32"),
        ([100], 64, "no size that is done"),
        ([100], None, "no group of"),
    ],
)
def test_a_group_that_does_not_fit_is_refused_with_one_that_does(
    columns: list[int], given: int | None, complaint: str
) -> None:
    with pytest.raises(QuantizeError, match=complaint):
        choose_group_size(columns, given)
