"""The models that every measured server offers, by what their answers are like, and what they say."""

from __future__ import annotations

# The whole answer at once, and one token of every answer at each step.
AT_ONCE = "null"
STEPPED = "null-stepped"

PROMPT_TOKENS = 32
# Words in turn, each a token: LiteLLM breaks off a stream that says the same a hundred times.
WORDS = (" a", " quick", " answer", " of", " nothing", " at", " all")
