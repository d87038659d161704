"""The router's settings for a wanted share of the dear tier, found on prompts that are not measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from .stream import Workload

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
    """``settings`` are the server's; ``prompts`` is on how many the threshold was found."""

    name: PolicyName
    strong_share: float
    prompts: int
    settings: dict[str, Any]


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
    if name == "length":
        lengths = [workload.characters(row) for row in rows]
        threshold = int(np.ceil(np.quantile(lengths, 1 - strong_share)))
        return Policy(name, strong_share, len(rows), {"policy": name, "long_prompt": max(1, threshold)})
    if router is None:
        raise ValueError("the learned policy wants --router, the directory of a trained router")
    from pennyweight.server.router.learned import LearnedRouter

    learned = LearnedRouter.load(router)
    scores = [learned.strong_gain(workload.question(row)).score for row in rows]
    # Thresholds fall as shares rise.
    points = sorted(learned.manifest.operating_points, key=lambda one: one.threshold)
    share = float(
        np.interp(
            np.quantile(scores, 1 - strong_share),
            [one.threshold for one in points],
            [one.strong_share for one in points],
        )
    )
    found = {"policy": name, "learned": str(router.absolute()), "strong_share": max(share, LEAST_SHARE)}
    return Policy(name, strong_share, len(rows), found)
