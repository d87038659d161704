"""What goes wrong while a model is quantised."""

from __future__ import annotations


class QuantizeError(Exception):
    """A sentence for the person at the terminal: what is wrong, and what would help."""
