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

from .models import described
from .speed import Speed


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """Both models, what was measured, and the verdict."""

    base: Loaded
    quantised: Loaded
    held: Held
    scores: Scores
    verdict: Verdict
    speed: Speed | None

    def data(self) -> Mapping[str, Any]:
        """For the result."""
        return {
            "base": described(self.base),
            "quantised": described(self.quantised),
            "scores": self.scores,
            "verdict": _verdict(self.verdict),
            "speed": self.speed,
        }

    def manifest_scores(self) -> Mapping[str, Any]:
        """For the manifest. Evaluating the same weights again with the same kernels gives the same, so speed is left out."""
        scores: dict[str, Any] = msgspec.to_builtins(self.scores)
        del scores["text"]["kl_quantiles"]
        if scores["answers"] is not None:
            del scores["answers"]["matched"]
        return {
            **_verdict(self.verdict),
            "base": {
                "name": Path(self.base.path).name,
                "weights": self.base.fingerprint["weights"],
                **self.base.details,
            },
            "quantised": {"weights": self.quantised.fingerprint["weights"], **self.quantised.details},
            "held_text": hashlib.sha256(self.held.text.encode()).hexdigest(),
            **scores,
        }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "verdict": PASSED if verdict.is_passed else FAILED,
        "reasons": verdict.reasons,
        "thresholds": msgspec.to_builtins(verdict.thresholds),
    }
