"""The mode of determinism that a request gets: what its engine honours, and at least what was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pennyweight.server.errors import UnsupportedParameter
from pennyweight.server.types import Determinism, Request

if TYPE_CHECKING:
    from .base import Capabilities


def honoured(request: Request, capabilities: Capabilities) -> Determinism:
    """The strongest mode that the engine has for the request, whatever it asks for.

    Raises UnsupportedParameter where that is less than what it asks for at least: nothing is weakened without a word.
    """
    mode, reason = _strongest(request, capabilities)
    asked = request.determinism or Determinism.OFF
    if not mode.covers(asked):
        raise UnsupportedParameter(
            f"The engine of {request.model} ({capabilities.engine}) can't answer as '{asked}' (deterministic), at most as "
            f"'{mode}': {reason}.",
            param="deterministic",
        )
    return mode


def is_random(request: Request) -> bool:
    """Whether choices are drawn, as far as the request says; the model's own settings may still make them greedy."""
    sampling = request.sampling
    return sampling.beam_search is None and sampling.temperature != 0 and sampling.top_k != 1


def _strongest(request: Request, capabilities: Capabilities) -> tuple[Determinism, str]:
    """And why it is no stronger one."""
    if is_random(request) and not capabilities.takes_seed:
        return Determinism.OFF, "it takes no seed, so only greedy choices can be repeated (temperature 0)"
    mode, reason = capabilities.determinism, capabilities.variance
    if request.adapter is not None and capabilities.adapter_variance and mode is Determinism.BITWISE:
        return Determinism.SEEDED, capabilities.adapter_variance
    return mode, reason
