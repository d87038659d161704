"""What a model's margins say of its answers' being right: asked of a server, checked, and fitted by isotonic regression."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import aiohttp
import msgspec
import numpy as np
from numpy.typing import NDArray

from pennyweight.bench.cost.check import Check
from pennyweight.bench.load.endpoint import Endpoint
from pennyweight.bench.load.sample import BadAnswer
from pennyweight.server.errors import ConfigError
from pennyweight.server.router.cascade.margin import ALTERNATIVES, Over, margin

CONCURRENT = 8
ANSWER_SECONDS = 600.0
# The least shares of right answers that are shown with what they would let through.
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
FOLDS = 5
LEAST_ROWS = 4 * FOLDS

Floats = NDArray[np.float64]


class Judged(msgspec.Struct, frozen=True):
    """One answer: its margin, and whether it was right."""

    margin: float
    is_right: bool


class Level(msgspec.Struct, frozen=True):
    """With ``min_right`` at this: the share of answers that are given, and how many of those are right (NaN for none).

    Each answer by a calibration that has not seen it.
    """

    min_right: float
    given: float
    right: float


async def ask_all(
    endpoint: Endpoint,
    prompts: Sequence[list[dict[str, Any]]],
    checks: Sequence[Check],
    *,
    max_tokens: int,
    over: Over,
    tell: Callable[[], object],
) -> list[Judged]:
    """Each prompt's answer, greedy. Raises BadAnswer for a server that doesn't answer or gives no logprobs."""
    places = asyncio.Semaphore(CONCURRENT)
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    async with (
        aiohttp.ClientSession(timeout=timeout, headers=endpoint.headers) as session,
        asyncio.TaskGroup() as group,
    ):

        async def ask(prompt: list[dict[str, Any]], check: Check) -> Judged:
            async with places:
                body = endpoint.body(prompt, max_tokens, exact=False)
                body |= {"logprobs": True, "top_logprobs": ALTERNATIVES}
                found = await _answer(session, endpoint, body, over, check)
                tell()
                return found

        tasks = [group.create_task(ask(prompt, check)) for prompt, check in zip(prompts, checks, strict=True)]
    return [task.result() for task in tasks]


async def _answer(
    session: aiohttp.ClientSession, endpoint: Endpoint, body: dict[str, Any], over: Over, check: Check
) -> Judged:
    try:
        async with session.post(endpoint.url + endpoint.path, json=body) as response:
            answer = await response.json()
        choice = answer["choices"][0]
        text = choice["message"]["content"] or ""
        tokens = choice["logprobs"]["content"]
        found = margin([[one["logprob"] for one in token["top_logprobs"]] for token in tokens], over)
    except (aiohttp.ClientError, LookupError, TypeError, ValueError, TimeoutError) as error:
        raise BadAnswer(f"{endpoint.url}: no answer with logprobs: {error!r}") from error
    # An answer without a token is none that a margin could speak for.
    return Judged(0.0 if found is None else found, check.is_passed(text))


def fit(margins: Floats, right: Floats) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The knots of the rising steps, margins and shares, between which is interpolated. Raises ConfigError without scikit-learn."""
    try:
        from sklearn.isotonic import IsotonicRegression
    except ImportError:
        raise ConfigError("calibrating needs scikit-learn: pip install 'pennyweight[router]'") from None
    found = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(margins, right)
    return tuple(found.X_thresholds_.tolist()), tuple(found.y_thresholds_.tolist())


def cross_validated(margins: Floats, right: Floats, seed: int) -> list[Level]:
    """What each level would let through, over FOLDS folds."""
    folds = np.random.default_rng(seed).permutation(len(margins)) % FOLDS
    held = np.empty(len(margins))
    for fold in range(FOLDS):
        knots = fit(margins[folds != fold], right[folds != fold])
        held[folds == fold] = np.interp(margins[folds == fold], *knots)
    found = []
    for level in LEVELS:
        given = held >= level
        found.append(Level(level, float(given.mean()), float(right[given].mean()) if given.any() else float("nan")))
    return found
