"""What is known of one kept answer beside what is known of all."""

from __future__ import annotations

import msgspec

# Standard deviation of the prior, in log-odds.
PRIOR = 1.0


class Standing(msgspec.Struct, eq=False):
    """An answer's own threshold: how far it departs from the common one, in log-odds, by ``mean`` and ``variance``; and how often judges found
    it ``right`` and ``wrong``.

    Texts whose answers were judged to be the same have one between them, so that what is learned of one tells on the others.
    """

    mean: float = 0.0
    variance: float = PRIOR**2
    right: int = 0
    wrong: int = 0
