"""A router that learned from judged answers which prompts gain from the strong model.

At run time it is numpy alone; training and evaluating want the extra ``router``.
"""

from __future__ import annotations

from .learned_router import Estimate, LearnedRouter

__all__ = ["Estimate", "LearnedRouter"]
