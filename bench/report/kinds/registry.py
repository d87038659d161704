"""The kinds of results that have a story of their own, by the name of their command."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from pennyweight.bench.report.document import Story
from pennyweight.bench.report.stored import StoredResult

from . import (
    compare,
    cost,
    decode,
    determinism,
    drift,
    frontend,
    generic,
    gpu,
    hostile,
    kernels,
    overload,
    plan,
    quality,
    recording,
    router,
    savings,
    semantic_cache,
    serve,
    validate_plan,
)

Tell = Callable[[StoredResult], Story]

KINDS: Mapping[str, Tell] = {
    "serve": serve.tell,
    "gpu": gpu.tell,
    "cost": cost.tell,
    "savings": savings.tell,
    "plan": plan.tell,
    "validate-plan": validate_plan.tell,
    "compare": compare.tell,
    "frontend": frontend.tell,
    "decode": decode.tell,
    "kernels": kernels.tell,
    "hostile": hostile.tell,
    "overload": overload.tell,
    "quality": quality.tell,
    "drift": drift.tell,
    "determinism": determinism.tell,
    "recording": recording.tell,
    "router": router.tell,
    "semantic-cache": semantic_cache.tell,
}
# A page of a suite answers in this order: how fast, how full, how dear, against what.
ORDER = tuple(KINDS)


def tell(stored: StoredResult) -> Story:
    """The result's story; its plain tables where its kind, or the form of its data, isn't known here."""
    known = KINDS.get(stored.result.kind)
    if known is None:
        return generic.tell(stored)
    try:
        return known(stored)
    except msgspec.ValidationError:
        return generic.tell(stored)


def place(kind: str) -> int:
    """Where the kind stands in a page."""
    return ORDER.index(kind) if kind in ORDER else len(ORDER)
