"""``bench kernels``: each kernel's share of what the machine's ceilings allow."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pennyweight.bench.report.charts import Series, lines
from pennyweight.bench.report.document import Figure, KeyFigure, Story, Table
from pennyweight.bench.report.quantities import plain, seconds, share
from pennyweight.bench.report.stored import StoredResult

OURS = "pennyweight"
PRODUCT = "product "


class Timing(msgspec.Struct, frozen=True):
    """A kernel at one size."""

    kernel: str
    by: str
    sizes: dict[str, int]
    seconds: float


class Measured(msgspec.Struct, frozen=True):
    """A timing beside the machine's ceilings."""

    timing: Timing
    share: float
    bound: str

    @property
    def size(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.timing.sizes.items())


class Ceilings(msgspec.Struct, frozen=True):
    """Operations a second by arithmetic, and bytes a second."""

    operations: dict[str, float]
    bandwidth: float


class Data(msgspec.Struct, frozen=True):
    """The data of a result of kind "kernels"."""

    ceilings: Ceilings
    kernels: tuple[Measured, ...]


def tell(stored: StoredResult) -> Story:
    """The story of kernels under their roofs."""
    data = msgspec.convert(stored.result.data, Data)
    ours = [one for one in data.kernels if one.timing.by == OURS]
    products = [one for one in ours if one.timing.kernel.startswith(PRODUCT)]
    kinds = list(dict.fromkeys(one.timing.kernel.removeprefix(PRODUCT) for one in products))
    medians = {kind: _of_kind(products, kind) for kind in kinds}
    rates = ", ".join(f"{plain(rate / 1e9)} GOP/s as {name}" for name, rate in data.ceilings.operations.items())
    answers = [
        f"This machine multiplies at {rates}, and reads {plain(data.ceilings.bandwidth / 1e9)} GB/s.",
        *(
            f"Products at {kind} reach {share(min(row))} to {share(max(row))} of what that allows."
            for kind, row in medians.items()
        ),
    ]
    figures = [
        Figure(
            f"roof-{number}",
            f"Share of the roof, K {k} and N {n}",
            "How much of the lower of the two ceilings each product reaches.",
            lines(_series(products, kinds, k, n), "rows (M)", "share of the roof, %", linear=True),
        )
        for number, (k, n) in enumerate(
            dict.fromkeys((one.timing.sizes["K"], one.timing.sizes["N"]) for one in products)
        )
    ]
    by_key = {(one.timing.kernel, one.size, one.timing.by): one.timing.seconds for one in data.kernels}
    rows = tuple(
        (
            one.timing.kernel,
            one.size,
            seconds(one.timing.seconds),
            share(one.share),
            one.bound,
            *(
                _ratio(by_key.get((one.timing.kernel, one.size, by)), one.timing.seconds)
                for by in ("torch", "reference")
            ),
        )
        for one in ours
    )
    columns = ("kernel", "size", "time", "of the roof", "bound by", "torch takes", "reference takes")
    return Story(
        title="Kernels",
        answers=tuple(answers),
        key_figures=tuple(
            KeyFigure(f"least share of the roof, {kind}", min(row), share, more_is_better=True)
            for kind, row in medians.items()
        ),
        figures=tuple(figures),
        tables=(Table("kernels", "Every kernel and size", columns, rows),),
    )


def _of_kind(products: Sequence[Measured], kind: str) -> list[float]:
    return [one.share for one in products if one.timing.kernel == PRODUCT + kind]


def _series(products: Sequence[Measured], kinds: Sequence[str], k: int, n: int) -> list[Series]:
    found = []
    for kind in kinds:
        fitting = [
            one
            for one in products
            if one.timing.kernel == PRODUCT + kind and (one.timing.sizes["K"], one.timing.sizes["N"]) == (k, n)
        ]
        found.append(
            Series(kind, [float(one.timing.sizes["M"]) for one in fitting], [100 * one.share for one in fitting])
        )
    return found


def _ratio(other: float | None, ours: float) -> str:
    return "-" if other is None else f"{other / ours:.2f} times as long"
