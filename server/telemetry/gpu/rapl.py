"""The processors' energy, as RAPL counts it and Linux shows it under /sys/class/powercap (for root alone since 2020)."""

from __future__ import annotations

from pathlib import Path

from .meter import Tell

MICRO = 1e-6


class RaplCounter:
    """Adds up the packages (``intel-rapl:0``, ``intel-rapl:1``, ...), which contain their cores' domains. AMD's have the same names.

    Each counter begins again at its own ``max_energy_range_uj``; read at least once a minute, none is lost.
    """

    def __init__(self, powercap: Path, tell: Tell) -> None:
        self._joules = 0.0
        self._packages: dict[Path, tuple[int, int]] = {}
        for package in sorted(powercap.glob("intel-rapl:[0-9]*")):
            if package.name.count(":") > 1:
                continue
            try:
                span = int((package / "max_energy_range_uj").read_text())
                self._packages[package / "energy_uj"] = int((package / "energy_uj").read_text()), span
            except (OSError, ValueError) as error:
                tell(f"the processors' energy can't be read: {error}")
                self._packages.clear()
                break

    def joules(self) -> float | None:
        """Since the counter was made; None where there is none, or it can't be read any more."""
        try:
            for file, (before, span) in self._packages.items():
                now = int(file.read_text())
                self._joules += ((now - before) % (span + 1)) * MICRO
                self._packages[file] = now, span
        except (OSError, ValueError):
            self._packages.clear()
        return self._joules if self._packages else None
