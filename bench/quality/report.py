"""What an evaluation leaves behind: the result's data, and the scores in the manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from pennyweight.quantize.manifest import FAILED, PASSED
from pennyweight.quantize.quality.evaluation import Held, Scores
from pennyweight.quantize.quality.gate import Verdict
from pennyweight.quantize.quality.protocol import Loaded

from .models import described, numerics
from .speed import Speed


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """Both models, what was asked of them, what was found, and the verdict."""

    base: Loaded
    quantised: Loaded
    held: Held
    scores: Scores
    verdict: Verdict

    def data(self, speed: Speed | None) -> Mapping[str, Any]:
        """For the result."""
        return {
            "base": described(self.base),
            "quantised": described(self.quantised),
            "scores": self.scores,
            "verdict": _verdict(self.verdict),
            "speed": speed,
        }

    def manifest_scores(self) -> Mapping[str, Any]:
        """For the manifest: no speeds and no dates, so that evaluating the same again gives the same, to the byte."""
        scores: dict[str, Any] = msgspec.to_builtins(self.scores)
        del scores["text"]["kl_quantiles"]
        if scores["answers"] is not None:
            del scores["answers"]["parted"]
        return {
            **_verdict(self.verdict),
            "base": {"name": Path(self.base.path).name, **numerics(self.base)},
            "quantised": numerics(self.quantised),
            "held_text": hashlib.sha256(self.held.text.encode()).hexdigest(),
            **scores,
        }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "verdict": PASSED if verdict.is_passed else FAILED,
        "reasons": verdict.reasons,
        "thresholds": msgspec.to_builtins(verdict.thresholds),
    }
