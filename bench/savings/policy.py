"""The router's settings for a wanted share of the dear tier, found on prompts that are not measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from .stream import Workload

if TYPE_CHECKING:
    from pennyweight.server.router.learned import LearnedRouter

PolicyName = Literal["length", "learned"]
# From fewer prompts no quantile is taken.
LEAST_PROMPTS = 20
# A share of 0 would be no threshold at all, but a refusal to route.
LEAST_SHARE = 1e-4


def parse_policy(text: str) -> PolicyName:
    """Raises ValueError."""
    match text:
        case "length" | "learned" as policy:
            return policy
    raise ValueError(f"--policy is length or learned, not {text}")


class Policy(msgspec.Struct, frozen=True):
    """``settings`` are the server's; ``prompts`` is on how many the threshold was found, which a prompt's score has to reach to be
    for the dear tier (characters, or what the learned router calls its score)."""

    name: PolicyName
    strong_share: float
    prompts: int
    settings: dict[str, Any]
    threshold: float


def find_policy(
    name: PolicyName, router: Path | None, strong_share: float, workload: Workload, rows: Sequence[int]
) -> Policy:
    """The policy that sends ``strong_share`` of the prompts in ``rows`` to the dear tier, as an operator would set it from traffic
    of before. What it then sends of the measured ones is measured.

    A learned router's own share is of its training data, which is other traffic: it is given the share whose threshold is the wanted
    quantile of these prompts' scores. Raises ValueError and ConfigError.
    """
    if not 0 < strong_share < 1:
        raise ValueError(f"--strong-share is {strong_share}, and must be above 0 and below 1")
    if len(rows) < LEAST_PROMPTS:
        raise ValueError(
            f"{len(rows)} prompts are left to set the router's threshold by, and {LEAST_PROMPTS} are needed: "
            "take less --requests or --rounds"
        )
    scores = prompt_scores(name, router, workload, rows)
    quantile = float(np.quantile(scores, 1 - strong_share))
    if name == "length":
        threshold = max(1, int(np.ceil(quantile)))
        return Policy(name, strong_share, len(rows), {"policy": name, "long_prompt": threshold}, threshold)
    # Thresholds fall as shares rise.
    learned, path = _learned(router)
    points = sorted(learned.manifest.operating_points, key=lambda one: one.threshold)
    share = float(np.interp(quantile, [one.threshold for one in points], [one.strong_share for one in points]))
    share = max(share, LEAST_SHARE)
    found = {"policy": name, "learned": str(path.absolute()), "strong_share": share}
    return Policy(name, strong_share, len(rows), found, learned.threshold_for_share(share))


def prompt_scores(name: PolicyName, router: Path | None, workload: Workload, rows: Sequence[int]) -> list[float]:
    """What the policy orders the prompts of these rows by, those for the dear tier highest. Raises ValueError and ConfigError."""
    if name == "length":
        return [workload.characters(row) for row in rows]
    learned, _ = _learned(router)
    return [learned.strong_gain(workload.question(row)).score for row in rows]


def _learned(router: Path | None) -> tuple[LearnedRouter, Path]:
    if router is None:
        raise ValueError("the learned policy wants --router, the directory of a trained router")
    from pennyweight.server.router.learned import LearnedRouter

    return LearnedRouter.load(router), router
