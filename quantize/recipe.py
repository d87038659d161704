"""What is to be done to a model: the scheme of its weights, how their codes are found, and the checkpoint they are written to."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from .errors import QuantizeError


class Scheme(enum.StrEnum):
    """What the weights of the projections become; embeddings, norms and the head stay as they are."""

    W8A8 = "w8a8"
    W4A16 = "w4a16"
    FP8 = "fp8"
    NF4 = "nf4"
    INT8 = "int8"


class Method(enum.StrEnum):
    """How the codes are found. RTN rounds to nearest and needs no data, GPTQ (arXiv:2210.17323) lets later columns make up for
    the errors of earlier ones, AWQ (arXiv:2306.00978) scales up the columns that matter before it rounds."""

    RTN = "rtn"
    GPTQ = "gptq"
    AWQ = "awq"


class CheckpointFormat(enum.StrEnum):
    """How the written checkpoint keeps its weights: ``quantize/formats`` reads each."""

    COMPRESSED_TENSORS = "compressed-tensors"
    GPTQ = "gptq"
    BITSANDBYTES = "bitsandbytes"


class Library(enum.StrEnum):
    """What does the work, by the name that it is imported as."""

    LLM_COMPRESSOR = "llmcompressor"
    GPTQMODEL = "gptqmodel"
    BITSANDBYTES = "bitsandbytes"


# The first of each is the default.
METHODS: Mapping[Scheme, tuple[Method, ...]] = MappingProxyType(
    {
        Scheme.W8A8: (Method.RTN, Method.GPTQ),
        Scheme.W4A16: (Method.GPTQ, Method.AWQ, Method.RTN),
        Scheme.FP8: (Method.RTN,),
        Scheme.NF4: (Method.RTN,),
        Scheme.INT8: (Method.RTN,),
    }
)
LIBRARIES: Mapping[CheckpointFormat, Library] = MappingProxyType(
    {
        CheckpointFormat.COMPRESSED_TENSORS: Library.LLM_COMPRESSOR,
        CheckpointFormat.GPTQ: Library.GPTQMODEL,
        CheckpointFormat.BITSANDBYTES: Library.BITSANDBYTES,
    }
)
BITSANDBYTES_SCHEMES = (Scheme.NF4, Scheme.INT8)


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides what the weights become, apart from the model and the calibration data.

    ``group_size`` is how many columns share a scale, None where each channel has one scale or the scheme says it itself.
    ``smoothquant`` is the share of the activations' range that is moved into the weights (arXiv:2211.10438), 0 to 1.
    ``eight_bits`` are the projections of w4a16 that get 8 bits in groups of the same size, by the ends of their names.
    """

    scheme: Scheme
    method: Method
    format: CheckpointFormat
    group_size: int | None = None
    symmetric: bool = True
    smoothquant: float | None = None
    eight_bits: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ("lm_head",)

    @property
    def library(self) -> Library:
        """What carries this out."""
        return LIBRARIES[self.format]

    @property
    def needs_calibration(self) -> bool:
        """Whether text has to be run through the model."""
        return self.method is not Method.RTN or self.smoothquant is not None

    @property
    def bits(self) -> int:
        """Of a weight."""
        return 4 if self.scheme in (Scheme.W4A16, Scheme.NF4) else 8

    def __str__(self) -> str:
        parts = [self.scheme.value]
        if len(METHODS[self.scheme]) > 1:
            parts.append(f"by {self.method}")
        if self.group_size is not None:
            parts.append(f"in groups of {self.group_size}")
        if self.scheme is Scheme.W4A16:
            parts.append("symmetric" if self.symmetric else "asymmetric")
        if self.eight_bits:
            parts.append(f"with {', '.join(self.eight_bits)} in 8 bits")
        if self.smoothquant is not None:
            parts.append(f"with SmoothQuant {self.smoothquant:g}")
        return " ".join(parts)


def make_recipe(
    scheme: Scheme,
    *,
    method: Method | None = None,
    format: CheckpointFormat | None = None,
    group_size: int | None = None,
    symmetric: bool = True,
    smoothquant: float | None = None,
    eight_bits: tuple[str, ...] = (),
) -> Recipe:
    """The recipe that the options ask for. ``group_size`` must fit the model already; it is for w4a16 alone.

    Raises QuantizeError for options that don't go together, and says which would.
    """
    methods = METHODS[scheme]
    method = method or methods[0]
    if method not in methods:
        raise QuantizeError(f"--method {method} is not done for {scheme}: use {' or '.join(methods)}")
    natural = CheckpointFormat.BITSANDBYTES if scheme in BITSANDBYTES_SCHEMES else CheckpointFormat.COMPRESSED_TENSORS
    format = format or natural
    if format is not natural and not (format is CheckpointFormat.GPTQ and scheme is Scheme.W4A16):
        raise QuantizeError(f"--format {format} does not hold {scheme}: leave it out for {natural}")
    if format is CheckpointFormat.GPTQ and method is not Method.GPTQ:
        raise QuantizeError(f"--format gptq goes with --method gptq; for {method} leave it out for {natural}")
    if smoothquant is not None and scheme is not Scheme.W8A8:
        raise QuantizeError(
            f"--smoothquant is for w8a8, whose activations are quantised too; {scheme} has no use for it"
        )
    if smoothquant is not None and not 0 < smoothquant < 1:
        raise QuantizeError(f"--smoothquant {smoothquant:g} must be between 0 and 1; 0.5 to 0.8 is usual")
    if scheme is not Scheme.W4A16 and (group_size is not None or not symmetric):
        raise QuantizeError(f"--group-size and --asymmetric are for w4a16; {scheme} has its own")
    if eight_bits and (scheme is not Scheme.W4A16 or format is CheckpointFormat.GPTQ):
        raise QuantizeError(f"--eight-bits is for w4a16 in {CheckpointFormat.COMPRESSED_TENSORS}")
    return Recipe(
        scheme=scheme,
        method=method,
        format=format,
        group_size=group_size,
        symmetric=symmetric,
        smoothquant=smoothquant,
        eight_bits=eight_bits,
    )
