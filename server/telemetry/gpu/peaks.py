"""What devices can do at most: dense FLOP/s by precision and memory bandwidth, which MFU and MBU are shares of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

TERA = 1e12


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """``flops`` a second by precision (bfloat16, float8, int8, float32), ``bandwidth`` in bytes a second; None: not known."""

    flops: Mapping[str, float] = field(default_factory=dict)
    bandwidth: float | None = None
    source: str = ""

    def flops_at(self, precision: str) -> float | None:
        """At a precision as the engines call theirs; ``fp8`` counts as float8."""
        return self.flops.get("float8" if precision.startswith("fp8") else precision)


def _card(bandwidth: float, bfloat16: float, float8: float | None, int8: float, float32: float) -> Peak:
    """Of one card, all in units of 10^12."""
    flops = {"bfloat16": bfloat16, "float8": float8, "int8": int8, "float32": float32}
    return Peak(
        flops={precision: value * TERA for precision, value in flops.items() if value is not None},
        bandwidth=bandwidth * TERA,
        source="the data sheet",
    )


# By NVIDIA's data sheets and architecture papers: dense numbers (a data sheet's starred ones, with sparsity, halved), tensor cores
# with float32 (int32) sums at boost clocks; float32 is that of the ordinary cores, for float32 is served without TF32. Of the
# bandwidths, H100 (SXM), H200, B200, both A100 of SXM, L40S and L4 were looked up in November 2026, and so were the FLOP/s of
# B200 and L40S; the others were written down from memory of the same sheets: look yours up before you quote a share of it. The
# first name that is in what NVML calls the card counts, so variants come before the plain name.
#             name               TB/s   bfloat16  float8   int8   float32
CARDS: tuple[tuple[str, Peak], ...] = (
    ("H100 PCIe", _card(2.0, 756, 1513, 1513, 51)),
    ("H100 NVL", _card(3.9, 835.5, 1670.5, 1670.5, 60)),
    ("H100", _card(3.35, 989.4, 1978.9, 1978.9, 66.9)),
    ("H200 NVL", _card(4.8, 835.5, 1670.5, 1670.5, 60)),
    ("H200", _card(4.8, 989.4, 1978.9, 1978.9, 66.9)),
    ("B200", _card(8.0, 2250, 4500, 4500, 75)),
    ("A100-SXM4-80GB", _card(2.039, 312, None, 624, 19.5)),
    ("A100 80GB PCIe", _card(1.935, 312, None, 624, 19.5)),
    ("A100", _card(1.555, 312, None, 624, 19.5)),
    ("A10G", _card(0.6, 70, None, 140, 35)),
    ("A10", _card(0.6, 125, None, 250, 31.2)),
    ("L40S", _card(0.864, 366, 733, 733, 91.6)),
    ("L40", _card(0.864, 181, 362, 362, 90.5)),
    ("L4", _card(0.3, 121, 242.5, 242.5, 30.3)),
    ("RTX 4090", _card(1.008, 165.2, 330.3, 660.6, 82.6)),
    ("RTX 3090", _card(0.936, 71, None, 284, 35.6)),
    ("T4", Peak(flops={"int8": 130e12, "float32": 8.1e12}, bandwidth=0.32e12, source="the data sheet")),
)


def card_peak(card: str) -> Peak | None:
    """Of a card by what NVML or nvidia-smi calls it; None for one that is not in the table."""
    return next((peak for name, peak in CARDS if name in card), None)
