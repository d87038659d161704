"""How an engine's process is started."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pennyweight.server.engines.features import GENERATION_FEATURES, Feature


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """``python -m module FD JSON``, where the JSON is ``arguments``.

    ``engine`` is its name in logs, metrics and capabilities; ``environment`` is added to the server's own. What a request uses
    that is not among ``features`` is refused before the process hears of it; an encoder, which the process tells that it has, has its own.
    """

    engine: str
    module: str
    arguments: Mapping[str, Any]
    python: str = sys.executable
    environment: Mapping[str, str] = field(default_factory=dict)
    features: frozenset[Feature] = GENERATION_FEATURES
