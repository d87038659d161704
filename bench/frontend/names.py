"""The models that every measured server offers, by what their answers are like."""

from __future__ import annotations

# The whole answer at once, and one token of every answer at each step.
AT_ONCE = "null"
STEPPED = "null-stepped"
