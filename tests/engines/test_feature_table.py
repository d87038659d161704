"""The README's table of what engines can do is what they declare, and what they declare is what they do."""

from __future__ import annotations

from pathlib import Path

from pennyweight.server.config import EngineSettings
from pennyweight.server.engines.features import ENCODER_FEATURES
from pennyweight.server.engines.native.launch import native_launch
from pennyweight.server.feature_table import ENGINES, feature_table

README = Path(__file__).parents[2] / "README.md"


def test_the_table_in_the_readme_is_the_engines_own() -> None:
    assert feature_table() in README.read_text(), "put the output of python -m pennyweight.server.feature_table there"


def test_the_table_has_what_the_native_engine_declares() -> None:
    assert native_launch(EngineSettings(), Path("model")).features | ENCODER_FEATURES == ENGINES["native"]
