"""What a margin says of an answer's being right, as it was seen on prompts whose right answers are known."""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path

import msgspec

from pennyweight.server.errors import ConfigError

FORMAT = 1


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A file of ``pennyweight router calibrate``: the share of right answers at rising ``margins`` of ``model``, by isotonic regression over
    ``rows`` answers, and straight between them. ``over`` is how an answer's margin was taken, ``data_sha256`` the hash of the prompts.
    """

    format: int
    model: str
    over: str
    rows: int
    data_sha256: str
    margins: tuple[float, ...]
    shares: tuple[float, ...]

    def right(self, margin: float) -> float:
        """The share of answers of that margin that were right."""
        place = bisect_right(self.margins, margin)
        if place in (0, len(self.margins)):
            return self.shares[max(place - 1, 0)]
        low, high = self.margins[place - 1], self.margins[place]
        part = (margin - low) / (high - low)
        return self.shares[place - 1] + part * (self.shares[place] - self.shares[place - 1])


def load_calibration(path: Path, over: str) -> Calibration:
    """Raises ConfigError, which says what is wrong, also for one of margins that were taken otherwise than ``over``."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Calibration)
    except OSError as error:
        raise ConfigError(
            f"router.cascade.calibration: {error.strerror}: {path}; `pennyweight router calibrate` makes one"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"router.cascade.calibration: {path}: {error}") from None
    if found.format != FORMAT:
        raise ConfigError(f"{path}: format is {found.format}, here it is {FORMAT}: calibrate again")
    if found.over != over:
        raise ConfigError(f"{path} is of margins over {found.over}; router.cascade.margin_over is {over}")
    rising = all(low < high for low, high in zip(found.margins, found.margins[1:], strict=False))
    if not found.margins or len(found.margins) != len(found.shares) or not rising:
        raise ConfigError(f"{path}: margins and shares are not two rows of equal length, the first rising")
    return found
