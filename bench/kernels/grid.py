"""At which sizes kernels are timed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

KINDS = ("float32", "bfloat16", "w8a8", "w8a16", "w4a16")


@dataclass(frozen=True)
class Shape:
    """A model's sizes, as far as its kernels see them."""

    hidden: int
    intermediate: int
    query_heads: int
    key_heads: int
    head_dim: int
    vocab: int

    @property
    def products(self) -> tuple[tuple[int, int], ...]:
        """K and N of a layer's products and of the head."""
        joined = (self.query_heads + 2 * self.key_heads) * self.head_dim
        return (
            (self.hidden, joined),
            (self.query_heads * self.head_dim, self.hidden),
            (self.hidden, 2 * self.intermediate),
            (self.intermediate, self.hidden),
            (self.hidden, self.vocab),
        )


SHAPES = {
    "tiny": Shape(64, 96, 4, 2, 16, 256),
    "smollm2-135m": Shape(576, 1536, 9, 3, 64, 49152),
    "llama-3.1-8b": Shape(4096, 14336, 32, 8, 128, 128256),
}


@dataclass(frozen=True)
class Grid:
    """What is timed: products at each M (``rows``) for each kind of weights, attention over each context, the rest by rows.

    ``spread`` bytes of weights are gone through for each product, so that no cache holds them from one pass to the next.
    """

    shape: Shape
    rows: tuple[int, ...] = (1, 8, 32, 128)
    kinds: tuple[str, ...] = KINDS
    contexts: tuple[int, ...] = (512, 2048)
    prefills: tuple[tuple[int, int], ...] = ((0, 512), (1536, 512))
    spread: int = 96 << 20

    def request(self, device: str, threads: int) -> dict[str, object]:
        """As kernels/timing/__main__.py wants it."""
        shape = self.shape
        return {
            "device": device,
            "threads": threads,
            "kinds": self.kinds,
            "spread": self.spread,
            "products": [(m, k, n) for (k, n), m in product(shape.products, self.rows)],
            "heads": (shape.query_heads, shape.key_heads, shape.head_dim),
            "decode": [(m, context) for m, context in product(self.rows, self.contexts) if m <= 64],
            "prefill": self.prefills,
            "rows": [(m, shape.hidden) for m in self.rows],
            "sampling": [(m, shape.vocab) for m in self.rows],
        }


def grid_of(shape: str, rows: tuple[int, ...], kinds: tuple[str, ...]) -> Grid:
    """The grid of a shape of SHAPES; for the tiny one small in every way."""
    if shape == "tiny":
        return Grid(SHAPES[shape], rows, kinds, contexts=(64,), prefills=((0, 32), (32, 32)), spread=1 << 20)
    return Grid(SHAPES[shape], rows, kinds)
