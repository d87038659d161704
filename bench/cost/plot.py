"""The waterfall as a picture: each step's cost, and between two of them what was saved."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from .waterfall import Step

COST, SAVED, DEARER = "#4063a3", "#3d8b5f", "#b5482f"


def save_waterfall(path: Path, steps: Sequence[Step]) -> None:
    """Write an SVG. A whole bar is a configuration's cost with its interval, a floating one what the step saved."""
    figure = Figure(figsize=(1.6 + 1.5 * len(steps), 4.2), layout="constrained")
    axes = figure.subplots()
    for place, step in enumerate(steps):
        low, high = step.interval
        value = step.dollars_per_million
        # What is reckoned is not to be taken for what was measured.
        axes.bar(place, value, 0.62, color=COST, hatch="//" if step.basis else None, edgecolor="white")
        axes.errorbar(place, value, [[max(0.0, value - low)], [max(0.0, high - value)]], color="black", capsize=4)
        axes.annotate(
            f"${value:.3g}", (place, max(value, high)), (0, 4), textcoords="offset points", ha="center", va="bottom"
        )
        if step.saved is not None and step.saved_share is not None:
            before = value + step.saved
            axes.bar(place, step.saved, 0.62, bottom=value, color=SAVED if step.saved >= 0 else DEARER, alpha=0.35)
            axes.plot((place - 0.69, place + 0.31), (before, before), color="black", linewidth=0.8, linestyle=":")
            axes.annotate(
                f"{abs(step.saved_share):.0%} {'saved' if step.saved >= 0 else 'dearer'}",
                (place, max(before, high, value)),
                (0, 18),
                textcoords="offset points",
                ha="center",
                va="bottom",
                color=SAVED if step.saved >= 0 else DEARER,
                fontweight="bold",
            )
    axes.set_xticks(range(len(steps)), [_label(step) for step in steps])
    axes.set_ylabel("$ for a million tokens, in and out")
    axes.set_title("What each step saves (of the first step's cost)")
    if any(step.basis for step in steps):
        axes.set_xlabel("hatched: not measured here, but reckoned by the prices of tokens")
    axes.margins(y=0.18)
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "pennyweight"}):  # so that the same data give the same file
        figure.savefig(path, format="svg", metadata={"Date": None})


def _label(step: Step) -> str:
    return (
        step.name.replace(", ", "\n") if step.basis is None else "\n".join([step.name, *textwrap.wrap(step.basis, 18)])
    )
