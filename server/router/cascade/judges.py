"""The judges that settings ask for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pennyweight.server.config_routing import CascadeSettings
from pennyweight.server.engines.base import Engine

from .agreement import AgreementJudge
from .calibration import load_calibration
from .judge import Judge
from .margin_judge import MarginJudge
from .schema import SchemaJudge
from .schema_checker import SchemaChecker


def make_judges(settings: CascadeSettings, engines: Mapping[str, Engine], checker: SchemaChecker) -> list[Judge]:
    """In their order. Raises ConfigError for a calibration that can't be used."""
    return [_judge(name, settings, engines, checker) for name in settings.judges]


def _judge(name: str, settings: CascadeSettings, engines: Mapping[str, Engine], checker: SchemaChecker) -> Judge:
    match name:
        case "schema":
            return SchemaJudge(checker, lambda model: engines[model].capabilities().tool_format)
        case "agreement":
            return AgreementJudge(settings.samples, settings.sample_temperature, settings.min_agreement)
    if settings.calibration is None:
        return MarginJudge(settings.margin_over, settings.min_margin)
    calibration = load_calibration(Path(settings.calibration).expanduser(), settings.margin_over)
    return MarginJudge(settings.margin_over, settings.min_right, calibration)
